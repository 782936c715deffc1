//! Which services of the older release have not been checked yet.

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::ServiceKey;
use crate::storage::{Database, StorageError};

/// Key of the list in `config`; gone when all are checked.
const UNCHECKED: &str = "takeover.unchecked";

/// In place of a package's digest, and none that a package can have.
pub(super) const CHANGED: &str = "changed";

pub(super) fn put_unchecked(
    connection: &Connection,
    services: &[ServiceKey],
) -> Result<(), StorageError> {
    let text = serde_json::to_string(services).map_err(|source| StorageError::Value {
        what: UNCHECKED,
        source,
    })?;
    connection.execute(
        "INSERT OR REPLACE INTO config (key, value) VALUES (?1, ?2)",
        [UNCHECKED, &text],
    )?;
    Ok(())
}

pub(super) async fn unchecked(database: &Database) -> Result<Vec<ServiceKey>, StorageError> {
    database
        .call(|connection| {
            let text: Option<String> = connection
                .query_row(
                    "SELECT value FROM config WHERE key = ?1",
                    [UNCHECKED],
                    |row| row.get(0),
                )
                .optional()?;
            // A list that cannot be read is none: what is damaged shows later.
            Ok(text
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default())
        })
        .await
}

/// All are checked.
pub(super) async fn checked(database: &Database) -> Result<(), StorageError> {
    database
        .call(|connection| {
            connection.execute("DELETE FROM config WHERE key = ?1", [UNCHECKED])?;
            Ok(())
        })
        .await
}

/// Has a service stand for no package that there is, so that the next list has
/// it installed anew.
pub(super) async fn distrust(database: &Database, key: ServiceKey) -> Result<(), StorageError> {
    database
        .call(move |connection| {
            connection.execute(
                "UPDATE services SET package_digest = ?3 WHERE id = ?1 AND aos_version = ?2 \
                 AND package_digest IS NULL",
                params![key.id.as_str(), key.version.cast_signed(), CHANGED],
            )?;
            Ok(())
        })
        .await
}
