//! A package file, checked as a whole before anything of it is used.
//!
//! One pass over the open file sums it up, notes where each blob is and keeps
//! the small ones. What is kept has been summed up itself; a blob that is read
//! again, by its place, is checked against its own digest. So it does not matter
//! whether somebody writes to the file meanwhile.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use aos_package::archive::{Archive, ArchiveError, Compression, EntryPath, Kind, Limits, decode};
use aos_package::{Digest, ManifestError, Short, hex};
use nix::fcntl::OFlag;

use super::source::{UrlError, file_path};
use super::sums::{Summed, summed};

/// Bytes of a manifest or configuration.
const DOCUMENT_MAX: u64 = 1 << 20;
/// Bytes of small blobs that are kept.
const KEPT_MAX: u64 = 8 << 20;
/// Files in a package. A service has four.
const ENTRIES_MAX: u64 = 4096;

/// A package cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The URL names no local file.
    #[error("cannot use this URL")]
    Url(#[from] UrlError),
    /// The file cannot be opened.
    #[error("cannot open the file")]
    Open(#[source] io::Error),
    /// A directory, a FIFO, …
    #[error("it is not a file")]
    NotFile,
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
    /// The manifest or layer descriptor is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file is missing.
    #[error("it has no {}", Short(.0))]
    Missing(String),
    /// A document is larger than documents are.
    #[error("{what} has {size} bytes, more than {DOCUMENT_MAX}")]
    DocumentSize {
        /// Which one.
        what: &'static str,
        /// Its size.
        size: u64,
    },
    /// A blob is not what the manifest says.
    #[error("{what}: digest mismatch: content is {actual}, expected {expected}")]
    Digest {
        /// Which one.
        what: &'static str,
        /// Of the blob.
        actual: Digest,
        /// Of the manifest.
        expected: Digest,
    },
}

/// What CM says of a package.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) url: &'a str,
    pub(super) size: u64,
    pub(super) sha3_256: &'a [u8],
    pub(super) sha3_512: &'a [u8],
}

/// An open package whose size and sums are right.
pub(super) struct Package {
    file: File,
    gzip: bool,
    blobs: HashMap<EntryPath, Place>,
    kept: HashMap<EntryPath, Vec<u8>>,
}

/// Where a blob is in the (decompressed) package.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    size: u64,
}

struct Index {
    gzip: bool,
    blobs: HashMap<EntryPath, Place>,
    kept: HashMap<EntryPath, Vec<u8>>,
}

