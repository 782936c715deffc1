//! One pass over a package: summed up, looked through and unpacked as it comes.
//!
//! Whoever looks at it writes to private staging only, so it does not matter that
//! the package is checked as a whole after its content: what [`receive`] returns
//! has passed, and all else is thrown away. A wrong size or sum is told rather
//! than the damage that it causes.
//!
//! A second look is needed for a layer only that the pass could not know to be
//! one, or whose digest is of something else than its name lets expect.

use std::io::{self, Read};

use aos_package::archive::{ArchiveError, Limits};
use aos_package::contents::{Contents, ScanError, scan_knowing};
use aos_package::{ManifestError, hex};

use super::fetch::{FetchError, PackageId};
use super::layers::Layers;
use super::sums::{Summed, summed};

/// A package cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It cannot be opened or downloaded.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The file cannot be read.
    #[error("cannot read the file")]
    Read(#[source] io::Error),
    /// The size is not what CM said.
    #[error("file is {actual} bytes, expected {expected}")]
    Size {
        /// Of the file.
        actual: u64,
        /// What CM said.
        expected: u64,
    },
    /// A sum is not what CM said.
    #[error("{sum} is {actual}, expected {expected}")]
    Sum {
        /// Which one.
        sum: &'static str,
        /// Of the file.
        actual: String,
        /// What CM said.
        expected: String,
    },
    /// The file is no archive.
    #[error("cannot read it as an archive")]
    Archive(#[source] ArchiveError),
    /// The manifest or another document is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// What CM says of a package.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// For people.
    pub(super) url: &'a str,
    pub(super) id: &'a PackageId,
}

/// Reads all of a package. Its layers have been unpacked when this returns, and
/// are still to be checked.
pub(super) fn receive(
    reader: impl Read,
    expected: Expected<'_>,
    layers: &mut Layers<'_>,
) -> Result<Contents, PackageError> {
    let source = Stoppable {
        // One byte more shows a file that grows.
        source: reader.take(expected.id.size.saturating_add(1)),
        stopped: layers.stopped(),
    };
    let summed = summed(source, |source| {
        scan_knowing::<_, std::convert::Infallible>(
            source,
            Limits::default(),
            &mut |before, name, _, content| {
                layers.take(before, name, content);
                Ok(())
            },
        )
    })
    .map_err(PackageError::Read)?;
    check_size(summed.size, expected.id.size)?;
    check_sums(&summed, expected.id)?;

    summed.outcome.map_err(|error| match error {
        ScanError::Archive(source) => PackageError::Archive(source),
        ScanError::Blob(never) => match never {},
    })
}

fn check_size(actual: u64, expected: u64) -> Result<(), PackageError> {
    if actual == expected {
        Ok(())
    } else {
        Err(PackageError::Size { actual, expected })
    }
}

fn check_sums<T>(summed: &Summed<T>, expected: &PackageId) -> Result<(), PackageError> {
    let sums: [(_, &[u8], _); 2] = [
        ("SHA3-256", &summed.sums.sha3_256, &expected.sha3_256),
        ("SHA3-512", &summed.sums.sha3_512, &expected.sha3_512),
    ];
    for (sum, actual, expected) in sums {
        if actual != expected {
            return Err(PackageError::Sum {
                sum,
                actual: hex(actual),
                expected: hex(expected),
            });
        }
    }
    Ok(())
}

/// Fails as soon as the service manager stops.
struct Stoppable<'a, R> {
    source: R,
    stopped: &'a dyn Fn() -> bool,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if (self.stopped)() {
            return Err(io::Error::other("the service manager is stopping"));
        }
        self.source.read(buffer)
    }
}
