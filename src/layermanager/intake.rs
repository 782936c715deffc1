//! One package on its way into staging: what services and layers have in common.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aos_package::contents::Contents;
use serde::de::DeserializeOwned;

use super::error::InstallError;
use super::fetched::Fetched;
use super::layers::{Layers, Stopped};
use super::package::{Expected, PackageError, receive};
use super::record::{self, ContentHasher, Hashes};
use super::room::{Allowance, BLOCK, NoSpace};
use super::staging::Staging;
use super::unpack::{UnpackError, Unpacked};

/// Bytes of a line of a record, without the name.
const RECORD_LINE: u64 = 160;

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
    ) -> Result<Staging, InstallError> {
        let content = self.staging.content();
        for (name, bytes) in documents {
            // With the two directories that it may be in.
            claim(&mut allowance, bytes.len() as u64 + 3 * BLOCK)?;
            let path = content.join(name);
            let inode = write(&path, bytes).map_err(writing(&path))?;
            hashes.note(inode, ContentHasher::of(bytes));
        }

        let lines = self.unpacked.entries.saturating_mul(RECORD_LINE);
        claim(&mut allowance, lines.saturating_add(self.unpacked.names))?;
        record::write(&[("", &content)], hashes, &self.staging.record())?;
        let synced = self.staging.sync();
        synced.map_err(writing(self.staging.path()))?;
        Ok(self.staging)
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

/// Takes room, or tells how much is missing for that.
fn claim(allowance: &mut Allowance, bytes: u64) -> Result<(), NoSpace> {
    allowance.take(bytes).map_err(|refused| {
        allowance.count(bytes);
        allowance.refused().unwrap_or(refused)
    })
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
