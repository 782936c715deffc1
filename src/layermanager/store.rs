//! Tables `services` and `layers`: what is installed, and since when it is only
//! cached.
//!
//! Paths are relative to servicesDir and layersDir. Times are seconds since
//! 1970, as [`Clock`](crate::storage::Clock) tells them. Sizes are what the
//! content takes of the disk.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};

use crate::model::{LayerInfo, ServiceId, ServiceInfo, ServiceKey};
use crate::storage::{Database, StorageError, readable};

/// An installed service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceRow {
    pub(super) key: ServiceKey,
    pub(super) provider_id: String,
    pub(super) gid: u32,
    pub(super) path: String,
    pub(super) manifest_digest: String,
    /// Stands for the package that it came from; unknown of services that an
    /// older release installed.
    pub(super) package_digest: Option<String>,
}

/// An installed layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerRow {
    pub(super) digest: String,
    pub(super) path: String,
}

/// What an install found out about a service.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    pub(super) path: String,
    pub(super) manifest_digest: String,
    pub(super) package_digest: String,
    /// As [`disk_usage`](super::space::disk_usage) measured it.
    pub(super) size: u64,
}

const SERVICE_COLUMNS: &str =
    "id, aos_version, provider_id, gid, path, manifest_digest, package_digest";

pub(super) async fn service(
    database: &Database,
    key: ServiceKey,
) -> Result<Option<ServiceRow>, StorageError> {
    database
        .call(move |connection| {
            let sql = format!(
                "SELECT {SERVICE_COLUMNS} FROM services WHERE id = ?1 AND aos_version = ?2"
            );
            let row = connection
                .prepare_cached(&sql)?
                .query_row(params![key.id.as_str(), stored(key.version)], |row| {
                    readable("a service", service_row(row)).transpose()
                })
                .optional()?;
            Ok(row.flatten())
        })
        .await
}

pub(super) async fn services(database: &Database) -> Result<Vec<ServiceRow>, StorageError> {
    database
        .call(|connection| {
            let sql = format!("SELECT {SERVICE_COLUMNS} FROM services");
            let rows = connection
                .prepare(&sql)?
                .query_map([], service_row)?
                .filter_map(|row| readable("a service or layer", row))
                .collect::<Result<_, _>>()?;
            Ok(rows)
        })
        .await
}

/// Writes the row of a service, in use.
pub(super) async fn put_service(
    database: &Database,
    info: ServiceInfo,
    installed: Installed,
) -> Result<(), StorageError> {
    database
        .call(move |connection| {
            connection.execute(
                "INSERT OR REPLACE INTO services (id, aos_version, vendor_version, description, \
                 provider_id, gid, path, manifest_digest, package_digest, size, cached_since) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL)",
                params![
                    info.id.as_str(),
                    stored(info.version.aos),
                    info.version.vendor,
                    info.version.description,
                    info.provider_id.as_str(),
                    info.gid,
                    installed.path,
                    installed.manifest_digest,
                    installed.package_digest,
                    stored(installed.size),
                ],
            )?;
            Ok(())
        })
        .await
}

/// Takes an installed service into use again, with what CM says of it now.
pub(super) async fn use_service(
    database: &Database,
    info: ServiceInfo,
) -> Result<(), StorageError> {
    database
        .call(move |connection| {
            connection.execute(
                "UPDATE services SET vendor_version = ?3, description = ?4, provider_id = ?5, \
                 cached_since = NULL WHERE id = ?1 AND aos_version = ?2",
                params![
                    info.id.as_str(),
                    stored(info.version.aos),
                    info.version.vendor,
                    info.version.description,
                    info.provider_id.as_str(),
                ],
            )?;
            Ok(())
        })
        .await
}

pub(super) async fn layer(
    database: &Database,
    digest: String,
) -> Result<Option<LayerRow>, StorageError> {
    database
        .call(move |connection| {
            let row = connection
                .prepare_cached("SELECT digest, path FROM layers WHERE digest = ?1")?
                .query_row([digest], |row| {
                    readable("a layer", layer_row(row)).transpose()
                })
                .optional()?;
            Ok(row.flatten())
        })
        .await
}

pub(super) async fn layers(database: &Database) -> Result<Vec<LayerRow>, StorageError> {
    database
        .call(|connection| {
            let rows = connection
                .prepare("SELECT digest, path FROM layers")?
                .query_map([], layer_row)?
                .filter_map(|row| readable("a service or layer", row))
                .collect::<Result<_, _>>()?;
            Ok(rows)
        })
        .await
}

