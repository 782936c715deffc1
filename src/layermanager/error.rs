//! What can go wrong with content.

use std::io;
use std::path::PathBuf;

use aos_package::{DigestError, JsonError, ManifestError, Short};

use super::fetch::FetchError;
use super::package::PackageError;
use super::record::RecordError;
use super::space::NoSpace;
use super::unpack::UnpackError;
use super::verify::Differences;
use crate::model::ServiceKey;
use crate::storage::StorageError;

/// An operation on services or layers failed.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// A service is not installed, and nothing of it is left.
    #[error("cannot install service {}", Short(key))]
    InstallService {
        /// Which one.
        key: ServiceKey,
        /// Why.
        #[source]
        source: InstallError,
    },
    /// A layer is not installed, and nothing of it is left.
    #[error("cannot install layer {}", Short(digest))]
    InstallLayer {
        /// Which one, as CM wrote it.
        digest: String,
        /// Why.
        #[source]
        source: InstallError,
    },
    /// The service was never installed, or is gone.
    #[error("service {} is not installed", Short(.0))]
    NoService(ServiceKey),
    /// A shared layer is missing.
    #[error("service {}: layer {} is not installed", Short(key), Short(digest))]
    NoLayer {
        /// Who needs it.
        key: ServiceKey,
        /// Which one.
        digest: String,
    },
    /// What is installed is not what was installed.
    #[error("service {} is damaged", Short(key))]
    Damaged {
        /// Which one.
        key: ServiceKey,
        /// How.
        #[source]
        source: DamageError,
    },
    /// What is installed of a layer is not what was installed.
    #[error("service {}: layer {} is damaged", Short(key), Short(digest))]
    DamagedLayer {
        /// Who needs it.
        key: ServiceKey,
        /// Which one.
        digest: String,
        /// How.
        #[source]
        source: Box<DamageError>,
    },
    /// The content was replaced or removed while it was looked at.
    #[error("service {}: what is in {path} is no longer installed", Short(key))]
    Gone {
        /// Who needs it.
        key: ServiceKey,
        /// Where it was.
        path: PathBuf,
    },
    /// It cannot be found out whether content is in order.
    #[error("cannot verify {path}")]
    Verify {
        /// The item's directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// A directory of ours cannot be set up or cleaned.
    #[error("cannot use directory {path}")]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody knows what instances are made of.
    #[error("cannot find out what instances are made of")]
    Users(#[source] io::Error),
    /// The partial downloads cannot be looked at.
    #[error("cannot use the directory of downloads")]
    Downloads {
        /// Why.
        #[source]
        source: FetchError,
    },
    /// The database does not know.
    #[error("cannot read or write what is installed")]
    Storage(#[from] StorageError),
    /// The service manager is stopping.
    #[error("the service manager is stopping")]
    Stopped,
}

/// An install failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The package is not what it should be.
    #[error("package {}", Short(url))]
    Package {
        /// Where it comes from.
        url: String,
        /// Why.
        #[source]
        source: Box<PackageError>,
    },
    /// A configuration in the package cannot be read.
    #[error("package {}: {what} is not valid", Short(url))]
    Document {
        /// Where it comes from.
        url: String,
        /// Which one.
        what: &'static str,
        /// Why.
        #[source]
        source: JsonError,
    },
    /// The filesystem in the package cannot be unpacked.
    #[error("package {}: {what}", Short(url))]
    Unpack {
        /// Where it comes from.
        url: String,
        /// Which filesystem.
        what: String,
        /// Why.
        #[source]
        source: Box<UnpackError>,
    },
    /// The files that were written cannot be recorded.
    #[error("cannot record what was unpacked")]
    Record(#[from] RecordError),
    /// CM names the layer by something that is no digest.
    #[error("the layer's name")]
    LayerDigest(#[from] DigestError),
    /// The package holds another layer.
    #[error("package {}: it holds layer {actual}", Short(url))]
    OtherLayer {
        /// Where it comes from.
        url: String,
        /// What it holds.
        actual: String,
    },
    /// Release 7.2.3 installed it, and did not keep where from.
    #[error("it has to be fetched, and where from is not known before the next list of CM")]
    NoUrl {
        /// What is wrong with what is installed, if there is anything.
        #[source]
        damage: Option<DamageError>,
    },
    /// The content cannot be written.
    #[error("cannot write to {path}")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is not enough space, and none can be made.
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
    /// The row cannot be written.
    #[error("cannot store what was installed")]
    Storage(#[from] StorageError),
    /// The caller has gone before the install was begun.
    #[error("nobody waits for it any more")]
    Abandoned,
    /// The service manager is stopping.
    #[error("the service manager is stopping")]
    Stopped,
}

/// Installed content cannot be used. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum DamageError {
    /// A file or directory is missing or unreadable.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file has changed.
    #[error("{path} has changed: its digest is {actual}, expected {expected}")]
    Digest {
        /// The file.
        path: PathBuf,
        /// Of the file.
        actual: String,
        /// When it was installed.
        expected: String,
    },
    /// The hash that release 7.2.3 made of a root is another now. It names no
    /// file.
    #[error("files in {path} have changed since release 7.2.3 installed them")]
    Content {
        /// Directory of the service.
        path: PathBuf,
    },
    /// The manifest makes no sense.
    #[error("{path}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<ManifestError>,
    },
    /// A configuration makes no sense.
    #[error("{path} is not valid")]
    Document {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: JsonError,
    },
    /// Files are not as they were recorded.
    #[error("{0}")]
    Files(Differences),
    /// The record of the files is unreadable or damaged: it cannot be told any
    /// more what they were.
    #[error("what its files were is not known any more")]
    Record(#[source] RecordError),
    /// The row names no digest.
    #[error("the stored digest of the manifest")]
    Row(#[from] DigestError),
}
