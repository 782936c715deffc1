//! Reading tar archives of unknown origin.
//!
//! [`Archive`] yields one [`Entry`] after the other and never holds more than
//! its [`Limits`] allow, whatever the archive says. [`Step::plan`] decides what
//! an entry means for a directory; it writes nothing. [`Rehearsal`] tells whether
//! the steps of an archive fit together.
//!
//! Known: old, ustar, PAX and GNU headers with long names. Sparse files are
//! refused: no packing tool of this world makes them.

mod decode;
mod error;
mod header;
mod path;
mod pax;
mod reader;
mod rehearsal;
mod step;

pub use decode::{Compression, Decoded, decode};
pub use error::{ArchiveError, Limit, MisfitError, Name};
pub(crate) use header::begins_like_archive;
pub use path::{EntryPath, PathError};
pub use reader::{Archive, Entry, Kind, Timestamp};
pub use rehearsal::{Owners, Rehearsal, RehearsalError};
pub use step::{Attributes, LeftOut, Planned, Step};

/// What an archive may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole tar, after decompression.
    pub bytes: u64,
    /// Entries, those of names and attributes included.
    pub entries: u64,
    /// Bytes of all names together: what a reader may have to remember.
    pub names: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 16 << 30,
            entries: 1_000_000,
            names: 64 << 20,
        }
    }
}

#[cfg(test)]
mod tests;
