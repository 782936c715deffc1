//! What unpacking may still use of the disk and of memory.
//!
//! A name in an archive can make many directories that have no entry of their
//! own, and a small file takes a whole block: an archive within its limits could
//! otherwise fill a disk with inodes and blocks.

use aos_package::archive::{ArchiveError, EntryPath, Limit, Limits};

/// Bytes that a directory takes at least, and in steps of which a file grows.
const BLOCK: u64 = 4096;

/// What of the limits has been used.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    directories: u64,
    names: u64,
    bytes: u64,
}

impl Budget {
    /// Nothing has been used.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            directories: 0,
            names: 0,
            bytes: 0,
        }
    }

    /// Takes what a new directory needs.
    pub(super) fn directory(&mut self, path: &EntryPath) -> Result<(), ArchiveError> {
        let limits = self.limits;
        take(&mut self.directories, 1, Limit::Entries, limits.entries)?;
        let name = path.as_bytes().len() as u64;
        take(&mut self.names, name, Limit::Names, limits.names)?;
        take(&mut self.bytes, BLOCK, Limit::Bytes, limits.bytes)
    }

    /// Takes what a file of `size` bytes needs.
    pub(super) fn file(&mut self, size: u64) -> Result<(), ArchiveError> {
        let size = size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        take(&mut self.bytes, size, Limit::Bytes, self.limits.bytes)
    }
}

fn take(used: &mut u64, more: u64, limit: Limit, allowed: u64) -> Result<(), ArchiveError> {
    *used = used.saturating_add(more);
    if *used > allowed {
        return Err(ArchiveError::Limit { limit, allowed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> EntryPath {
        EntryPath::parse(name.as_bytes()).unwrap()
    }

    #[test]
    fn limits_can_be_reached_and_not_exceeded() {
        let mut budget = Budget::new(Limits {
            bytes: 3 * BLOCK,
            entries: 2,
            names: 4,
        });

        assert!(budget.directory(&path("a")).is_ok());
        assert!(budget.directory(&path("a/b")).is_ok());
        assert!(budget.file(1).is_ok());
        let full = budget.file(1).unwrap_err();
        assert_eq!(full.to_string(), "the archive has more than 12288 bytes");
        let many = budget.directory(&path("c")).unwrap_err();
        assert_eq!(many.to_string(), "the archive has more than 2 entries");
    }

    #[test]
    fn empty_file_takes_no_bytes_and_the_largest_does_not_overflow() {
        let mut budget = Budget::new(Limits {
            bytes: BLOCK,
            entries: 1,
            names: 1,
        });

        assert!(budget.file(0).is_ok());
        assert!(budget.file(BLOCK).is_ok());
        assert!(budget.file(u64::MAX).is_err());
        assert!(budget.file(u64::MAX).is_err());
    }
}
