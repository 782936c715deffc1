//! Node and certificate, also without IAM.

use std::fs;
use std::time::Duration;

use aos_servicemanager::iamclient::{Iam, IamSettings};
use aos_servicemanager::model::{NodeInfo, TlsIdentity};
use aos_servicemanager::storage::Database;

use crate::fake_iam::{FakeIam, Place, within};

fn start(settings: &IamSettings, database: &Database) -> Iam {
    let (iam, task) = Iam::start(settings, database.clone());
    tokio::spawn(task.run());
    iam
}

async fn node_info(iam: &Iam) -> NodeInfo {
    let mut node_info = iam.node_info();
    let known = within("the node", node_info.wait_for(Option::is_some));
    known.await.unwrap().clone().unwrap()
}

async fn identity(iam: &Iam) -> TlsIdentity {
    let mut identity = iam.identity();
    let known = within("the certificate", identity.wait_for(Option::is_some));
    known.await.unwrap().clone().unwrap()
}

fn expected_node() -> NodeInfo {
    NodeInfo {
        node_id: "node".into(),
        node_type: "main".into(),
    }
}

#[tokio::test]
async fn iam_tells_node_and_certificate() {
    let place = Place::new();
    let certificate = place.renew_certificate();
    let _server = FakeIam::start(&place);

    let iam = start(&place.settings(), &Database::in_memory().unwrap());

    assert_eq!(node_info(&iam).await, expected_node());
    assert_eq!(identity(&iam).await, certificate);
}

#[tokio::test]
async fn iam_that_comes_late_is_found() {
    let place = Place::new();
    let iam = start(&place.settings(), &Database::in_memory().unwrap());

    let _server = FakeIam::start(&place);

    assert_eq!(node_info(&iam).await, expected_node());
}

#[tokio::test]
async fn what_iam_told_before_is_known_without_it() {
    let place = Place::new();
    let database = Database::in_memory().unwrap();
    let server = FakeIam::start(&place);
    let before = start(&place.settings(), &database);
    identity(&before).await;
    drop(before);
    server.stop().await;

    let renewed = place.renew_certificate();
    let iam = start(&place.settings(), &database);

    assert_eq!(node_info(&iam).await, expected_node());
    assert_eq!(identity(&iam).await, renewed);
}

#[tokio::test]
async fn renewed_certificate_is_published_within_a_minute() {
    let place = Place::new();
    let _server = FakeIam::start(&place);
    let iam = start(&place.settings(), &Database::in_memory().unwrap());
    identity(&iam).await;

    let renewed = place.renew_certificate();

    let mut identity = iam.identity();
    let mut is_published = false;
    for _ in 0..10 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(60)).await;
        tokio::time::resume();
        // The task may not have gone to sleep yet when the minute passed.
        let published = identity.wait_for(|identity| identity.as_ref() == Some(&renewed));
        let published = tokio::time::timeout(Duration::from_secs(1), published).await;
        if published.is_ok() {
            is_published = true;
            break;
        }
    }
    assert!(is_published);
}

#[tokio::test]
async fn server_of_another_authority_is_not_believed() {
    let place = Place::new();
    let other = Place::new();
    let _server = FakeIam::start(&place);
    let root = tempfile::NamedTempFile::new().unwrap();
    fs::copy(other.settings().ca_cert, root.path()).unwrap();
    let settings = IamSettings {
        ca_cert: root.path().to_owned(),
        ..place.settings()
    };

    let iam = start(&settings, &Database::in_memory().unwrap());
    let mut node = iam.node_info();
    let believed = tokio::time::timeout(Duration::from_secs(1), node.changed()).await;
    assert!(believed.is_err());

    fs::copy(place.settings().ca_cert, root.path()).unwrap();
    assert_eq!(node_info(&iam).await, expected_node());
}

#[tokio::test]
async fn task_ends_with_the_last_handle() {
    let place = Place::new();
    let (iam, task) = Iam::start(&place.settings(), Database::in_memory().unwrap());
    let task = tokio::spawn(task.run());

    drop(iam);

    within("the end", task).await.unwrap();
}
