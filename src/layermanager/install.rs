//! From a package to staged content: all the blocking work of an install.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aos_package::archive::Limits;
use aos_package::{
    Algorithm, Digest, ImageConfig, LAYER_FILE, LayerDescriptor, MANIFEST_FILE, Manifest,
    ServiceConfig, blob_path, hex,
};
use nix::sys::statvfs::statvfs;
use uuid::Uuid;

use super::error::InstallError;
use super::installed::ROOT;
use super::package::{Expected, Package, PackageError};
use super::staging::Staging;
use super::tree::{Ownership, Tree};
use super::unpack::{UnpackError, Unpacked, unpack};
use crate::model::{LayerInfo, ServiceInfo};

/// Bytes of a filesystem that unpacking leaves free at most, for the database and
/// all else that may be there.
const SPARE: u64 = 16 << 20;
const ROOT_NAME: &str = "the root filesystem";
const LAYER_NAME: &str = "the layer's filesystem";

/// A service, ready to be moved into place.
#[derive(Debug)]
pub(super) struct StagedService {
    pub(super) staging: Staging,
    pub(super) service: UnpackedService,
}

/// What the package says of a service.
#[derive(Debug)]
pub(super) struct UnpackedService {
    pub(super) manifest_digest: String,
    /// Shared layers, the top first.
    pub(super) layers: Vec<String>,
    /// Bytes of all files.
    pub(super) size: u64,
}

/// A layer, ready to be moved into place.
#[derive(Debug)]
pub(super) struct StagedLayer {
    pub(super) staging: Staging,
    pub(super) size: u64,
}

/// Names the directory of a service. No two installs, even of the same package,
/// have the same: what was replaced may still be in use, or about to be removed.
pub(super) fn directory_name(info: &ServiceInfo) -> String {
    let identity = format!(
        "{}\0{}\0{}\0{}",
        info.id,
        info.version.aos,
        info.gid,
        hex(&info.sha512)
    );
    unique(Digest::of(Algorithm::Sha256, identity.as_bytes()).hex())
}

/// Makes a name that was never given to a directory before.
pub(super) fn unique(name: &str) -> String {
    format!("{name}-{}", Uuid::new_v4().simple())
}

/// Checks and unpacks a service.
pub(super) fn stage_service(
    info: &ServiceInfo,
    directory: &Path,
    stopped: &dyn Fn() -> bool,
) -> Result<StagedService, InstallError> {
    let url = info.url.as_str();
    let wrong = |source| package_error(url, source);
    let limits = limits_of(directory)?;
    let package = Package::open(
        Expected {
            url,
            size: info.size,
            sha3_256: &info.sha256,
            sha3_512: &info.sha512,
        },
        limits,
        stopped,
    )
    .map_err(wrong)?;

    let manifest_bytes = package.document(MANIFEST_FILE).map_err(wrong)?;
    let manifest = Manifest::parse(manifest_bytes).map_err(|source| wrong(source.into()))?;
    let mut blobs = vec![(
        &manifest.image_config,
        read::<ImageConfig>(&package, url, "the image config", &manifest.image_config)?,
    )];
    if let Some(digest) = &manifest.service_config {
        let config = read::<ServiceConfig>(&package, url, "the service config", digest)?;
        blobs.push((digest, config));
    }

    let staging = Staging::new(directory).map_err(writing(directory))?;
    let content = staging.content();
    write(&content.join(MANIFEST_FILE), manifest_bytes)?;
    for (digest, bytes) in blobs {
        write(&content.join(blob_path(digest)), &bytes)?;
    }
    let unpacked = unpack_blob(
        &package,
        Blob {
            url,
            what: ROOT_NAME,
            name: &blob_path(&manifest.root),
            digest: &manifest.root,
        },
        &content.join(ROOT),
        Ownership::Group(info.gid),
        limits,
        stopped,
    )?;
    tell_losses(&format!("service {}", info.key()), unpacked);
    staging.sync().map_err(writing(directory))?;

    Ok(StagedService {
        staging,
        service: UnpackedService {
            manifest_digest: Digest::of(Algorithm::Sha256, manifest_bytes).to_string(),
            layers: manifest.layers.iter().map(Digest::to_string).collect(),
            size: unpacked.size,
        },
    })
}

