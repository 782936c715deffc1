//! Services and layers: what CM asks for and what is installed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use aos_package::{ImageConfig, ServiceConfig};

use super::{ProviderId, ServiceId, ServiceKey};

/// The version of an item as CM gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    /// Grows with each release of the item.
    pub aos: u64,
    /// The vendor's own text.
    pub vendor: String,
    /// For humans.
    pub description: String,
}

/// A desired service, and where its package comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceInfo {
    /// The service.
    pub id: ServiceId,
    /// The desired version.
    pub version: Version,
    /// Names the network of its instances.
    pub provider_id: ProviderId,
    /// `file://…` or `http(s)://…`.
    pub url: String,
    /// Group of the service's files and processes.
    pub gid: u32,
    /// SHA3-256 of the package, whatever the field's name says.
    pub sha256: Vec<u8>,
    /// SHA3-512 of the package.
    pub sha512: Vec<u8>,
    /// Bytes of the package.
    pub size: u64,
}

impl ServiceInfo {
    /// The version that is asked for.
    #[must_use]
    pub fn key(&self) -> ServiceKey {
        ServiceKey {
            id: self.id.clone(),
            version: self.version.aos,
        }
    }
}

/// A desired layer, and where its package comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerInfo {
    /// For humans; the digest identifies the layer.
    pub layer_id: String,
    /// OCI digest of the layer's tar, as service manifests name it.
    pub digest: String,
    /// The layer's version.
    pub version: Version,
    /// `file://…` or `http(s)://…`.
    pub url: String,
    /// SHA3-256 of the package, whatever the field's name says.
    pub sha256: Vec<u8>,
    /// SHA3-512 of the package.
    pub sha512: Vec<u8>,
    /// Bytes of the package.
    pub size: u64,
}

/// An installed service, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceContent {
    /// Which service and version.
    pub key: ServiceKey,
    /// Names the network of its instances.
    pub provider_id: ProviderId,
    /// Group of its files and processes.
    pub gid: u32,
    /// Digest of the manifest as installed: stands for the whole content.
    pub manifest_digest: String,
    /// The unpacked root of the service itself.
    pub root: PathBuf,
    /// What is below it, the top first: further roots of the service itself, then
    /// those of the shared layers in manifest order.
    pub layers: Vec<PathBuf>,
    /// Digests of the shared layers alone, in the same order.
    pub layer_digests: Vec<String>,
    /// The image's own configuration.
    pub image: ImageConfig,
    /// What the service asks of SM.
    pub config: ServiceConfig,
}
