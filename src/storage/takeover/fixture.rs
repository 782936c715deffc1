//! A database as release 7.2.3 leaves it, for the tests of all who take over a
//! part of it.

use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use super::TakeOver;
use crate::storage::{Database, OpenError, Opened};

const TABLES: &str = "
    CREATE TABLE config (operationVersion INTEGER, cursor TEXT, envvars TEXT, onlineTime TIMESTAMP);
    CREATE TABLE services (id TEXT NOT NULL, aosVersion INTEGER, providerID TEXT,
        description TEXT, imagePath TEXT NOT NULL, manifestDigest BLOB, cached INTEGER,
        timestamp TIMESTAMP, size INTEGER, GID INTEGER, PRIMARY KEY (id, aosVersion));
    CREATE TABLE layers (digest TEXT NOT NULL PRIMARY KEY, layerId TEXT, path TEXT, osVersion TEXT,
        vendorVersion TEXT, description TEXT, aosVersion INTEGER, timestamp TIMESTAMP,
        cached INTEGER, size INTEGER);
    CREATE TABLE instances (instanceID TEXT NOT NULL PRIMARY KEY, serviceID TEXT, subjectID TEXT,
        instance INTEGER, uid INTEGER, priority INTEGER, storagePath TEXT, statePath TEXT,
        network BLOB);
    CREATE TABLE network (networkID TEXT NOT NULL PRIMARY KEY, ip TEXT, subnet TEXT, vlanID INTEGER);
    CREATE TABLE trafficmonitor (chain TEXT NOT NULL PRIMARY KEY, time TIMESTAMP, value INTEGER);
    CREATE TABLE schema_migrations (version uint64, dirty bool);
    CREATE UNIQUE INDEX version_unique ON schema_migrations (version);
    INSERT INTO config VALUES (9, 's=1;i=2', '[]', '2024-05-06 07:08:09.123456789+00:00');
";

/// An old database in a directory of its own.
#[derive(Debug)]
pub(crate) struct OldDatabase {
    _directory: TempDir,
    pub(crate) path: PathBuf,
}

impl OldDatabase {
    /// One of this schema version, 6 or 7, with the row of its configuration.
    pub(crate) fn new(version: i64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("servicemanager.db");
        let old = Self {
            _directory: directory,
            path,
        };
        old.execute("PRAGMA journal_mode = WAL");
        old.execute(TABLES);
        old.execute(&format!(
            "INSERT INTO schema_migrations VALUES ({version}, 0)"
        ));
        if version >= 7 {
            old.execute("ALTER TABLE network ADD vlanIfName TEXT");
        }
        old
    }

    /// Runs SQL on it.
    pub(crate) fn execute(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }

    /// As the older release opens it.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    /// Opens it as we do.
    pub(crate) fn open(&self, steps: &[TakeOver]) -> Result<Opened, OpenError> {
        Database::open(&self.path, steps)
    }

    /// The database that it becomes.
    pub(crate) fn taken_over(&self, step: TakeOver) -> Database {
        let opened = self.open(&[step]).unwrap();
        assert_eq!(opened.set_aside, None);
        opened.database
    }
}
