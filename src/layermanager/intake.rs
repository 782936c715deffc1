//! One package on its way into staging: what services and layers have in common.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aos_package::contents::Contents;
use serde::de::DeserializeOwned;

use super::allowance::{Allowance, BLOCK};
use super::error::InstallError;
use super::fetch::Fetched;
use super::layers::{Layers, Stopped};
use super::package::{Expected, PackageError, receive};
use super::record::{self, ContentHasher, Hashes};
use super::space::{NoSpace, Room};
use super::staging::Staging;
use super::unpack::{UnpackError, Unpacked};

/// Bytes of documents and of the directories that all is in, taken before it is
/// known how many there are.
const DOCUMENTS: u64 = 16 * BLOCK;

/// A package, and the place that its content is staged at.
pub(super) struct Intake<'a> {
    expected: Expected<'a>,
    staging: Staging,
    stopped: Stopped<'a>,
    /// Of all layers.
    unpacked: Unpacked,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        expected: Expected<'a>,
        directory: &Path,
        stopped: Stopped<'a>,
    ) -> Result<Self, InstallError> {
        Ok(Self {
            expected,
            staging: Staging::new(directory).map_err(writing(directory))?,
            stopped,
            unpacked: Unpacked::default(),
        })
    }

    pub(super) fn staging(&self) -> &Staging {
        &self.staging
    }

    /// Takes all of the package in. What it is made of, and the file for a second
    /// look.
    pub(super) fn receive(
        &self,
        package: Fetched,
        layers: &mut Layers<'_>,
    ) -> Result<(Contents, Arc<File>), InstallError> {
        match receive(package.reader, self.expected, layers) {
            Ok(contents) => Ok((contents, package.file)),
            // Whatever else that has led to.
            Err(_) if (self.stopped)() => Err(InstallError::Stopped),
            Err(error) => Err(self.wrong(error)),
        }
    }

    /// Adds what one of the layers is.
    pub(super) fn add(&mut self, layer: Unpacked) {
        self.unpacked += layer;
    }

    /// What all layers are that were added.
    pub(super) fn unpacked(&self) -> Unpacked {
        self.unpacked
    }

    /// Checks that a document can be read.
    pub(super) fn check<T: DeserializeOwned>(
        &self,
        what: &'static str,
        bytes: &[u8],
    ) -> Result<(), InstallError> {
        let read = serde_json::from_slice::<T>(bytes).map(drop);
        read.map_err(|source| InstallError::Document {
            url: self.expected.url.to_owned(),
            what,
            source: source.into(),
        })
    }

    /// Writes `documents` and the record of all that is staged then, and brings it
    /// to the disk.
    pub(super) fn finish(
        self,
        mut allowance: Allowance,
        mut hashes: Hashes,
        documents: &[(String, &[u8])],
    ) -> Result<(Staging, Option<Box<dyn Room>>), InstallError> {
        let content = self.staging.content();
        let sizes = documents.iter().map(|(_, bytes)| bytes.len() as u64);
        // Each with the two directories that it may be in.
        let sizes = sizes.map(|size| size.saturating_add(3 * BLOCK));
        let size = sizes.fold(0, u64::saturating_add);
        allowance.take_last(size.saturating_sub(DOCUMENTS))?;
        for (name, bytes) in documents {
            let path = content.join(name);
            let inode = write(&path, bytes).map_err(writing(&path))?;
            hashes.note(inode, ContentHasher::of(bytes));
        }

        allowance.take_record()?;
        record::write(&[("", &content)], hashes, &self.staging.record())?;
        let synced = self.staging.sync();
        synced.map_err(writing(self.staging.path()))?;
        Ok((self.staging, allowance.into_room()))
    }

    /// The package is not what it should be.
    pub(super) fn wrong(&self, source: PackageError) -> InstallError {
        package_error(self.expected.url, source)
    }

    /// A filesystem of the package cannot be unpacked.
    pub(super) fn refused(&self, what: String, source: UnpackError) -> InstallError {
        match source {
            UnpackError::Stopped => InstallError::Stopped,
            UnpackError::NoSpace(source) => source.into(),
            source => InstallError::Unpack {
                url: self.expected.url.to_owned(),
                what,
                source: Box::new(source),
            },
        }
    }
}

pub(super) fn package_error(url: &str, source: PackageError) -> InstallError {
    InstallError::Package {
        url: url.to_owned(),
        source: Box::new(source),
    }
}

/// What a package of `size` bytes may take, and has taken for its documents.
pub(super) fn allowance(room: Result<Box<dyn Room>, NoSpace>, size: u64) -> Allowance {
    let mut allowance = match room {
        Ok(room) => Allowance::new(room),
        Err(refused) => Allowance::without_room(refused, size),
    };
    if allowance.take(DOCUMENTS).is_err() {
        // It is told when all of it is known.
        allowance.count(DOCUMENTS);
    }
    allowance
}

/// Makes a file. Returns its inode.
fn write(path: &Path, bytes: &[u8]) -> io::Result<u64> {
    path.parent().map_or(Ok(()), make_directory)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    Ok(file.metadata()?.ino())
}

pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

pub(super) fn writing(path: &Path) -> impl FnOnce(io::Error) -> InstallError + use<> {
    let path = PathBuf::from(path);
    move |source| InstallError::Write { path, source }
}
