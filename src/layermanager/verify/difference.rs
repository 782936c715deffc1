//! What is different, for a human.

use std::fmt;
use std::io;
use std::path::PathBuf;

use aos_package::Short;
use nix::errno::Errno;

use crate::layermanager::record::{Entry, Kind};

/// Differences that are told; there may be more.
pub(super) const TOLD: usize = 5;

/// Files that are not as they were recorded.
#[derive(Debug)]
pub struct Differences {
    first: Vec<Difference>,
}

#[derive(Debug)]
pub(super) struct Difference {
    pub(super) path: PathBuf,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Missing,
    Unexpected,
    Kind,
    Mode {
        expected: u32,
        actual: u32,
    },
    Owner {
        expected: (u32, u32),
        actual: (u32, u32),
    },
    Size {
        expected: u64,
        actual: u64,
    },
    Content,
    Unreadable(io::Error),
}

impl Differences {
    pub(super) fn new(first: Vec<Difference>) -> Self {
        Self { first }
    }
}

/// The first thing in which `actual` is not `expected`, but for times and inode.
pub(super) fn difference(expected: &Entry, actual: &Entry) -> Option<What> {
    let owner = |entry: &Entry| (entry.uid, entry.gid);
    if actual.kind != expected.kind {
        return Some(What::Kind);
    }
    if actual.mode != expected.mode && actual.kind != Kind::Symlink {
        let (expected, actual) = (expected.mode, actual.mode);
        return Some(What::Mode { expected, actual });
    }
    if owner(actual) != owner(expected) {
        let (expected, actual) = (owner(expected), owner(actual));
        return Some(What::Owner { expected, actual });
    }
    if actual.size != expected.size {
        let (expected, actual) = (expected.size, actual.size);
        return Some(What::Size { expected, actual });
    }

    // Without a hash it was not read.
    (actual.hash.is_some() && actual.hash != expected.hash).then_some(What::Content)
}

/// Whether it was touched since it was recorded, so that its content says more
/// than its attributes.
pub(super) fn is_touched(expected: &Entry, actual: &Entry) -> bool {
    (expected.mtime_ns, expected.ctime_ns, expected.inode)
        != (actual.mtime_ns, actual.ctime_ns, actual.inode)
}

/// Whether a file that cannot be read for this reason is damaged: by its disk, or
/// because it is not there or something else. Want of memory, of descriptors or of
/// permission is no damage.
pub(in crate::layermanager) fn is_damage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(errno) => matches!(
            errno,
            Errno::EIO
                | Errno::EUCLEAN
                | Errno::EBADMSG
                | Errno::EILSEQ
                | Errno::ENODATA
                | Errno::ENOENT
                | Errno::ENOTDIR
                | Errno::EISDIR
                | Errno::ELOOP
                | Errno::ENXIO
                | Errno::ENAMETOOLONG
        ),
        None => matches!(
            error.kind(),
            io::ErrorKind::NotADirectory | io::ErrorKind::InvalidData
        ),
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, difference) in self.first.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{difference}")?;
        }
        if self.first.len() >= TOLD {
            write!(f, " and maybe more")?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", Short(self.path.display()))?;
        match &self.what {
            What::Missing => f.write_str("is missing"),
            What::Unexpected => f.write_str("was not installed"),
            What::Kind => f.write_str("is something else now"),
            What::Mode { expected, actual } => {
                write!(f, "has mode {actual:o}, expected {expected:o}")
            }
            What::Owner { expected, actual } => write!(
                f,
                "belongs to {}:{}, expected {}:{}",
                actual.0, actual.1, expected.0, expected.1
            ),
            What::Size { expected, actual } => {
                write!(f, "has {actual} bytes, expected {expected}")
            }
            What::Content => f.write_str("has other content"),
            What::Unreadable(error) => write!(f, "cannot be read: {error}"),
        }
    }
}
