use super::*;
use crate::launcher::store::{Store, Stored};
use crate::model::{InstanceId, InstanceInfo};
use crate::storage::OldDatabase;

const ID: &str = "11111111-1111-4111-8111-111111111111";
const OTHER: &str = "22222222-2222-4222-8222-222222222222";

/// An old database with one service, one layer and one instance.
fn old() -> OldDatabase {
    let old = OldDatabase::new(6);
    old.execute(
        "INSERT INTO services VALUES ('web', 3, 'provider', 'text', '/path', x'00', 0, 0, 1, 5000);
         INSERT INTO layers VALUES ('sha256:00', 'base', '/layer', '1', 'v1', 'd', 4, 0, 0, 10);",
    );
    instance(&old, ID, "'web', 'me', 0, 6000, 7, 'storage', 'state.dat'");
    old
}

fn instance(old: &OldDatabase, id: &str, values: &str) {
    let network = r#"{"networkID": "provider", "subnet": "10.0.0.0/24", "ip": "10.0.0.5"}"#;
    old.execute(&format!(
        "INSERT INTO instances VALUES ('{id}', {values}, CAST('{network}' AS BLOB))"
    ));
}

async fn stored(old: &OldDatabase) -> Stored {
    let database = old.taken_over(take_over());
    Store::new(database).load().await.unwrap()
}

fn ids(stored: &Stored) -> Vec<String> {
    let ids = stored.instances.iter().map(|row| row.id.to_string());
    ids.collect()
}

#[tokio::test]
async fn instances_keep_their_ids_and_all_that_is_known_of_them() {
    let stored = stored(&old()).await;

    assert_eq!(ids(&stored), [ID]);
    assert_eq!(stored.instances[0].held, None);
    let list = stored.list;
    let info = &list.instances[0];
    assert_eq!(info.ident.to_string(), "web/me/0");
    assert_eq!((info.uid, info.priority), (6000, 7));
    assert_eq!(
        (info.storage_path.as_str(), info.state_path.as_str()),
        ("storage", "state.dat")
    );
    assert_eq!(info.network.ip, "10.0.0.5");
    let service = &list.services[0];
    assert_eq!(service.key().to_string(), "web version 3");
    assert_eq!((service.gid, service.url.as_str()), (5000, ""));
    assert_eq!(service.provider_id.as_str(), "provider");
    let layer = &list.layers[0];
    assert_eq!((layer.digest.as_str(), layer.version.aos), ("sha256:00", 4));
    assert!(!list.force_restart);
}

#[tokio::test]
async fn higher_priorities_come_first() {
    let old = old();
    instance(&old, OTHER, "'web', 'me', 1, 6000, 9, '', ''");
    instance(
        &old,
        &InstanceId::random().to_string(),
        "'web', 'a', 5, 6000, 7, '', ''",
    );

    let list = stored(&old).await.list;

    let idents: Vec<_> = list
        .instances
        .iter()
        .map(|info| info.ident.to_string())
        .collect();
    assert_eq!(idents, ["web/me/1", "web/a/5", "web/me/0"]);
}

#[tokio::test]
async fn cached_content_is_not_desired() {
    let old = old();
    old.execute(
        "INSERT INTO services VALUES ('web', 2, 'p', '', '/path', x'00', 1, 0, 1, 5000);
         INSERT INTO services VALUES ('gone', 9, 'p', '', '/path', x'00', 1, 0, 1, 5000);
         UPDATE layers SET cached = 1;",
    );

    let list = stored(&old).await.list;

    assert_eq!(list.services.len(), 1);
    assert_eq!(list.services[0].version.aos, 3);
    assert_eq!(list.layers, []);
}

#[tokio::test]
async fn service_whose_update_failed_goes_on_with_its_newest_version() {
    let old = old();
    old.execute(
        "UPDATE services SET cached = 1;
         INSERT INTO services VALUES ('web', 2, 'p', '', '/path', x'00', 1, 0, 1, 5000);",
    );

    let list = stored(&old).await.list;

    assert_eq!(list.services.len(), 1);
    assert_eq!(list.services[0].version.aos, 3);
}

#[tokio::test]
async fn rows_that_make_no_sense_are_left_out_alone() {
    for values in [
        "NULL, 'me', 1, 6000, 0, '', ''",
        "'', 'me', 1, 6000, 0, '', ''",
        "'web', 'me', NULL, 6000, 0, '', ''",
        "'web', 'me', -1, 6000, 0, '', ''",
        "'web', 'me', 'first', 6000, 0, '', ''",
        "'web', 'me', 1, NULL, 0, '', ''",
        "'web', 'me', 1, -1, 0, '', ''",
        "'web', 'me', 1, 4294967296, 0, '', ''",
        "'web', 'me', 1, 6000, 'high', '', ''",
        "'web', 'me', 1, 6000, 0, x'ff', ''",
    ] {
        let old = old();
        instance(&old, OTHER, values);

        assert_eq!(ids(&stored(&old).await), [ID], "{values}");
    }
    for id in ["", "one", "../../etc"] {
        let old = old();
        instance(&old, id, "'web', 'me', 1, 6000, 0, '', ''");

        assert_eq!(ids(&stored(&old).await), [ID], "{id}");
    }
}

#[tokio::test]
async fn instance_that_is_there_twice_keeps_its_first_id() {
    let old = old();
    instance(&old, OTHER, "'web', 'me', 0, 6001, 0, '', ''");

    let stored = stored(&old).await;

    assert_eq!(ids(&stored), [ID]);
    assert_eq!(stored.list.instances[0].uid, 6000);
}

#[tokio::test]
async fn nulls_that_nothing_depends_on_are_empty() {
    let old = old();
    old.execute(
        "UPDATE instances SET subjectID = NULL, priority = NULL, storagePath = NULL, \
         statePath = NULL, network = NULL",
    );

    let stored = stored(&old).await;

    let mut expected = InstanceInfo {
        uid: 6000,
        ..InstanceInfo::default()
    };
    expected.ident.service_id = "web".into();
    assert_eq!(stored.list.instances, [expected]);
}

#[tokio::test]
async fn nothing_at_all_is_an_empty_list() {
    let old = OldDatabase::new(7);
    old.execute("DROP TABLE instances; DROP TABLE services; DROP TABLE layers;");

    assert_eq!(stored(&old).await, Stored::default());
}
