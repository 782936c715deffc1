use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{Database, OpenError};

/// Tables of release 7.2.3.
const OLD_TABLES: &str = "
    CREATE TABLE config (operationVersion INTEGER, cursor TEXT, envvars TEXT, onlineTime TIMESTAMP);
    CREATE TABLE services (id TEXT NOT NULL, aosVersion INTEGER, providerID TEXT,
        description TEXT, imagePath TEXT NOT NULL, manifestDigest BLOB, cached INTEGER,
        timestamp TIMESTAMP, size INTEGER, GID INTEGER, PRIMARY KEY (id, aosVersion));
    CREATE TABLE network (networkID TEXT NOT NULL PRIMARY KEY, ip TEXT, subnet TEXT, vlanID INTEGER);
    INSERT INTO services VALUES ('id', 1, 'p', '', '/path', x'00', 0, 0, 1, 5000);
";

struct Fixture {
    directory: TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("servicemanager 100%?.db");
        Self { directory, path }
    }

    /// A database of release 7.2.3, not closed cleanly if `keep_wal`.
    fn with_old(version: i64, keep_wal: bool) -> Self {
        let fixture = Self::new();
        let connection = Connection::open(&fixture.path).unwrap();
        connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
            .unwrap();
        connection.execute_batch(OLD_TABLES).unwrap();
        connection
            .execute_batch(&format!(
                "CREATE TABLE schema_migrations (version uint64, dirty bool);
                 INSERT INTO schema_migrations VALUES ({version}, false);"
            ))
            .unwrap();
        if !keep_wal {
            drop(connection);
            return fixture;
        }

        // As after a crash: the file, and the WAL with all of the content.
        let wal = beside(&fixture.path, "-wal");
        let (file_bytes, wal_bytes) = (fs::read(&fixture.path).unwrap(), fs::read(&wal).unwrap());
        drop(connection);
        fs::write(&fixture.path, file_bytes).unwrap();
        fs::write(&wal, wal_bytes).unwrap();
        fixture
    }

    /// A database of ours with a value in it.
    async fn with_ours() -> Self {
        let fixture = Self::new();
        let opened = Database::open(&fixture.path).unwrap();
        opened.database.set_value("cursor", "kept").await.unwrap();
        close(opened.database).await;
        fixture
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read(&path).unwrap())
            })
            .collect()
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    super::aside::with(path, suffix)
}

/// Waits until the file is closed, and so the WAL is in it.
async fn close(database: Database) {
    let path = database
        .call(|connection| Ok(connection.path().unwrap().to_owned()))
        .await
        .unwrap();
    drop(database);
    while beside(Path::new(&path), "-wal").exists() {
        tokio::task::yield_now().await;
    }
}

async fn assert_set_aside(fixture: &Fixture, damaged: &[u8]) {
    let opened = Database::open(&fixture.path).unwrap();

    let aside = opened.set_aside.expect("a damaged file is set aside");
    assert_eq!(fs::read(aside).unwrap(), damaged);
    opened.database.set_value("new", "works").await.unwrap();
    assert_eq!(opened.database.value("cursor").await.unwrap(), None);
}