/// Checks and unpacks a layer.
pub(super) fn stage_layer(
    info: &LayerInfo,
    digest: &Digest,
    directory: &Path,
    stopped: &dyn Fn() -> bool,
) -> Result<StagedLayer, InstallError> {
    let url = info.url.as_str();
    let wrong = |source| package_error(url, source);
    let limits = limits_of(directory)?;
    let package = Package::open(
        Expected {
            url,
            size: info.size,
            sha3_256: &info.sha256,
            sha3_512: &info.sha512,
        },
        limits,
        stopped,
    )
    .map_err(wrong)?;

    let descriptor = package.document(LAYER_FILE).map_err(wrong)?;
    let descriptor = LayerDescriptor::parse(descriptor).map_err(|source| wrong(source.into()))?;
    if descriptor.digest != *digest {
        return Err(InstallError::OtherLayer {
            url: url.to_owned(),
            actual: descriptor.digest.to_string(),
        });
    }

    let staging = Staging::new(directory).map_err(writing(directory))?;
    let unpacked = unpack_blob(
        &package,
        Blob {
            url,
            what: LAYER_NAME,
            name: digest.hex(),
            digest,
        },
        &staging.content(),
        Ownership::Archive,
        limits,
        stopped,
    )?;
    tell_losses(&format!("layer {digest}"), unpacked);
    staging.sync().map_err(writing(directory))?;

    Ok(StagedLayer {
        staging,
        size: unpacked.size,
    })
}

/// A filesystem in a package.
#[derive(Clone, Copy)]
struct Blob<'a> {
    url: &'a str,
    what: &'static str,
    name: &'a str,
    digest: &'a Digest,
}

fn unpack_blob(
    package: &Package,
    blob: Blob<'_>,
    root: &Path,
    ownership: Ownership,
    limits: Limits,
    stopped: &dyn Fn() -> bool,
) -> Result<Unpacked, InstallError> {
    let content = package
        .blob(blob.name)
        .map_err(|source| package_error(blob.url, source))?;
    make_directory(root).map_err(writing(root))?;
    let tree = Tree::new(root, ownership, limits).map_err(writing(root))?;

    unpack(content, blob.digest, tree, limits, stopped).map_err(|source| match source {
        UnpackError::Stopped => InstallError::Stopped,
        source => InstallError::Unpack {
            url: blob.url.to_owned(),
            what: blob.what,
            source: Box::new(source),
        },
    })
}

/// Reads a configuration that has to make sense, and gives its bytes.
fn read<T: serde::de::DeserializeOwned>(
    package: &Package,
    url: &str,
    what: &'static str,
    digest: &Digest,
) -> Result<Vec<u8>, InstallError> {
    let bytes = package
        .checked(what, &blob_path(digest), digest)
        .map_err(|source| package_error(url, source))?;
    serde_json::from_slice::<T>(&bytes).map_err(|source| InstallError::Document {
        url: url.to_owned(),
        what,
        source: source.into(),
    })?;

    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), InstallError> {
    path.parent()
        .map_or(Ok(()), make_directory)
        .and_then(|()| fs::write(path, bytes))
        .map_err(writing(path))
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

/// What may be unpacked: never more than there is room for.
fn limits_of(directory: &Path) -> Result<Limits, InstallError> {
    let space = statvfs(directory).map_err(|errno| writing(directory)(errno.into()))?;
    let free = space
        .fragment_size()
        .saturating_mul(space.blocks_available());
    let size = space.fragment_size().saturating_mul(space.blocks());
    let spare = SPARE.min(size / 100);
    let limits = Limits::default();

    Ok(Limits {
        bytes: limits.bytes.min(free.saturating_sub(spare)),
        ..limits
    })
}

fn tell_losses(item: &str, unpacked: Unpacked) {
    let losses = [
        (unpacked.devices, "device nodes left out"),
        (unpacked.fifos, "FIFOs left out"),
        (unpacked.set_id, "setuid and setgid bits cleared"),
        (unpacked.attributes, "extended attributes dropped"),
    ];
    for (count, what) in losses {
        if count > 0 {
            tracing::warn!(item, count, "{what}");
        }
    }
}

fn package_error(url: &str, source: PackageError) -> InstallError {
    InstallError::Package {
        url: url.to_owned(),
        source: Box::new(source),
    }
}

fn writing(path: &Path) -> impl FnOnce(io::Error) -> InstallError + use<> {
    let path = PathBuf::from(path);
    move |source| InstallError::Write { path, source }
}
