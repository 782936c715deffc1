//! What lies in the directory of an installed service, and whether it is still
//! what was installed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aos_package::{Digest, ImageConfig, MANIFEST_FILE, Manifest, ServiceConfig, blob_path};
use serde::de::DeserializeOwned;

use super::error::DamageError;

/// The unpacked root filesystem in the directory of a service.
const ROOT: &str = "rootfs";
/// Nothing larger was ever written.
const DOCUMENT_MAX: u64 = 1 << 20;

/// An installed service as read from its directory.
#[derive(Debug)]
pub(super) struct InstalledService {
    /// What it has of its own, the top first; at least one.
    pub(super) roots: Vec<PathBuf>,
    /// Shared layers, the top first. They are below those of its own.
    pub(super) layers: Vec<Digest>,
    pub(super) image: ImageConfig,
    pub(super) config: ServiceConfig,
}

/// Reads a service. The files of its root are not read: they were checked when
/// they were written.
pub(super) fn read_service(
    directory: &Path,
    manifest_digest: &str,
) -> Result<InstalledService, DamageError> {
    let manifest = read_manifest(directory, manifest_digest)?;
    let image = read_document(directory, &manifest.image_config)?;
    let config = manifest
        .service_config
        .as_ref()
        .map(|digest| read_document(directory, digest))
        .transpose()?
        .unwrap_or_default();
    let own = 1..=manifest.own_layers.len();
    let mut roots = vec![root_of(directory, &manifest)];
    roots.extend(own.map(|number| directory.join(root_name(number))));
    roots.iter().try_for_each(|root| is_directory(root))?;

    Ok(InstalledService {
        roots,
        layers: manifest.layers,
        image,
        config,
    })
}

fn read_manifest(directory: &Path, digest: &str) -> Result<Manifest, DamageError> {
    let path = directory.join(MANIFEST_FILE);
    let manifest = read_blob(&path, &digest.parse()?)?;
    Manifest::parse(&manifest).map_err(|source| DamageError::Manifest {
        path,
        source: source.into(),
    })
}

/// Where the root is. Release 7.2.3 kept it among the blobs.
fn root_of(directory: &Path, manifest: &Manifest) -> PathBuf {
    let root = directory.join(ROOT);
    let old = directory.join(blob_path(&manifest.root));
    let is_old = is_directory(&root).is_err() && is_directory(&old).is_ok();
    if is_old { old } else { root }
}

/// The root of a service that release 7.2.3 installed, and the hash that it made
/// of it.
pub(super) fn legacy_root(directory: &Path, manifest_digest: &str) -> Option<(PathBuf, Digest)> {
    let manifest = read_manifest(directory, manifest_digest).ok()?;
    let root = root_of(directory, &manifest);
    (!root.ends_with(ROOT)).then_some((root, manifest.root))
}

/// Where a service's own layer is in its directory, the top being number 0.
pub(super) fn root_name(number: usize) -> String {
    if number == 0 {
        ROOT.to_owned()
    } else {
        format!("{ROOT}-{number}")
    }
}

/// Whether `path` is a directory, and no link to one.
pub(super) fn is_directory(path: &Path) -> Result<(), DamageError> {
    fs::symlink_metadata(path)
        .and_then(|metadata| {
            if metadata.is_dir() {
                Ok(())
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        })
        .map_err(|source| DamageError::Read {
            path: path.to_owned(),
            source,
        })
}

fn read_document<T: DeserializeOwned>(directory: &Path, digest: &Digest) -> Result<T, DamageError> {
    let path = directory.join(blob_path(digest));
    let bytes = read_blob(&path, digest)?;
    serde_json::from_slice(&bytes).map_err(|source| DamageError::Document {
        path,
        source: source.into(),
    })
}

fn read_blob(path: &Path, expected: &Digest) -> Result<Vec<u8>, DamageError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(DOCUMENT_MAX).read_to_end(&mut bytes))
        .map_err(|source| DamageError::Read {
            path: path.to_owned(),
            source,
        })?;

    let actual = Digest::of(expected.algorithm(), &bytes);
    if actual != *expected {
        return Err(DamageError::Digest {
            path: path.to_owned(),
            actual: actual.to_string(),
            expected: expected.to_string(),
        });
    }
    Ok(bytes)
}