/// Writes the row of a layer, in use. The path and size of one that is there
/// are kept when there are no new ones.
pub(super) async fn put_layer(
    database: &Database,
    info: LayerInfo,
    new: Option<(String, u64)>,
) -> Result<(), StorageError> {
    database
        .call(move |connection| {
            let version = stored(info.version.aos);
            if let Some((path, size)) = new {
                connection.execute(
                    "INSERT OR REPLACE INTO layers (digest, layer_id, aos_version, \
                     vendor_version, description, path, size, cached_since) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL)",
                    params![
                        info.digest,
                        info.layer_id,
                        version,
                        info.version.vendor,
                        info.version.description,
                        path,
                        stored(size),
                    ],
                )?;
            } else {
                connection.execute(
                    "UPDATE layers SET layer_id = ?2, aos_version = ?3, vendor_version = ?4, \
                     description = ?5, cached_since = NULL WHERE digest = ?1",
                    params![
                        info.digest,
                        info.layer_id,
                        version,
                        info.version.vendor,
                        info.version.description,
                    ],
                )?;
            }
            Ok(())
        })
        .await
}

/// Marks what is in use, and all else as cached: since `now`, unless it was
/// before.
pub(super) async fn retain(
    database: &Database,
    services: Vec<ServiceKey>,
    layers: Vec<String>,
    now: i64,
) -> Result<(), StorageError> {
    let services = services
        .into_iter()
        .map(|key| json!([key.id.as_str(), stored(key.version)]))
        .collect::<Value>()
        .to_string();
    let layers = Value::from(layers).to_string();

    database
        .call(move |connection| {
            let transaction = connection.transaction()?;
            mark(
                &transaction,
                "services",
                "(id, aos_version) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?1))",
                &services,
                now,
            )?;
            mark(
                &transaction,
                "layers",
                "digest IN (SELECT value FROM json_each(?1))",
                &layers,
                now,
            )?;
            transaction.commit()?;
            Ok(())
        })
        .await
}

/// A time that has not come is of a clock that was wrong, and would keep the item
/// for ever.
fn mark(
    connection: &Connection,
    table: &'static str,
    wanted: &'static str,
    list: &str,
    now: i64,
) -> rusqlite::Result<()> {
    connection.execute(
        &format!("UPDATE {table} SET cached_since = NULL WHERE cached_since NOT NULL AND {wanted}"),
        [list],
    )?;
    connection.execute(
        &format!(
            "UPDATE {table} SET cached_since = ?2 \
             WHERE (cached_since IS NULL OR cached_since > ?2) AND NOT {wanted}"
        ),
        params![list, now],
    )?;
    Ok(())
}

/// Removes the row of a service if it is still cached since `limit` or before;
/// `None`: whatever it is. Tells whether it did.
pub(super) async fn remove_service(
    database: &Database,
    key: ServiceKey,
    limit: Option<i64>,
) -> Result<bool, StorageError> {
    database
        .call(move |connection| {
            let removed = connection.execute(
                "DELETE FROM services WHERE id = ?1 AND aos_version = ?2 \
                 AND (?3 IS NULL OR cached_since <= ?3)",
                params![key.id.as_str(), stored(key.version), limit],
            )?;
            Ok(removed > 0)
        })
        .await
}

/// As [`remove_service`], for a layer.
pub(super) async fn remove_layer(
    database: &Database,
    digest: String,
    limit: Option<i64>,
) -> Result<bool, StorageError> {
    database
        .call(move |connection| {
            let removed = connection.execute(
                "DELETE FROM layers WHERE digest = ?1 AND (?2 IS NULL OR cached_since <= ?2)",
                params![digest, limit],
            )?;
            Ok(removed > 0)
        })
        .await
}

/// SQLite has no unsigned 64 bits; what is stored so is only read back so.
fn stored(value: u64) -> i64 {
    value.cast_signed()
}

fn service_row(row: &Row<'_>) -> rusqlite::Result<ServiceRow> {
    Ok(ServiceRow {
        key: ServiceKey {
            id: ServiceId::new(row.get::<_, String>(0)?),
            version: row.get::<_, i64>(1)?.cast_unsigned(),
        },
        provider_id: row.get(2)?,
        gid: row.get(3)?,
        path: row.get(4)?,
        manifest_digest: row.get(5)?,
        package_digest: row.get(6)?,
    })
}

fn layer_row(row: &Row<'_>) -> rusqlite::Result<LayerRow> {
    Ok(LayerRow {
        digest: row.get(0)?,
        path: row.get(1)?,
    })
}
