//! What is in a package: the manifest of a service, the descriptor of a layer.

mod error;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::few::few;
use crate::short::Short;

pub use error::{Image, Images, ManifestError};

/// Name of the manifest in a service package.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of the descriptor in a layer package.
pub const LAYER_FILE: &str = "layer.json";

/// Name of the file that an OCI image layout is recognised by.
pub const OCI_LAYOUT_FILE: &str = "oci-layout";
/// Name of the list of images in an OCI image layout.
pub const OCI_INDEX_FILE: &str = "index.json";

/// Media type of a service's manifest.
pub const MEDIA_TYPE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image configuration.
pub const MEDIA_TYPE_IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a service configuration.
pub const MEDIA_TYPE_SERVICE_CONFIG: &str = "application/vnd.aos.service.config.v1+json";
/// Media type of a layer, a plain tar.
pub const MEDIA_TYPE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Media type of a layer, a compressed tar.
pub const MEDIA_TYPE_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of a layer, a tar compressed with Zstandard.
pub const MEDIA_TYPE_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// A descriptor as it is written. [`Manifest::parse`] checks it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    /// What the blob is. Not checked: tools disagree.
    pub media_type: String,
    /// Digest of the blob as it is in the package.
    pub digest: String,
    /// Bytes of the blob. A hint: the digest decides.
    pub size: i64,
    /// What the blob is made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// `platform` of a descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// CPU architecture, in Go's names. Not checked.
    pub architecture: String,
    /// Operating system. Not checked.
    pub os: String,
    /// Version of the operating system that a layer was made for.
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

impl Platform {
    /// What images for this machine are made for.
    #[must_use]
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            same => same,
        };
        Self {
            architecture: architecture.into(),
            os: std::env::consts::OS.into(),
            os_version: None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text| Short(str::escape_debug(text));
        write!(f, "{}/{}", short(&self.os), short(&self.architecture))
    }
}

/// `manifest.json` as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManifestFile {
    /// Always 2.
    pub schema_version: u32,
    /// Type of the document itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The image configuration.
    pub config: Descriptor,
    /// The service's own root filesystem, then shared layers, the top first.
    #[serde(deserialize_with = "few")]
    pub layers: Vec<Descriptor>,
    /// The service configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aos_service: Option<Descriptor>,
    /// What the service has of its own below its root filesystem, the top first.
    /// Written by the service manager when it installs an image of many layers.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "few")]
    pub own_layers: Vec<Descriptor>,
}

/// A checked manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The image configuration.
    pub image_config: Digest,
    /// The service configuration.
    pub service_config: Option<Digest>,
    /// The service's own root filesystem.
    pub root: Digest,
    /// Its own layers below that, the top first. Packages have none.
    pub own_layers: Vec<Digest>,
    /// Shared layers, the top first. They come in packages of their own.
    pub layers: Vec<Digest>,
}

impl Manifest {
    /// Reads `manifest.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let digest = |what: String, descriptor: &Descriptor| {
            descriptor
                .digest
                .parse()
                .map_err(|source| ManifestError::digest(MANIFEST_FILE, what, source))
        };
        let digests = |what: &str, first: usize, descriptors: &[Descriptor]| {
            let numbered = descriptors.iter().zip(first..);
            numbered
                .map(|(descriptor, number)| digest(format!("{what} {number}"), descriptor))
                .collect::<Result<Vec<_>, _>>()
        };

        let file: ManifestFile = serde_json::from_slice(bytes)
            .map_err(|source| ManifestError::json(MANIFEST_FILE, source))?;
        let (root, shared) = file.layers.split_first().ok_or(ManifestError::NoLayers)?;

        Ok(Self {
            image_config: digest("the image config".into(), &file.config)?,
            service_config: file
                .aos_service
                .as_ref()
                .map(|descriptor| digest("the service config".into(), descriptor))
                .transpose()?,
            root: digest("layer 0".into(), root)?,
            own_layers: digests("own layer", 1, &file.own_layers)?,
            layers: digests("layer", 1, shared)?,
        })
    }
}

/// A checked layer descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerDescriptor {
    /// Digest of the layer's tar as it is in the package.
    pub digest: Digest,
    /// Version of the operating system that it was made for.
    pub os_version: Option<String>,
}

impl LayerDescriptor {
    /// Reads `layer.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let descriptor: Descriptor = serde_json::from_slice(bytes)
            .map_err(|source| ManifestError::json(LAYER_FILE, source))?;

        Ok(Self {
            digest: descriptor
                .digest
                .parse()
                .map_err(|source| ManifestError::digest(LAYER_FILE, "the layer", source))?,
            os_version: descriptor.platform.and_then(|platform| platform.os_version),
        })
    }
}

/// Path of a blob in a service package, and below an installed service.
#[must_use]
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

#[cfg(test)]
mod tests;
