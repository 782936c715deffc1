use std::fs;

use rusqlite::Connection;

use super::old::seconds_of;
use super::*;
use crate::storage::aside::with;
use crate::storage::{Database, OpenError, Opened};

const SERVICE: &str = "
    INSERT INTO services VALUES ('web', 3, 'p', '', '/path', x'00', 0, 0, 1, 5000);
";

const VALUES: &[(&str, &str, ValueKind)] = &[
    ("operationVersion", "operation", ValueKind::Integer),
    ("cursor", "journal", ValueKind::Text),
    ("envvars", "variables", ValueKind::Json),
    ("onlineTime", "online", ValueKind::Time),
];

/// Takes the ids of all services over into `traffic`, as any owner would.
fn ids() -> TakeOver {
    TakeOver::new("ids", |old| {
        for id in old.rows("services", |row| row.name("id"))? {
            let sql = "INSERT INTO traffic VALUES (?1, 0, 0)";
            old.transaction().execute(sql, [id])?;
        }
        Ok(())
    })
}

async fn chains(database: &Database) -> Vec<String> {
    database
        .call(|connection| {
            let mut select = connection.prepare("SELECT chain FROM traffic ORDER BY chain")?;
            let rows = select.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
        .unwrap()
}

/// All names of tables, indices and the like.
fn schema(connection: &Connection) -> Vec<String> {
    connection
        .prepare("SELECT name FROM sqlite_schema ORDER BY name")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

#[tokio::test]
async fn old_database_becomes_one_like_a_new_one_with_what_was_taken_over() {
    for version in [6, 7] {
        let old = OldDatabase::new(version);
        old.execute(SERVICE);
        old.execute(
            "CREATE VIEW seen AS SELECT id FROM services;
             CREATE TRIGGER told AFTER INSERT ON services BEGIN DELETE FROM layers; END;",
        );

        let database = old.taken_over(ids());

        assert_eq!(chains(&database).await, ["web"]);
        let found = database.call(|connection| Ok(schema(connection))).await;
        let new = Database::in_memory().unwrap();
        let mut expected = new.call(|connection| Ok(schema(connection))).await.unwrap();
        // An index of the older release on a table that both have.
        expected.retain(|name| name != "version_unique");
        assert_eq!(found.unwrap(), expected, "version {version}");
    }
}

#[tokio::test]
async fn what_was_taken_over_stays_and_is_not_taken_over_again() {
    let old = OldDatabase::new(6);
    old.execute(SERVICE);
    drop(old.taken_over(ids()));

    let never = TakeOver::new("nothing", |_| panic!("it is ours by now"));
    let database = old.taken_over(never);

    assert_eq!(chains(&database).await, ["web"]);
}

#[tokio::test]
async fn copy_is_what_the_older_release_left() {
    use std::os::unix::fs::PermissionsExt as _;
    let old = OldDatabase::new(7);
    old.execute(SERVICE);

    drop(old.taken_over(ids()));

    let copy = copy_of_old(&old.path);
    assert!(copy.ends_with("servicemanager.db.7.2.3"));
    let mode = fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let connection = Connection::open(copy).unwrap();
    let row: (String, i64, i64) = connection
        .query_row(
            "SELECT id, aosVersion, version FROM services, schema_migrations",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert_eq!(row, ("web".into(), 3, 7));
    assert_eq!(schema(&connection), schema(&OldDatabase::new(7).connect()));
}

#[tokio::test]
async fn what_only_the_wal_of_a_killed_process_has_is_taken_over_and_copied() {
    let old = OldDatabase::new(6);
    let writer = old.connect();
    writer.execute_batch(SERVICE).unwrap();
    let killed = OldDatabase::new(6);
    for suffix in ["", "-wal"] {
        fs::copy(with(&old.path, suffix), with(&killed.path, suffix)).unwrap();
    }
    assert!(fs::metadata(with(&killed.path, "-wal")).unwrap().len() > 0);

    let database = killed.taken_over(ids());

    assert_eq!(chains(&database).await, ["web"]);
    let copy = Connection::open(copy_of_old(&killed.path)).unwrap();
    let count: i64 = copy
        .query_row("SELECT count(*) FROM services", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn attempt_that_fails_leaves_the_old_database_and_the_next_one_works() {
    let old = OldDatabase::new(6);
    old.execute(SERVICE);
    let steps = [
        ids(),
        TakeOver::new("rest", |old| {
            Ok(old
                .transaction()
                .execute_batch("INSERT INTO nothing VALUES (1)")?)
        }),
    ];

    let error = old.open(&steps).unwrap_err();

    assert!(matches!(error, OpenError::TakeOver { .. }), "{error}");
    let before = schema(&OldDatabase::new(6).connect());
    assert_eq!(schema(&old.connect()), before);
    assert_eq!(chains(&old.taken_over(ids())).await, ["web"]);
}

#[tokio::test]
async fn without_a_copy_nothing_is_taken_over() {
    let old = OldDatabase::new(6);
    let copy = copy_of_old(&old.path);
    fs::create_dir(&copy).unwrap();

    let error = old.open(&[ids()]).unwrap_err();

    assert!(
        matches!(
            error,
            OpenError::TakeOver {
                source: TakeOverError::Copy { .. },
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        schema(&old.connect()),
        schema(&OldDatabase::new(6).connect())
    );
    fs::remove_dir(copy).unwrap();
    drop(old.taken_over(ids()));
}

#[tokio::test]
async fn remains_of_a_copy_that_was_cut_off_are_no_obstacle() {
    let old = OldDatabase::new(6);
    let copy = copy_of_old(&old.path);
    fs::write(with(&copy, ".new"), "half a co").unwrap();
    fs::write(&copy, "of an earlier attempt").unwrap();

    drop(old.taken_over(ids()));

    assert!(!with(&copy, ".new").exists());
    assert_eq!(
        schema(&Connection::open(copy).unwrap()),
        schema(&OldDatabase::new(6).connect())
    );
}

#[tokio::test]
async fn migration_that_the_older_release_did_not_finish_is_no_obstacle() {
    for version in [6, 7] {
        let old = OldDatabase::new(version);
        old.execute(SERVICE);
        old.execute("UPDATE schema_migrations SET dirty = 1");

        let database = old.taken_over(ids());

        assert_eq!(chains(&database).await, ["web"]);
    }
}

#[tokio::test]
async fn rows_and_tables_that_make_no_sense_are_left_out() {
    let old = OldDatabase::new(6);
    old.execute(SERVICE);
    old.execute(
        "INSERT INTO services (id, imagePath) VALUES ('', '');
         INSERT INTO services (id, imagePath) VALUES (CAST(x'ff' AS TEXT), '');
         INSERT INTO services (id, imagePath) VALUES (x'00', '');
         INSERT INTO services (id, imagePath) VALUES (1.5, '');
         DROP TABLE config;",
    );
    let steps = [ids(), TakeOver::values(VALUES)];

    let opened = old.open(&steps).unwrap();

    // The column makes a text of the fraction.
    assert_eq!(chains(&opened.database).await, ["1.5", "web"]);
    assert_eq!(opened.database.value("journal").await.unwrap(), None);
}

/// Opens an old database that was damaged so.
fn open_damaged(content: &[u8]) -> Opened {
    let old = OldDatabase::new(6);
    fs::write(&old.path, content).unwrap();

    let opened = old.open(&[ids()]).unwrap();

    let aside = opened.set_aside.as_ref().expect("it is set aside");
    assert_eq!(fs::read(aside).unwrap(), content);
    opened
}

#[tokio::test]
async fn damaged_old_database_is_set_aside() {
    let sound = OldDatabase::new(6);
    sound.execute(SERVICE);
    let sound = fs::read(&sound.path).unwrap();
    for page in 1..sound.len() / 4096 {
        let mut damaged = sound.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xa5);
        open_damaged(&damaged);

        let opened = open_damaged(&sound[..page * 4096]);

        assert_eq!(chains(&opened.database).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn values_are_stored_as_json() {
    let old = OldDatabase::new(6);
    old.execute(r#"UPDATE config SET envvars = CAST('[{"a": 1}]' AS BLOB)"#);

    let database = old.taken_over(TakeOver::values(VALUES));

    for (key, value) in [
        ("operation", "9"),
        ("journal", "\"s=1;i=2\""),
        ("variables", r#"[{"a":1}]"#),
        ("online", "1714979289"),
    ] {
        assert_eq!(database.value(key).await.unwrap().unwrap(), value, "{key}");
    }
}

#[tokio::test]
async fn values_that_are_absent_or_make_no_sense_are_not_stored() {
    for config in [
        "DELETE FROM config",
        "UPDATE config SET operationVersion = NULL, cursor = NULL, envvars = NULL, onlineTime = NULL",
        "UPDATE config SET operationVersion = 'nine', cursor = '', envvars = '{', onlineTime = 'now'",
        "UPDATE config SET operationVersion = x'00', cursor = x'ff', envvars = 'null', onlineTime = ''",
    ] {
        let old = OldDatabase::new(6);
        old.execute(config);

        let database = old.taken_over(TakeOver::values(VALUES));

        for (_, key, _) in VALUES {
            assert_eq!(database.value(key).await.unwrap(), None, "{key}: {config}");
        }
    }
}

#[test]
fn times_are_read_in_all_forms_that_go_writes() {
    for (text, seconds) in [
        ("2024-05-06 07:08:09.123456789+00:00", Some(1_714_979_289)),
        ("2024-05-06 09:08:09+02:00", Some(1_714_979_289)),
        ("2024-05-06T07:08:09Z", Some(1_714_979_289)),
        ("2024-05-06 07:08:09", Some(1_714_979_289)),
        ("2024-05-06 07:08:09.5 +0000 UTC", Some(1_714_979_289)),
        ("2024-05-06 07:08:09.5 -0130 X m=+1", Some(1_714_984_689)),
        ("0001-01-01 00:00:00+00:00", Some(-62_135_596_800)),
        ("2024-05-06", None),
        ("2024-13-06 07:08:09", None),
        ("2024-05-06 07:08:09 UTC", None),
        ("2024-05-06 07:08:09 +é00", None),
        ("now then", None),
        ("", None),
    ] {
        assert_eq!(seconds_of(text), seconds, "{text}");
    }
}
