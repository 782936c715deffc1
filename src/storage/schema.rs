//! The schema and its versions.
//!
//! Versions 0 to 7 belong to release 7.2.3; `takeover` makes ours of the newest
//! two. A step is one transaction with the
//! change of the version, so a power cut leaves the old or the new schema.

use rusqlite::{Connection, Transaction};

use super::inspect::{self, Origin};

/// The first version of ours.
pub(super) const FIRST: u32 = 8;

/// The version that this program works with.
pub(super) const VERSION: u32 = 8;

/// Changes one version to the next.
type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// From [`FIRST`] to [`VERSION`].
const STEPS: [Step; (VERSION - FIRST) as usize] = [];

/// Creates the tables of version 8.
pub(super) const CREATE: &str = "
CREATE TABLE config (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
CREATE TABLE services (
    id TEXT NOT NULL,
    aos_version INTEGER NOT NULL,
    vendor_version TEXT NOT NULL,
    description TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    gid INTEGER NOT NULL,
    path TEXT NOT NULL,
    manifest_digest TEXT NOT NULL,
    package_digest TEXT,
    size INTEGER NOT NULL,
    cached_since INTEGER,
    PRIMARY KEY (id, aos_version)
) STRICT;
CREATE TABLE layers (
    digest TEXT PRIMARY KEY,
    layer_id TEXT NOT NULL,
    aos_version INTEGER NOT NULL,
    vendor_version TEXT NOT NULL,
    description TEXT NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    cached_since INTEGER
) STRICT;
CREATE TABLE instances (
    instance_id TEXT PRIMARY KEY,
    service_id TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    instance INTEGER NOT NULL,
    position INTEGER,
    info TEXT,
    held TEXT,
    UNIQUE (service_id, subject_id, instance)
) STRICT;
CREATE TABLE networks (
    network_id TEXT PRIMARY KEY,
    parameters TEXT NOT NULL
) STRICT;
CREATE TABLE traffic (
    chain TEXT PRIMARY KEY,
    day INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
";

/// Makes the tables of an empty database, or brings a database of an older
/// version of ours to [`VERSION`].
pub(super) fn bring_up(connection: &mut Connection) -> rusqlite::Result<()> {
    advance(connection, &STEPS)
}

fn advance(connection: &mut Connection, steps: &[Step]) -> rusqlite::Result<()> {
    let version = match inspect::origin(connection)? {
        Origin::Ours(version) => version,
        Origin::Empty => {
            apply(connection, FIRST, |transaction| {
                transaction.execute_batch(CREATE)
            })?;
            FIRST.into()
        }
        // Ruled out when the file was looked at, or made ours before.
        Origin::Old(_) | Origin::Foreign(_) | Origin::Damaged => {
            return Err(rusqlite::Error::InvalidQuery);
        }
    };

    for (version, step) in (FIRST + 1..)
        .zip(steps)
        .skip_while(|(to, _)| i64::from(*to) <= version)
    {
        apply(connection, version, step)?;
    }

    Ok(())
}

fn apply(
    connection: &mut Connection,
    version: u32,
    step: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    step(&transaction)?;
    inspect::mark(&transaction, version)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILS: Step = |transaction| {
        transaction.execute_batch("CREATE TABLE half (a); INSERT INTO nothing VALUES (1);")
    };
    const ADDS: Step = |transaction| transaction.execute_batch("CREATE TABLE added (a);");
    const FILLS: Step = |transaction| transaction.execute_batch("INSERT INTO added VALUES (1);");

    fn created() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        advance(&mut connection, &[]).unwrap();
        connection
    }

    #[test]
    fn empty_database_gets_all_tables_and_the_version() {
        let connection = created();

        assert_eq!(inspect::origin(&connection).unwrap(), Origin::Ours(8));
        for table in [
            "config",
            "services",
            "layers",
            "instances",
            "networks",
            "traffic",
        ] {
            assert!(connection.table_exists(None, table).unwrap(), "{table}");
        }
    }

    #[test]
    fn steps_run_once_and_in_order() {
        let mut connection = created();

        advance(&mut connection, &[ADDS]).unwrap();
        advance(&mut connection, &[ADDS, FILLS]).unwrap();
        advance(&mut connection, &[ADDS, FILLS]).unwrap();

        assert_eq!(inspect::origin(&connection).unwrap(), Origin::Ours(10));
        let rows: i64 = connection
            .query_row("SELECT count(*) FROM added", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn failed_step_leaves_the_schema_and_version_before_it() {
        let mut connection = created();

        let outcome = advance(&mut connection, &[ADDS, FAILS]);

        assert!(outcome.is_err());
        assert_eq!(inspect::origin(&connection).unwrap(), Origin::Ours(9));
        assert!(connection.table_exists(None, "added").unwrap());
        assert!(!connection.table_exists(None, "half").unwrap());
    }
}
