//! Installed content: what it consists of, what is in use, what is damaged.

use std::fmt;
use std::path::PathBuf;

use super::ServiceKey;

/// What is installed and removed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContentItem {
    /// A version of a service.
    Service(ServiceKey),
    /// A shared layer, by its digest.
    Layer(String),
}

/// An installed item is not what was installed. It counts as not installed from
/// now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which one.
    pub item: ContentItem,
    /// Where it lies. What is installed in its place lies elsewhere.
    pub directory: PathBuf,
    /// What is wrong; names the file.
    pub reason: String,
}

/// Content that must stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Services that are desired, or that instances run on.
    pub services: Vec<ServiceKey>,
    /// Digests of the layers that are desired, or that instances run on.
    pub layers: Vec<String>,
    /// Roots that instances run on, be it content that was replaced since.
    pub directories: Vec<PathBuf>,
}

impl fmt::Display for ContentItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(key) => write!(f, "service {key}"),
            Self::Layer(digest) => write!(f, "layer {digest}"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged: {}", self.item, self.reason)
    }
}
