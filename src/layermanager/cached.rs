//! The rows of what is installed as space and time see them: services and
//! layers alike.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::keeper::Cached;
use super::shared::Item;
use crate::model::{ServiceId, ServiceKey};
use crate::storage::{Database, StorageError, readable};

/// All that is cached, the oldest first.
pub(super) async fn all(
    database: &Database,
    services_dir: &Path,
    layers_dir: &Path,
) -> Result<Vec<Cached>, StorageError> {
    let (services_dir, layers_dir) = (services_dir.to_owned(), layers_dir.to_owned());
    database
        .call(move |connection| {
            let mut cached = select(
                connection,
                "SELECT path, size, cached_since, id, aos_version FROM services \
                 WHERE cached_since NOT NULL",
                |row| {
                    let item = Item::Service(ServiceKey {
                        id: ServiceId::new(row.get::<_, String>(3)?),
                        version: row.get::<_, i64>(4)?.cast_unsigned(),
                    });
                    cached_row(row, item, &services_dir)
                },
            )?;
            cached.extend(select(
                connection,
                "SELECT path, size, cached_since, digest FROM layers WHERE cached_since NOT NULL",
                |row| cached_row(row, Item::Layer(row.get(3)?), &layers_dir),
            )?);
            cached.sort_by_key(|cached| cached.since);
            Ok(cached)
        })
        .await
}

/// The sum of the sizes in a table.
pub(super) async fn bytes(database: &Database, table: &'static str) -> Result<u64, StorageError> {
    database
        .call(move |connection| {
            let sizes = select(connection, &format!("SELECT size FROM {table}"), |row| {
                row.get::<_, i64>(0)
            })?;
            let sizes = sizes.into_iter().map(size);
            Ok(sizes.fold(0, u64::saturating_add))
        })
        .await
}

/// The paths in a table as they are written, for what they protect; `None` if
/// there is one of which nobody knows what it says.
pub(super) async fn paths(
    database: &Database,
    table: &'static str,
) -> Result<Option<Vec<PathBuf>>, StorageError> {
    database
        .call(move |connection| {
            let paths = select(connection, &format!("SELECT path FROM {table}"), |row| {
                Ok(match row.get_ref(0)? {
                    ValueRef::Text(path) | ValueRef::Blob(path) if !path.is_empty() => {
                        Some(PathBuf::from(OsString::from_vec(path.to_vec())))
                    }
                    _ => None,
                })
            })?;
            Ok(paths.into_iter().collect())
        })
        .await
}

fn select<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection
        .prepare(sql)?
        .query_map([], read)?
        .filter_map(|row| readable("a service or layer", row))
        .collect()
}

fn cached_row(row: &Row<'_>, item: Item, directory: &Path) -> rusqlite::Result<Cached> {
    Ok(Cached {
        item,
        path: directory.join(row.get::<_, String>(0)?),
        size: size(row.get(1)?),
        since: row.get(2)?,
    })
}

/// SQLite has no unsigned 64 bits.
fn size(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or_default()
}
