//! The package format of AosEdge services and layers.
//!
//! - [`Manifest`], [`LayerDescriptor`], [`Digest`]: what is in a package
//! - [`ImageConfig`], [`ServiceConfig`]: how its content is run
//! - [`PackageSums`]: what a package file is recognised by
//! - [`pack`]: making packages
//! - [`contents`]: finding the parts of packages in one pass
//! - `hostile`, with the feature of that name: packages that try to do harm
//! - [`archive`]: reading the tar archives in them, of unknown origin

pub mod archive;
pub mod contents;
mod digest;
mod few;
#[cfg(any(test, feature = "hostile"))]
pub mod hostile;
mod image_config;
mod manifest;
pub mod pack;
mod service_config;
mod short;
mod sums;

pub use digest::{Algorithm, BlobHasher, Digest, DigestError, hex};
pub use image_config::{ExecutionConfig, ImageConfig};
pub use manifest::{
    Descriptor, Image, Images, LAYER_FILE, LayerDescriptor, MANIFEST_FILE, MEDIA_TYPE_IMAGE_CONFIG,
    MEDIA_TYPE_LAYER, MEDIA_TYPE_LAYER_GZIP, MEDIA_TYPE_LAYER_ZSTD, MEDIA_TYPE_MANIFEST,
    MEDIA_TYPE_SERVICE_CONFIG, Manifest, ManifestError, ManifestFile, OCI_INDEX_FILE,
    OCI_LAYOUT_FILE, Platform, blob_path,
};
pub use service_config::{
    ExecProbe, HttpProbe, Probe, Quotas, RunParameters, ServiceConfig, ServiceDevice, TcpProbe,
};
pub use short::{JsonError, Short};
pub use sums::{PackageSums, Sha3Long, Sha3Short};
