//! The record of an item's files: what each of them was when it was installed.
//!
//! The record of the directory `<item>` is the file `<item>.files` beside it. It
//! has a line for each file, directory and link, a directory before what is in
//! it and names in the order of their bytes: as [`std::path::Path`]s compare.
//! Written are kind, mode, owner, size, times of change, inode and XXH3-128 of the
//! content. Not written are what a mere look changes (time of access), what the
//! filesystem decides (size of a directory, blocks), extended attributes (to
//! change one changes ctime) and, of the roots alone, both times: to rename a
//! directory into its place changes them.
//!
//! Reader and writer hold one line, and the writer the names of the directories
//! that it is in, whatever the size of the tree.

mod format;
mod hash;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use aos_package::Short;

pub(super) use format::{Entry, Kind};
pub(super) use hash::{ContentHasher, Hashes, hash_content};
pub(super) use read::Record;
pub(super) use write::{write, write_by_reading};

/// What the name of a record has more than its directory's.
pub(super) const SUFFIX: &str = ".files";

/// A record cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A recorded file, or the record itself, cannot be read.
    #[error("cannot read {:?}", Short(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The record cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The record.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is there that nobody has written.
    #[error("nobody has hashed {:?}", Short(path))]
    NotHashed {
        /// The file.
        path: PathBuf,
    },
    /// The record is not as it was written.
    #[error("{} is damaged at line {line}: {reason}", path.display())]
    Damaged {
        /// The record.
        path: PathBuf,
        /// Where, the first is 1.
        line: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The service manager is stopping.
    #[error("the service manager is stopping")]
    Stopped,
}

/// Where the record of `directory` is.
pub(super) fn beside(directory: &Path) -> PathBuf {
    let mut path = OsString::from(directory);
    path.push(SUFFIX);
    path.into()
}
