//! What can be wrong with the documents of a package.

use std::fmt;

use crate::digest::{Digest, DigestError};
use crate::short::{JsonError, Short};

use super::{MANIFEST_FILE, Platform};

/// Images that an error names.
const NAMED: usize = 4;

/// A manifest, a descriptor or another document of a package cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON that it should be.
    #[error("cannot read {}", Short(file))]
    Json {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: JsonError,
    },
    /// A digest is missing or malformed.
    #[error("{}, digest of {what}", Short(file))]
    Digest {
        /// The file.
        file: String,
        /// Whose digest.
        what: String,
        /// Why.
        #[source]
        source: DigestError,
    },
    /// There is no root filesystem.
    #[error("{MANIFEST_FILE} names no layers: a service needs its own as the first")]
    NoLayers,
    /// There is nothing to run in an image.
    #[error("the image has no layers")]
    NoImageLayers,
    /// Only what SM stores of an image can have such layers.
    #[error("{MANIFEST_FILE} has ownLayers, which a package cannot have")]
    OwnLayers,
    /// A file is missing.
    #[error("it has no {}", Short(.0))]
    Missing(String),
    /// A link leads out of the package or nowhere.
    #[error("{} is a link that leads to no file of the package", Short(.0))]
    Link(String),
    /// A document is larger than documents are.
    #[error("{} has {size} bytes, more than {allowed}", Short(file))]
    DocumentSize {
        /// The file.
        file: String,
        /// Its bytes.
        size: u64,
        /// What a document can have.
        allowed: u64,
    },
    /// There was no room to keep a document.
    #[error(
        "{}: the package has more than {allowed} bytes of documents",
        Short(file)
    )]
    Documents {
        /// The file that was not kept.
        file: String,
        /// What all documents can have.
        allowed: u64,
    },
    /// An archive where a document is expected.
    #[error("{} is an archive, not a document", Short(.0))]
    NotDocument(String),
    /// Something else where a layer is expected.
    #[error("layer {} is not an archive", Short(.0))]
    NotArchive(String),
    /// A document is not what refers to it says.
    #[error("{what}: digest mismatch: content is {actual}, expected {expected}")]
    Mismatch {
        /// Which one.
        what: String,
        /// Of the document.
        actual: Digest,
        /// Of what refers to it.
        expected: Digest,
    },
    /// No image of the package can be taken.
    #[error("{matching} images are for {wanted}, expected one of those that it has: {found}")]
    Choice {
        /// What an image must be for.
        wanted: String,
        /// How many are for that.
        matching: usize,
        /// The images to choose from.
        found: Images,
    },
    /// There is nothing to choose from.
    #[error("{} names no image", Short(.0))]
    NoImages(String),
    /// More indexes than are looked at.
    #[error("it has more than {0} indexes")]
    Indexes(usize),
    /// Docker saved several images, or none.
    #[error("{MANIFEST_FILE} names {count} images, expected one")]
    ImageCount {
        /// How many.
        count: usize,
    },
    /// A layer that must not be distributed, is encrypted, or is no tar.
    #[error("layer {number} is of type {:?}, which {reason}", Short(media_type))]
    LayerType {
        /// Which one, counted from the base.
        number: usize,
        /// Its type.
        media_type: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More layers than can be mounted.
    #[error("the image has {count} layers, more than {allowed}")]
    LayerCount {
        /// How many.
        count: usize,
        /// How many there can be.
        allowed: usize,
    },
    /// The image configuration does not belong to the layers.
    #[error("the image has {layers} layers, and its config has digests of {digests}")]
    LayerDigests {
        /// Layers.
        layers: usize,
        /// Digests of layers in the image configuration.
        digests: usize,
    },
}

impl ManifestError {
    pub(crate) fn json(file: impl Into<String>, source: serde_json::Error) -> Self {
        Self::Json {
            file: file.into(),
            source: source.into(),
        }
    }

    pub(crate) fn digest(
        file: impl Into<String>,
        what: impl Into<String>,
        source: DigestError,
    ) -> Self {
        Self::Digest {
            file: file.into(),
            what: what.into(),
            source,
        }
    }
}

/// The images that a package has, as an error names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images(pub(crate) Vec<Image>);

/// One of the images that a package has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it is made for.
    pub platform: Option<Platform>,
    /// Digest of its manifest.
    pub digest: Digest,
}

impl fmt::Display for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, image) in self.0.iter().take(NAMED).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let platform = match &image.platform {
                Some(platform) => platform.to_string(),
                None => "unknown platform".to_owned(),
            };
            write!(f, "{comma}{platform} ({})", image.digest)?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
