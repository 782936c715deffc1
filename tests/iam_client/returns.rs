//! What a new process of IAM means.

use std::collections::BTreeMap;

use aos_servicemanager::iamclient::Iam;
use aos_servicemanager::model::InstanceIdent;
use aos_servicemanager::storage::Database;
use tokio::sync::watch;

use crate::fake_iam::{FakeIam, Place, within};

const SECRET: &str = "secret of service/subject/0";

fn start(place: &Place) -> Iam {
    let (iam, task) = Iam::start(&place.settings(), Database::in_memory().unwrap());
    tokio::spawn(task.run());
    iam
}

fn ident() -> InstanceIdent {
    InstanceIdent {
        service_id: "service".into(),
        subject_id: "subject".into(),
        index: 0,
    }
}

async fn register(iam: &Iam) {
    let permissions = BTreeMap::from([("vis".to_owned(), BTreeMap::new())]);
    let ident = ident();
    let secret = within("the secret", iam.register_instance(&ident, &permissions));
    assert_eq!(secret.await.unwrap(), SECRET);
}

async fn knows(iam: &Iam) -> bool {
    let known = within("the answer", iam.knows_secret(SECRET, "vis"));
    known.await.unwrap()
}

async fn returned(returns: &mut watch::Receiver<u64>) {
    within("IAM to be back", returns.changed()).await.unwrap();
}

#[tokio::test]
async fn first_contact_is_told() {
    let place = Place::new();
    let iam = start(&place);
    let mut returns = iam.returns();

    let _server = FakeIam::start(&place);

    returned(&mut returns).await;
    assert!(!knows(&iam).await);
}

#[tokio::test]
async fn secret_is_known_as_long_as_the_process_lives() {
    let place = Place::new();
    let server = FakeIam::start(&place);
    let iam = start(&place);
    register(&iam).await;
    let before = knows(&iam).await;
    let other_server = within("the answer", iam.knows_secret(SECRET, "other")).await;

    server.stop().await;
    let away = within("the refusal", iam.knows_secret(SECRET, "vis")).await;
    let _server = FakeIam::start(&place);
    let mut returns = iam.returns();
    returned(&mut returns).await;

    assert!(before);
    assert!(!other_server.unwrap());
    // That nobody answers is no answer.
    assert!(away.unwrap_err().is_trouble());
    assert!(!knows(&iam).await);
}

#[tokio::test]
async fn restart_is_noticed_by_the_connection_that_a_registration_left() {
    let place = Place::new();
    let server = FakeIam::start(&place);
    let iam = start(&place);
    let mut returns = iam.returns();
    returned(&mut returns).await;
    register(&iam).await;

    server.stop().await;
    let _server = FakeIam::start(&place);

    returned(&mut returns).await;
}

#[tokio::test]
async fn restart_is_noticed_by_the_connection_that_a_question_left() {
    let place = Place::new();
    let server = FakeIam::start(&place);
    let iam = start(&place);
    let mut returns = iam.returns();
    returned(&mut returns).await;
    assert!(!knows(&iam).await);

    server.stop().await;
    let _server = FakeIam::start(&place);

    returned(&mut returns).await;
}

#[tokio::test]
async fn who_was_refused_because_nobody_listened_is_told_of_the_return() {
    let place = Place::new();
    let server = FakeIam::start(&place);
    let iam = start(&place);
    let mut returns = iam.returns();
    returned(&mut returns).await;
    server.stop().await;
    let refused = within("the refusal", iam.unregister_instance(&ident())).await;

    let _server = FakeIam::start(&place);

    assert!(refused.unwrap_err().is_trouble());
    returned(&mut returns).await;
    register(&iam).await;
}
