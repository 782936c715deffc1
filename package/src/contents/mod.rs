//! What a package holds, whatever its format, found in one pass.
//!
//! [`scan`] keeps the documents and shows each archive in the package to its
//! caller as it goes by; [`Contents`] then tells which of them are the layers of
//! a service, and by what each is to be checked. What it reads itself it has
//! checked on the way: every document that another one names by a digest.
//!
//! Known: packages of services and layers, OCI image layouts, and what
//! `docker save` writes.

mod aos;
mod docker;
mod found;
mod oci;
mod scan;

use crate::archive::EntryPath;
use crate::digest::Digest;
use crate::manifest::{
    LAYER_FILE, LayerDescriptor, MANIFEST_FILE, ManifestError, OCI_INDEX_FILE, OCI_LAYOUT_FILE,
    Platform,
};

use found::Found;

pub use crate::archive::Compression;
pub use scan::{Blob, KnowingBlob, ScanError, scan, scan_knowing};

/// Bytes of a manifest or configuration.
pub const DOCUMENT_MAX: u64 = 1 << 20;
/// Bytes of all documents that are kept.
pub const DOCUMENTS_MAX: u64 = 8 << 20;
/// Files, directories and links in a package. The largest images have some hundred.
pub const ENTRIES_MAX: u64 = 4096;
/// Layers of its own that a service can have: the kernel mounts some more.
pub const LAYERS_MAX: usize = 127;

/// A package, as a pass over it has found it.
#[derive(Debug)]
pub struct Contents {
    compression: Compression,
    found: Found,
}

/// What a package is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A service: `manifest.json` and blobs.
    AosService,
    /// A layer: `layer.json` and a blob.
    AosLayer,
    /// An OCI image layout: `oci-layout`, `index.json` and blobs.
    OciLayout,
    /// Written by `docker save` and the like: `manifest.json` is a list.
    DockerArchive,
    /// Nothing that is known.
    Unknown,
}

/// Where a file is in the (decompressed) package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes before it.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
}

/// What a service consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceParts {
    /// To be stored as `manifest.json`. For an image of another format it is one
    /// that we write.
    pub manifest: Vec<u8>,
    /// How the image is run: its digest, which is right, and the document.
    pub image_config: (Digest, Vec<u8>),
    /// What the service asks of SM: its digest, which is right, and the document.
    pub service_config: Option<(Digest, Vec<u8>)>,
    /// The layers in the package, the top first; at least one, and none twice.
    pub own: Vec<OwnLayer>,
    /// Digests of layers from packages of their own, the top first. They are
    /// below those of the package.
    pub shared: Vec<Digest>,
}

/// A layer in the package. Its content is not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnLayer {
    /// Name of its file, with which [`scan`] has shown it.
    pub name: EntryPath,
    /// What tells whether it is right.
    pub check: Check,
}

/// What tells whether a layer is right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// The digest of the file as it is in the package.
    Content(Digest),
    /// The digest of the tar in it: what images call `diff_id`.
    Decompressed(Digest),
}

impl Check {
    /// The digest, of whatever it is.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        match self {
            Self::Content(digest) | Self::Decompressed(digest) => digest,
        }
    }
}

impl Contents {
    /// What a service consists of. Of images for several platforms, the one for
    /// `platform` is taken; a single one is taken whatever it is for.
    pub fn service(&self, platform: &Platform) -> Result<ServiceParts, ManifestError> {
        match self.format() {
            Format::OciLayout => oci::service(&self.found, platform),
            Format::DockerArchive => docker::service(&self.found),
            Format::AosService | Format::AosLayer | Format::Unknown => aos::service(&self.found),
        }
    }

    /// What a layer is. Its file is named by the hex digits of its digest.
    pub fn layer(&self) -> Result<LayerDescriptor, ManifestError> {
        let layer = LayerDescriptor::parse(self.found.text(LAYER_FILE)?)?;
        self.found.archive(layer.digest.hex())?;
        Ok(layer)
    }

    /// Where a file is.
    #[must_use]
    pub fn place(&self, name: &EntryPath) -> Option<Place> {
        self.found.place(name)
    }

    /// A document that was kept.
    #[must_use]
    pub fn document(&self, name: &EntryPath) -> Option<&[u8]> {
        self.found.document(name)
    }

    /// What the package is, by the names of its files.
    #[must_use]
    pub fn format(&self) -> Format {
        let manifest = self.found.first_character(MANIFEST_FILE);
        let layout = self.found.has(OCI_LAYOUT_FILE) && self.found.has(OCI_INDEX_FILE);
        match manifest {
            Some(b'{') => Format::AosService,
            // What Docker saves today is both, and the layout says more.
            _ if layout => Format::OciLayout,
            Some(b'[') => Format::DockerArchive,
            _ if self.found.has(MANIFEST_FILE) => Format::AosService,
            _ if self.found.has(LAYER_FILE) => Format::AosLayer,
            _ => Format::Unknown,
        }
    }

    /// How the package as a whole is compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }
}

#[cfg(test)]
mod tests;
