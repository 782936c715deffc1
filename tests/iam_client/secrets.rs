//! Secrets of instances.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aos_servicemanager::iamclient::{Iam, IamError, v4};
use aos_servicemanager::model::{Chain, InstanceIdent};
use aos_servicemanager::storage::Database;

use crate::fake_iam::{Asked, FakeIam, Place, within};

fn start(place: &Place) -> Iam {
    let (iam, task) = Iam::start(&place.settings(), Database::in_memory().unwrap());
    tokio::spawn(task.run());
    iam
}

fn ident(service: &str, index: i64) -> InstanceIdent {
    InstanceIdent {
        service_id: service.into(),
        subject_id: "subject".into(),
        index,
    }
}

fn permissions() -> BTreeMap<String, BTreeMap<String, String>> {
    let vis = BTreeMap::from([("Signal.Doors".to_owned(), "rw".to_owned())]);
    BTreeMap::from([("vis".to_owned(), vis)])
}

#[tokio::test]
async fn registered_instance_gets_its_secret() {
    let place = Place::new();
    let mut server = FakeIam::start(&place);
    let iam = start(&place);

    let secret = within(
        "the secret",
        iam.register_instance(&ident("service", 3), &permissions()),
    )
    .await;

    assert_eq!(secret.unwrap(), "secret of service/subject/3");
    let vis = v4::Permissions {
        permissions: permissions().remove("vis").unwrap(),
    };
    assert_eq!(
        server.asked().await,
        Asked::Register(
            "service/subject/3".into(),
            BTreeMap::from([("vis".to_owned(), vis)])
        )
    );
}

#[tokio::test]
async fn unregistered_instance_is_named() {
    let place = Place::new();
    let mut server = FakeIam::start(&place);
    let iam = start(&place);

    within("the answer", iam.unregister_instance(&ident("service", 0)))
        .await
        .unwrap();

    assert_eq!(
        server.asked().await,
        Asked::Unregister("service/subject/0".into())
    );
}

#[tokio::test]
async fn refusal_comes_back_at_once_with_its_reason() {
    let place = Place::new();
    let _server = FakeIam::start(&place);
    let iam = start(&place);

    let error = within(
        "the refusal",
        iam.register_instance(&ident("unknown", 0), &permissions()),
    )
    .await
    .unwrap_err();

    assert_eq!(
        Chain(&error).to_string(),
        "IAM call RegisterInstance failed: PermissionDenied: no such service"
    );
}

#[tokio::test]
async fn negative_index_never_reaches_iam() {
    let place = Place::new();
    let iam = start(&place);

    let error = iam
        .register_instance(&ident("service", -1), &permissions())
        .await
        .unwrap_err();

    assert!(matches!(error, IamError::Index { index: -1 }));
}

#[tokio::test]
async fn registration_waits_for_an_iam_that_comes_late() {
    let place = Place::new();
    let iam = start(&place);
    let registration = tokio::spawn(async move {
        iam.register_instance(&ident("service", 0), &permissions())
            .await
    });

    let _server = FakeIam::start(&place);

    let secret = within("the secret", registration).await.unwrap();
    assert_eq!(secret.unwrap(), "secret of service/subject/0");
}

#[tokio::test]
async fn registration_finds_an_iam_that_was_restarted() {
    let place = Place::new();
    let server = FakeIam::start(&place);
    let iam = start(&place);
    within("the first", iam.unregister_instance(&ident("service", 0)))
        .await
        .unwrap();

    server.stop().await;
    let _server = FakeIam::start(&place);

    // The connection to the one before may end at this very moment.
    let (ident, permissions) = (ident("service", 0), permissions());
    let second = iam.register_instance(&ident, &permissions);
    let secret = within("the second", second).await.unwrap();
    assert_eq!(secret, "secret of service/subject/0");
}

#[tokio::test]
async fn call_that_hangs_is_given_up_after_30_s() {
    let place = Place::new();
    let mut server = FakeIam::start(&place);
    let iam = start(&place);
    let registration = tokio::spawn(async move {
        iam.register_instance(&ident("slow", 0), &permissions())
            .await
    });
    server.asked().await;

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();

    let error = within("the end", registration).await.unwrap().unwrap_err();
    assert!(matches!(error, IamError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn registration_is_given_up_soon_when_nobody_listens() {
    let place = Place::new();
    let server = FakeIam::start(&place);
    let iam = start(&place);
    within("the certificate", iam.identity().wait_for(Option::is_some))
        .await
        .unwrap();
    server.stop().await;
    let begun = Instant::now();

    let error = within(
        "the end",
        iam.register_instance(&ident("service", 0), &permissions()),
    )
    .await
    .unwrap_err();

    assert!(error.is_trouble(), "{error}");
    let late = begun.elapsed();
    assert!(late < Duration::from_secs(10), "{late:?}");
}

#[tokio::test]
async fn call_without_certificate_says_so() {
    let place = Place::new();
    let iam = start(&place);
    tokio::time::pause();

    let error = iam
        .unregister_instance(&ident("service", 0))
        .await
        .unwrap_err();

    assert!(matches!(error, IamError::NoIdentity { .. }), "{error}");
}
