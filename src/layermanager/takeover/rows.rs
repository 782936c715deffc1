//! Old rows become ours.

use std::path::{Path, PathBuf};

use aos_package::{Algorithm, Digest, hex};
use rusqlite::params;
use tracing::info;

use super::place::{layer_place, service_place};
use super::store;
use crate::model::{ServiceId, ServiceKey};
use crate::storage::{Clock, Nonsense, OldRelease, OldRow, StorageError, TakeOver};

/// Bytes of a SHA-256.
const SHA256_BYTES: usize = 32;

/// Takes over what release 7.2.3 has in its tables of services and layers.
#[must_use]
pub fn take_over(services_dir: PathBuf, layers_dir: PathBuf) -> TakeOver {
    TakeOver::new("services and layers", move |old| {
        take_over_at(old, &services_dir, &layers_dir, Clock::unknown_past())
    })
}

/// An old service.
#[derive(Debug)]
struct Service {
    key: ServiceKey,
    provider_id: String,
    description: String,
    gid: u32,
    path: String,
    manifest_digest: Digest,
    size: i64,
    cached: bool,
}

/// An old layer.
#[derive(Debug)]
struct Layer {
    digest: Digest,
    layer_id: String,
    version: i64,
    vendor_version: String,
    description: String,
    path: String,
    size: i64,
    cached: bool,
}

/// What is cached is so since `now`: the older release kept the time of the
/// install, and what ran for long would be removed at once.
pub(super) fn take_over_at(
    old: &OldRelease<'_>,
    services_dir: &Path,
    layers_dir: &Path,
    now: i64,
) -> Result<(), StorageError> {
    let services = old.rows("services", |row| service(row, services_dir))?;
    let layers = old.rows("layers", |row| layer(row, layers_dir))?;
    info!(
        services = services.len(),
        layers = layers.len(),
        "content of release 7.2.3 is taken over"
    );

    for service in &services {
        put_service(old, service, now)?;
    }
    for layer in &layers {
        put_layer(old, layer, now)?;
    }
    let unchecked: Vec<_> = services.into_iter().map(|service| service.key).collect();
    store::put_unchecked(old.transaction(), &unchecked)
}

fn service(row: &OldRow, directory: &Path) -> Result<Service, Nonsense> {
    let digest = row
        .bytes("manifestDigest")
        .filter(|bytes| bytes.len() == SHA256_BYTES)
        .ok_or(Nonsense::new("manifestDigest", "is no SHA-256"))?;
    let manifest_digest = format!("{}:{}", Algorithm::Sha256.name(), hex(digest))
        .parse()
        .map_err(|_| Nonsense::new("manifestDigest", "is no SHA-256"))?;
    let path = service_place(directory, &row.name("imagePath")?, &manifest_digest)
        .ok_or(Nonsense::new("imagePath", "is no directory of a service"))?;

    Ok(Service {
        key: ServiceKey {
            id: ServiceId::new(row.name("id")?),
            version: row.number::<i64>("aosVersion")?.cast_unsigned(),
        },
        provider_id: row.text("providerID")?.unwrap_or_default(),
        description: row.text("description")?.unwrap_or_default(),
        gid: row.number("GID")?,
        path,
        manifest_digest,
        size: size(row)?,
        cached: row.flag("cached")?,
    })
}

fn layer(row: &OldRow, directory: &Path) -> Result<Layer, Nonsense> {
    let digest: Digest = row
        .name("digest")?
        .parse()
        .map_err(|_| Nonsense::new("digest", "is no digest"))?;
    let path = layer_place(directory, &row.name("path")?, &digest)
        .ok_or(Nonsense::new("path", "is no directory of a layer"))?;

    Ok(Layer {
        digest,
        layer_id: row.text("layerId")?.unwrap_or_default(),
        version: row.integer("aosVersion")?.unwrap_or_default(),
        vendor_version: row.text("vendorVersion")?.unwrap_or_default(),
        description: row.text("description")?.unwrap_or_default(),
        path,
        size: size(row)?,
        cached: row.flag("cached")?,
    })
}

fn size(row: &OldRow) -> Result<i64, Nonsense> {
    Ok(row.integer("size")?.unwrap_or_default().max(0))
}

fn put_service(old: &OldRelease<'_>, service: &Service, now: i64) -> Result<(), StorageError> {
    old.transaction().execute(
        "INSERT OR IGNORE INTO services (id, aos_version, vendor_version, description, \
         provider_id, gid, path, manifest_digest, package_digest, size, cached_since) \
         VALUES (?1, ?2, '', ?3, ?4, ?5, ?6, ?7, NULL, ?8, ?9)",
        params![
            service.key.id.as_str(),
            service.key.version.cast_signed(),
            service.description,
            service.provider_id,
            service.gid,
            service.path,
            service.manifest_digest.to_string(),
            service.size,
            service.cached.then_some(now),
        ],
    )?;
    Ok(())
}

fn put_layer(old: &OldRelease<'_>, layer: &Layer, now: i64) -> Result<(), StorageError> {
    old.transaction().execute(
        "INSERT OR IGNORE INTO layers (digest, layer_id, aos_version, vendor_version, \
         description, path, size, cached_since) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            layer.digest.to_string(),
            layer.layer_id,
            layer.version,
            layer.vendor_version,
            layer.description,
            layer.path,
            layer.size,
            layer.cached.then_some(now),
        ],
    )?;
    Ok(())
}
