//! The schema and its versions.
//!
//! Versions 0 to 7 belong to release 7.2.3. A migration is one transaction with
//! the change of the version, so a power cut leaves the old or the new schema.

use rusqlite::{Connection, Transaction};

/// The version that this program works with.
pub(super) const VERSION: u32 = 8;

/// Creates the tables of version 8.
const CREATE: &str = "
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

/// Brings an empty database to [`VERSION`].
pub(super) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(CREATE)?;
    set_version(&transaction)?;
    transaction.commit()
}

/// Writes the version where release 7.2.3 keeps its own, so that each release
/// recognises the other's file.
fn set_version(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version uint64, dirty bool);
         DELETE FROM schema_migrations;",
    )?;
    transaction.execute(
        "INSERT INTO schema_migrations (version, dirty) VALUES (?1, false)",
        [VERSION],
    )?;

    Ok(())
}
