//! Looking at a database file without changing a byte of it or beside it.
//!
//! The file may belong to another release, which shall find it as it left it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction};

use super::aside::with;
use super::schema::FIRST;

/// In the header of each database of ours: "AosS".
const APPLICATION_ID: i64 = 0x416f_7353;

/// What release 7.2.3 works with: it knows the migration to 7 and stops at 6.
const OLD: std::ops::RangeInclusive<i64> = 6..=7;

/// Whose database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody's yet: it has no tables.
    Empty,
    /// Ours, with this schema version.
    Ours(i64),
    /// Of release 7.2.3, with this version.
    Old(i64),
    /// Of another release that is not ours, with this version.
    Foreign(i64),
    /// The marks of ours, but not all of them.
    Damaged,
}

/// Whose database the file at `path` is.
pub(super) fn origin_of_file(path: &Path) -> rusqlite::Result<Origin> {
    let unfinished = fs::metadata(with(path, "-wal")).is_ok_and(|wal| wal.len() > 0);
    let connection = if unfinished {
        open_with_wal(path)?
    } else {
        open_alone(path)?
    };

    origin(&connection)
}

/// Whose database an open one is.
///
/// Ours has its version twice and an application id, so that no flipped bit
/// makes it look like another release's.
pub(super) fn origin(connection: &Connection) -> rusqlite::Result<Origin> {
    let tables: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table'",
        [],
        |row| row.get(0),
    )?;
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let copy: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if tables == 0 && id != APPLICATION_ID {
        return Ok(Origin::Empty);
    }

    let version = version(connection)?;
    Ok(match (id == APPLICATION_ID, copy == version) {
        (true, true) => Origin::Ours(version),
        (true, false) => Origin::Damaged,
        (false, true) if version >= FIRST.into() => Origin::Damaged,
        (false, _) if OLD.contains(&version) => Origin::Old(version),
        (false, _) => Origin::Foreign(version),
    })
}

/// Marks the database as ours and of `version`.
pub(super) fn mark(transaction: &Transaction<'_>, version: u32) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version uint64, dirty bool);
         DELETE FROM schema_migrations;",
    )?;
    transaction.execute(
        "INSERT INTO schema_migrations (version, dirty) VALUES (?1, false)",
        [version],
    )?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)
}

/// From where release 7.2.3 keeps it. Tables without a version are the start of
/// its migrations.
fn version(connection: &Connection) -> rusqlite::Result<i64> {
    if !connection.table_exists(None, "schema_migrations")? {
        return Ok(0);
    }

    let version: Option<Option<i64>> = connection
        .query_row(
            "SELECT CAST(version AS INTEGER) FROM schema_migrations",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(version.flatten().unwrap_or(0))
}

/// Whether the older release was cut off while it changed its schema.
pub(super) fn is_dirty(connection: &Connection) -> rusqlite::Result<bool> {
    let dirty: Option<Option<bool>> = connection
        .query_row("SELECT dirty FROM schema_migrations", [], |row| {
            // Anything but a plain no.
            Ok(row
                .get::<_, Option<i64>>(0)
                .map_or(Some(true), |dirty| dirty.map(|dirty| dirty != 0)))
        })
        .optional()?;
    Ok(dirty.flatten().unwrap_or(false))
}

/// Without a WAL the file is all there is. `immutable` keeps SQLite from making
/// a WAL and a shared memory file just to read.
fn open_alone(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push_str("?immutable=1");

    Connection::open_with_flags(
        uri,
        OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
}

/// What a WAL has counts. A connection that is alone keeps the index of the WAL
/// in its own memory, and without a checkpoint at its end nothing is written.
fn open_with_wal(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;

    Ok(connection)
}