#[tokio::test]
async fn new_database_is_durable_private_and_of_version_8() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::new();

    let opened = Database::open(&fixture.path).unwrap();

    assert_eq!(opened.set_aside, None);
    let settings = opened
        .database
        .call(|connection| {
            let journal: String =
                connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            let synchronous: i64 =
                connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
            let foreign_keys: i64 =
                connection.pragma_query_value(None, "foreign_keys", |row| row.get(0))?;
            Ok((journal, synchronous, foreign_keys))
        })
        .await
        .unwrap();
    assert_eq!(settings, ("wal".into(), 2, 1));
    let mode = fs::metadata(&fixture.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn values_are_there_after_a_restart() {
    let fixture = Fixture::with_ours().await;

    let opened = Database::open(&fixture.path).unwrap();

    assert_eq!(opened.set_aside, None);
    assert_eq!(
        opened.database.value("cursor").await.unwrap().unwrap(),
        "kept"
    );
}

#[tokio::test]
async fn values_in_the_wal_of_a_killed_process_are_there() {
    let fixture = Fixture::new();
    let opened = Database::open(&fixture.path).unwrap();
    opened.database.set_value("cursor", "kept").await.unwrap();
    let copy = Fixture::new();
    for suffix in ["", "-wal"] {
        fs::copy(beside(&fixture.path, suffix), beside(&copy.path, suffix)).unwrap();
    }

    let reopened = Database::open(&copy.path).unwrap();

    assert_eq!(reopened.set_aside, None);
    assert_eq!(
        reopened.database.value("cursor").await.unwrap().unwrap(),
        "kept"
    );
}

#[tokio::test]
async fn empty_file_counts_as_new() {
    let fixture = Fixture::new();
    fs::write(&fixture.path, "").unwrap();
    fs::write(beside(&fixture.path, "-wal"), "left over").unwrap();

    let opened = Database::open(&fixture.path).unwrap();

    assert_eq!(opened.set_aside, None);
    opened.database.set_value("new", "works").await.unwrap();
}

#[tokio::test]
async fn database_without_tables_counts_as_new() {
    let fixture = Fixture::new();
    let connection = Connection::open(&fixture.path).unwrap();
    connection
        .execute_batch("CREATE TABLE t (a); DROP TABLE t;")
        .unwrap();
    drop(connection);

    let opened = Database::open(&fixture.path).unwrap();

    assert_eq!(opened.set_aside, None);
    opened.database.set_value("new", "works").await.unwrap();
}

#[test]
fn older_release_finds_its_file_untouched() {
    for version in 0..=7 {
        for keep_wal in [false, true] {
            let fixture = Fixture::with_old(version, keep_wal);
            let before = fixture.files();

            let error = Database::open(&fixture.path).unwrap_err();

            assert!(
                matches!(error, OpenError::OldRelease { version: found, .. } if found == version),
                "{error}"
            );
            assert_eq!(fixture.files(), before, "version {version}, WAL {keep_wal}");
        }
    }
}

#[test]
fn tables_without_a_version_belong_to_an_older_release() {
    let fixture = Fixture::new();
    let connection = Connection::open(&fixture.path).unwrap();
    connection.execute_batch(OLD_TABLES).unwrap();
    drop(connection);
    let before = fixture.files();

    let error = Database::open(&fixture.path).unwrap_err();

    assert!(
        matches!(error, OpenError::OldRelease { version: 0, .. }),
        "{error}"
    );
    assert_eq!(fixture.files(), before);
}

#[tokio::test]
async fn newer_release_of_ours_finds_its_file_untouched() {
    let fixture = Fixture::with_ours().await;
    let connection = Connection::open(&fixture.path).unwrap();
    connection
        .execute_batch("UPDATE schema_migrations SET version = 99; PRAGMA user_version = 99;")
        .unwrap();
    drop(connection);
    let before = fixture.files();

    let error = Database::open(&fixture.path).unwrap_err();

    assert!(
        matches!(error, OpenError::OtherRelease { version: 99, .. }),
        "{error}"
    );
    assert_eq!(fixture.files(), before);
}

#[tokio::test]
async fn no_damaged_mark_makes_a_database_look_like_another_release() {
    let damages = [
        "UPDATE schema_migrations SET version = 0",
        "UPDATE schema_migrations SET version = 40",
        "ALTER TABLE schema_migrations RENAME TO schema_migrationz",
        "PRAGMA user_version = 9",
        "PRAGMA application_id = 0",
    ];
    for damage in damages {
        let fixture = Fixture::with_ours().await;
        let connection = Connection::open(&fixture.path).unwrap();
        connection.execute_batch(damage).unwrap();
        drop(connection);
        let content = fs::read(&fixture.path).unwrap();

        assert_set_aside(&fixture, &content).await;
    }
}

#[test]
fn later_release_of_the_old_line_finds_its_file_untouched() {
    let fixture = Fixture::with_old(8, false);
    let before = fixture.files();

    let error = Database::open(&fixture.path).unwrap_err();

    assert!(
        matches!(error, OpenError::OtherRelease { version: 8, .. }),
        "{error}"
    );
    assert_eq!(fixture.files(), before);
}

#[tokio::test]
async fn file_that_is_no_database_is_set_aside() {
    for content in [
        &b"no database"[..],
        &[0; 4096],
        b"SQLite format 3\0",
        &[0xff; 10_000],
    ] {
        let fixture = Fixture::new();
        fs::write(&fixture.path, content).unwrap();

        assert_set_aside(&fixture, content).await;
    }
}

#[tokio::test]
async fn truncated_database_is_set_aside() {
    for length in [2, 99, 100, 511, 4096, 10_000] {
        let fixture = Fixture::with_ours().await;
        let file = fs::OpenOptions::new()
            .write(true)
            .open(&fixture.path)
            .unwrap();
        file.set_len(length).unwrap();
        let content = fs::read(&fixture.path).unwrap();

        assert_set_aside(&fixture, &content).await;
    }
}

#[tokio::test]
async fn flipped_bits_lead_to_a_working_database() {
    let fixture = Fixture::with_ours().await;
    let sound = fs::read(&fixture.path).unwrap();
    let mut set_aside = 0;

    // What comes after that are free pages.
    let used = sound.len().min(64 << 10);
    for position in (0..used).step_by(509) {
        let fixture = Fixture::new();
        let mut flipped = sound.clone();
        flipped[position] ^= 1 << (position % 8);
        fs::write(&fixture.path, &flipped).unwrap();

        match Database::open(&fixture.path) {
            Ok(opened) => {
                set_aside += usize::from(opened.set_aside.is_some());
                opened.database.set_value("new", "works").await.unwrap();
            }
            Err(error) => panic!("byte {position}: {error}"),
        }
    }

    assert!(set_aside > 0);
}

#[tokio::test]
async fn damage_of_an_inner_page_is_set_aside_with_the_wal() {
    let fixture = Fixture::with_ours().await;
    let mut content = fs::read(&fixture.path).unwrap();
    content[4096..8192].fill(0xa5);
    fs::write(&fixture.path, &content).unwrap();

    assert_set_aside(&fixture, &content).await;
}

#[test]
fn directory_in_place_of_the_file_is_an_error() {
    let fixture = Fixture::new();
    fs::create_dir(&fixture.path).unwrap();

    let error = Database::open(&fixture.path).unwrap_err();

    assert!(matches!(error, OpenError::Create { .. }), "{error}");
    assert!(fixture.path.is_dir());
}

#[test]
fn missing_directory_is_an_error() {
    let error = Database::open(Path::new("/proc/none/sm.db")).unwrap_err();

    assert!(matches!(error, OpenError::Create { .. }), "{error}");
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn full_disk_is_an_error_that_passes() {
    use nix::mount::{MsFlags, mount};
    let fixture = Fixture::new();
    let disk = fixture.directory.path();
    // Seen by this thread alone, and gone with it.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount::<str, str, str, str>(None, "/", None, private, None).unwrap();
    mount(
        Some("tmpfs"),
        disk,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=128k"),
    )
    .unwrap();
    let filler = disk.join("filler");
    fs::write(&filler, vec![0; 112 << 10]).unwrap();

    let error = Database::open(&fixture.path).unwrap_err();
    fs::remove_file(filler).unwrap();
    let opened = Database::open(&fixture.path);

    assert!(matches!(error, OpenError::Open { .. }), "{error}");
    assert_eq!(opened.unwrap().set_aside, None);
}