impl Package {
    /// Opens and checks a package.
    pub(super) fn open(
        expected: Expected<'_>,
        limits: Limits,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Self, PackageError> {
        let path = file_path(expected.url)?;
        let file = OpenOptions::new()
            .read(true)
            // A FIFO must not make us wait.
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(path)
            .map_err(PackageError::Open)?;
        let metadata = file.metadata().map_err(PackageError::Open)?;
        if !metadata.is_file() {
            return Err(PackageError::NotFile);
        }
        check_size(metadata.len(), expected.size)?;

        // One byte more shows a file that grows.
        let source = Stoppable {
            source: (&file).take(expected.size.saturating_add(1)),
            stopped,
        };
        let summed = summed(source, |source| index(source, limits)).map_err(PackageError::Read)?;
        check_size(summed.size, expected.size)?;
        check_sums(&summed, expected)?;

        let index = summed.outcome.map_err(PackageError::Archive)?;
        Ok(Self {
            file,
            gzip: index.gzip,
            blobs: index.blobs,
            kept: index.kept,
        })
    }

    /// The manifest or layer descriptor, which nothing but the package's sums
    /// vouches for.
    pub(super) fn document(&self, name: &'static str) -> Result<&[u8], PackageError> {
        let path = path_of(name)?;
        let place = self.place(&path)?;
        self.kept
            .get(&path)
            .map(Vec::as_slice)
            .ok_or(PackageError::DocumentSize {
                what: name,
                size: place.size,
            })
    }

    /// A configuration, checked against its digest.
    pub(super) fn checked(
        &self,
        what: &'static str,
        name: &str,
        digest: &Digest,
    ) -> Result<Vec<u8>, PackageError> {
        let path = path_of(name)?;
        let place = self.place(&path)?;
        if place.size > DOCUMENT_MAX {
            return Err(PackageError::DocumentSize {
                what,
                size: place.size,
            });
        }

        let mut bytes = Vec::new();
        match self.kept.get(&path) {
            Some(kept) => bytes.clone_from(kept),
            None => {
                let mut blob = self.blob(name)?;
                blob.read_to_end(&mut bytes).map_err(PackageError::Read)?;
            }
        }
        let actual = Digest::of(digest.algorithm(), &bytes);
        if actual != *digest {
            return Err(PackageError::Digest {
                what,
                actual,
                expected: digest.clone(),
            });
        }
        Ok(bytes)
    }

    /// The bytes of a blob. Whoever reads them has to check their digest.
    pub(super) fn blob(&self, name: &str) -> Result<Box<dyn Read + '_>, PackageError> {
        let place = self.place(&path_of(name)?)?;
        if !self.gzip {
            let file = At {
                file: &self.file,
                offset: place.offset,
            };
            return Ok(Box::new(file.take(place.size)));
        }

        let file = At {
            file: &self.file,
            offset: 0,
        };
        let mut content = decode(file).map_err(PackageError::Read)?;
        let before = io::copy(&mut (&mut content).take(place.offset), &mut io::sink())
            .map_err(PackageError::Read)?;
        if before < place.offset {
            return Err(PackageError::Read(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Box::new(content.take(place.size)))
    }

    fn place(&self, path: &EntryPath) -> Result<Place, PackageError> {
        self.blobs
            .get(path)
            .copied()
            .ok_or_else(|| PackageError::Missing(path.as_path().display().to_string()))
    }
}

fn path_of(name: &str) -> Result<EntryPath, PackageError> {
    EntryPath::parse(name.as_bytes()).map_err(|_| PackageError::Missing(name.to_owned()))
}

fn index(source: &mut dyn Read, limits: Limits) -> Result<Index, ArchiveError> {
    let decoded = decode(source).map_err(ArchiveError::Read)?;
    let gzip = decoded.compression() != Compression::None;
    let limits = Limits {
        entries: ENTRIES_MAX,
        ..limits
    };
    let mut archive = Archive::new(decoded, limits);
    let (mut blobs, mut kept, mut kept_size) = (HashMap::new(), HashMap::new(), 0);

    while let Some(entry) = archive.next_entry()? {
        let path = EntryPath::parse(&entry.name).map_err(|reason| ArchiveError::Path {
            name: entry.shown(),
            reason,
        })?;
        if entry.kind != Kind::File {
            continue;
        }

        let place = Place {
            offset: entry.offset,
            size: entry.size,
        };
        kept.remove(&path);
        if entry.size <= DOCUMENT_MAX && kept_size + entry.size <= KEPT_MAX {
            let mut content = Vec::new();
            archive
                .read_to_end(&mut content)
                .map_err(ArchiveError::Read)?;
            kept_size += entry.size;
            kept.insert(path.clone(), content);
        }
        blobs.insert(path, place);
    }

    Ok(Index { gzip, blobs, kept })
}

fn check_size(actual: u64, expected: u64) -> Result<(), PackageError> {
    if actual == expected {
        Ok(())
    } else {
        Err(PackageError::Size { actual, expected })
    }
}

fn check_sums<T>(summed: &Summed<T>, expected: Expected<'_>) -> Result<(), PackageError> {
    let sums: [(_, &[u8], _); 2] = [
        ("SHA3-256", &summed.sums.sha3_256, expected.sha3_256),
        ("SHA3-512", &summed.sums.sha3_512, expected.sha3_512),
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

/// Reads a file from an offset of its own.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
