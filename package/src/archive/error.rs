//! What can be wrong with an archive.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::PathError;
use crate::Short;

/// An archive cannot be read or must not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The source fails, or its compression is damaged.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The archive ends too early.
    #[error("the archive ends at byte {offset}, in the middle of {within}")]
    Truncated {
        /// Where.
        offset: u64,
        /// What is cut off.
        within: &'static str,
    },
    /// A header makes no sense.
    #[error("the archive has a damaged header at byte {offset}: {reason}")]
    Header {
        /// Where.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The archive is larger than allowed.
    #[error("the archive has more than {allowed} {limit}")]
    Limit {
        /// What there is too much of.
        limit: Limit,
        /// How much is allowed.
        allowed: u64,
    },
    /// An entry has a name that cannot be used.
    #[error("entry {name} {reason}")]
    Path {
        /// As the archive has it.
        name: Name,
        /// What is wrong with it.
        reason: PathError,
    },
    /// A hard link leads to a name that cannot be used.
    #[error("entry {name}: its target {target} {reason}")]
    Target {
        /// As the archive has it.
        name: Name,
        /// As the archive has it.
        target: Name,
        /// What is wrong with it.
        reason: PathError,
    },
    /// An entry is of a type that cannot be unpacked.
    #[error("entry {name} {reason}")]
    Entry {
        /// As the archive has it.
        name: Name,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl ArchiveError {
    /// What went wrong while the content of an entry was read.
    pub(crate) fn of_content(error: io::Error) -> Self {
        let cut = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<CutOff>());
        match cut {
            Some(CutOff { offset, within }) => Self::Truncated {
                offset: *offset,
                within,
            },
            None => Self::Read(error),
        }
    }
}

/// What readers of content are told when the archive ends in it.
#[derive(Debug, thiserror::Error)]
#[error("the archive ends at byte {offset}, in the middle of {within}")]
pub(super) struct CutOff {
    pub(super) offset: u64,
    pub(super) within: &'static str,
}

impl From<CutOff> for io::Error {
    fn from(cut: CutOff) -> Self {
        Self::new(io::ErrorKind::UnexpectedEof, cut)
    }
}

/// An entry does not fit what the archive has made so far.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MisfitError {
    /// A name goes through something that is not a directory.
    #[error(
        "entry below {:?}, which is not a directory but maybe a link",
        Short(path)
    )]
    NotDirectory {
        /// What is in the way.
        path: PathBuf,
    },
    /// A hard link does not lead to a file of the same archive.
    #[error(
        "entry {:?} is a hard link to {:?}, which is not a file of this archive",
        Short(path),
        Short(target)
    )]
    LinkTarget {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// No system can have such an owner.
    #[error("entry {:?} has an owner that cannot exist", Short(path))]
    Owner {
        /// The entry.
        path: PathBuf,
    },
}

/// What an archive can have too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes after decompression.
    Bytes,
    /// Entries.
    Entries,
    /// Bytes of names.
    Names,
    /// Bytes of one name.
    Name,
    /// Bytes of one entry's extended attributes.
    Extension,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Entries => "entries",
            Self::Names => "bytes of names",
            Self::Name => "bytes in one name",
            Self::Extension => "bytes of extended attributes on one entry",
        })
    }
}

/// A name of an archive in a form that is safe to print: on one line, not too
/// long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// Bytes of a name that are looked at: as many as all that is shown can have,
/// and more.
const LOOKED_AT: usize = 1024;

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        let start = bytes.get(..LOOKED_AT).unwrap_or(bytes);
        let text = String::from_utf8_lossy(start);
        Self(Short(text.escape_debug()).to_string())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_name_stays_on_one_line_and_short() {
        assert_eq!(
            Name::from(&b"a\nb\x1b[1m"[..]).to_string(),
            "a\\nb\\u{1b}[1m"
        );
        assert_eq!(Name::from(&b"\xff"[..]).to_string(), "\u{fffd}");
        for byte in [b'a', b'\n', 0xff] {
            let name = Name::from(&[byte; 5000][..]).to_string();
            assert_eq!(name.chars().count(), 200, "long names are cut");
        }
    }
}
