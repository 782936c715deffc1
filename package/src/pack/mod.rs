//! Making packages: the same input gives the same bytes.
//!
//! A package is a plain tar whose manifest or descriptor comes first, so that a
//! reader knows of each blob what it is; the filesystem inside may be compressed.
//! Entries are sorted by name, belong to 0:0 and are dated 1970, whoever packs
//! them and when.

mod tree;
mod writer;

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::archive::Compression;
use crate::digest::{Algorithm, Digest, DigestError};
use crate::manifest::{
    Descriptor, LAYER_FILE, MANIFEST_FILE, MEDIA_TYPE_IMAGE_CONFIG, MEDIA_TYPE_LAYER,
    MEDIA_TYPE_LAYER_GZIP, MEDIA_TYPE_LAYER_ZSTD, MEDIA_TYPE_MANIFEST, MEDIA_TYPE_SERVICE_CONFIG,
    ManifestFile, Platform, blob_path,
};
use crate::{ImageConfig, ServiceConfig};

use writer::PackageWriter;

/// Why a package cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file of the source cannot be read.
    #[error("cannot read {path}")]
    Source {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A device, FIFO or socket: it would be left out at install.
    #[error("{path} is neither file, directory nor symbolic link")]
    SpecialFile {
        /// The file.
        path: PathBuf,
    },
    /// A shared layer's digest is malformed.
    #[error("shared layer")]
    Layer(#[from] DigestError),
    /// A configuration cannot be written as JSON.
    #[error("cannot write {what} as JSON")]
    Json {
        /// Which one.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The package cannot be written.
    #[error("cannot write package {path}")]
    Output {
        /// The package.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a service package is made of.
#[derive(Clone, Copy, Debug)]
pub struct ServiceSource<'a> {
    /// Directory with the service's own root filesystem.
    pub rootfs: &'a Path,
    /// How the image is run.
    pub image: &'a ImageConfig,
    /// What the service asks of SM.
    pub config: Option<&'a ServiceConfig>,
    /// Digests of the shared layers below the root, the top first.
    pub layers: &'a [String],
    /// How the root filesystem is compressed.
    pub compression: Compression,
}

/// What a layer package is made of.
#[derive(Clone, Copy, Debug)]
pub struct LayerSource<'a> {
    /// Directory with the layer's files. Names with `.wh.` are whiteouts, as in
    /// OCI layers.
    pub root: &'a Path,
    /// Version of the operating system that the layer is made for.
    pub os_version: Option<&'a str>,
    /// How the layer is compressed.
    pub compression: Compression,
}

/// A finished package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of the package.
    pub size: u64,
    /// SHA3-256 of the package.
    pub sha3_256: [u8; 32],
    /// SHA3-512 of the package.
    pub sha3_512: [u8; 64],
    /// Of a layer package: the digest by which services name the layer.
    pub layer_digest: Option<String>,
}

/// Writes the package of a service to `output`, which appears only when it is
/// complete.
pub fn pack_service(source: &ServiceSource<'_>, output: &Path) -> Result<Packed, PackError> {
    let shared = source
        .layers
        .iter()
        .map(|digest| Ok(descriptor(MEDIA_TYPE_LAYER, &digest.parse()?, 0)))
        .collect::<Result<Vec<_>, DigestError>>()?;
    let image = to_json("the image config", source.image)?;
    let config = source
        .config
        .map(|config| to_json("the service config", config))
        .transpose()?;

    let mut filesystem = Filesystem::pack(source.rootfs, source.compression, output)?;
    let root = descriptor(
        layer_type(source.compression),
        &filesystem.digest,
        filesystem.size,
    );
    let manifest = ManifestFile {
        schema_version: 2,
        media_type: MEDIA_TYPE_MANIFEST.into(),
        config: descriptor(MEDIA_TYPE_IMAGE_CONFIG, &sha256(&image), length(&image)),
        layers: std::iter::once(root).chain(shared).collect(),
        aos_service: config
            .as_ref()
            .map(|config| descriptor(MEDIA_TYPE_SERVICE_CONFIG, &sha256(config), length(config))),
        own_layers: Vec::new(),
    };
    let manifest = to_json("the manifest", &manifest)?;

    write(output, |package| {
        package.bytes(MANIFEST_FILE, &manifest)?;
        package.bytes(&blob_path(&sha256(&image)), &image)?;
        if let Some(config) = config.as_ref().filter(|config| **config != image) {
            package.bytes(&blob_path(&sha256(config)), config)?;
        }
        package.file(
            &blob_path(&filesystem.digest),
            filesystem.size,
            &mut filesystem.content,
        )
    })
}

/// Writes the package of a layer to `output`, which appears only when it is
/// complete.
pub fn pack_layer(source: &LayerSource<'_>, output: &Path) -> Result<Packed, PackError> {
    let mut filesystem = Filesystem::pack(source.root, source.compression, output)?;
    let descriptor = Descriptor {
        platform: source.os_version.map(|version| Platform {
            os: "linux".into(),
            os_version: Some(version.to_owned()),
            ..Platform::default()
        }),
        ..descriptor(
            layer_type(source.compression),
            &filesystem.digest,
            filesystem.size,
        )
    };
    let descriptor = to_json("the layer descriptor", &descriptor)?;

    let packed = write(output, |package| {
        package.bytes(LAYER_FILE, &descriptor)?;
        package.file(
            filesystem.digest.hex(),
            filesystem.size,
            &mut filesystem.content,
        )
    })?;

    Ok(Packed {
        layer_digest: Some(filesystem.digest.to_string()),
        ..packed
    })
}

/// The tar of a directory, in an unnamed file beside the package: its digest is
/// part of its name there, so it has to be complete first.
struct Filesystem {
    content: File,
    digest: Digest,
    size: u64,
}

impl Filesystem {
    fn pack(root: &Path, compression: Compression, output: &Path) -> Result<Self, PackError> {
        let failed = |source| PackError::Output {
            path: output.to_owned(),
            source,
        };
        let mut content = tempfile::tempfile_in(directory_of(output)).map_err(failed)?;

        let (digest, size) = tree::write(root, compression, &content, output)?;
        content.seek(SeekFrom::Start(0)).map_err(failed)?;

        Ok(Self {
            content,
            digest,
            size,
        })
    }
}

fn write(
    output: &Path,
    fill: impl FnOnce(&mut PackageWriter<'_>) -> io::Result<()>,
) -> Result<Packed, PackError> {
    let failed = |source| PackError::Output {
        path: output.to_owned(),
        source,
    };
    let mut file = tempfile::NamedTempFile::new_in(directory_of(output)).map_err(failed)?;

    let mut package = PackageWriter::new(file.as_file_mut());
    let (sums, size) = fill(&mut package)
        .and_then(|()| package.finish())
        .map_err(failed)?;
    writer::make_readable(file.as_file()).map_err(failed)?;
    file.persist(output).map_err(|error| failed(error.error))?;

    Ok(Packed {
        size,
        sha3_256: sums.sha3_256,
        sha3_512: sums.sha3_512,
        layer_digest: None,
    })
}

fn directory_of(output: &Path) -> &Path {
    match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.into(),
        digest: digest.to_string(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        platform: None,
    }
}

fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => MEDIA_TYPE_LAYER,
        Compression::Gzip => MEDIA_TYPE_LAYER_GZIP,
        Compression::Zstd => MEDIA_TYPE_LAYER_ZSTD,
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

fn length(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

fn to_json(what: &'static str, value: &impl serde::Serialize) -> Result<Vec<u8>, PackError> {
    serde_json::to_vec(value).map_err(|source| PackError::Json { what, source })
}

#[cfg(test)]
mod tests;
