//! What unpacking may still use of the disk and of memory.
//!
//! A name in an archive can make many directories that have no entry of their
//! own, and a small file takes a whole block: an archive within its limits could
//! otherwise fill a disk with inodes and blocks. A hard link takes nothing.

use std::path::Path;

use aos_package::archive::{ArchiveError, EntryPath, Limit, Limits};

use super::allowance::{Allowance, BLOCK};
use super::space::NoSpace;
use super::unpack::UnpackError;

/// Bytes of a link's target that fit into the link's inode.
const INLINE: u64 = 59;

/// What of the limits and of the room has been used.
pub(super) struct Budget<'a> {
    limits: Limits,
    allowance: &'a mut Allowance,
    directories: u64,
    names: u64,
    bytes: u64,
}

impl<'a> Budget<'a> {
    /// Nothing has been used.
    pub(super) fn new(limits: Limits, allowance: &'a mut Allowance) -> Self {
        Self {
            limits,
            allowance,
            directories: 0,
            names: 0,
            bytes: 0,
        }
    }

    /// Takes what a new directory needs.
    pub(super) fn directory(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        let bytes = self.limit_directory(path)?;
        self.allowance.take_inode()?;
        Ok(self.allowance.take(bytes)?)
    }

    /// Takes what a new file of `size` bytes needs, but for its content.
    pub(super) fn file(&mut self, size: u64) -> Result<(), UnpackError> {
        self.limit_bytes(size)?;
        Ok(self.allowance.take_inode()?)
    }

    /// Takes what the next bytes of a file need. But for the last of a file, they
    /// are whole blocks.
    pub(super) fn content(&mut self, bytes: u64) -> Result<(), NoSpace> {
        self.allowance.take(bytes)
    }

    /// Takes what a symbolic link needs whose target has `size` bytes.
    pub(super) fn symlink(&mut self, size: u64) -> Result<(), UnpackError> {
        let bytes = self.limit_bytes(of_symlink(size))?;
        self.allowance.take_inode()?;
        Ok(self.allowance.take(bytes)?)
    }

    /// The filesystem of the directory `place` is full, whatever the room said.
    pub(super) fn refuse(&mut self, place: &Path) -> NoSpace {
        self.allowance.refuse(place)
    }

    /// A file was refused after so much of it was taken.
    pub(super) fn taken_for_nothing(&mut self, bytes: u64) {
        self.allowance.taken_for_nothing(bytes);
    }

    /// As [`Budget::directory`], when there is no room any more.
    pub(super) fn count_directory(&mut self, path: &EntryPath) -> Result<(), ArchiveError> {
        let bytes = self.limit_directory(path)?;
        self.allowance.count(bytes);
        self.allowance.count_inode();
        Ok(())
    }

    /// As [`Budget::file`] and its content, when there is no room any more.
    pub(super) fn count_file(&mut self, size: u64) -> Result<(), ArchiveError> {
        let bytes = self.limit_bytes(size)?;
        self.allowance.count(bytes);
        self.allowance.count_inode();
        Ok(())
    }

    /// As [`Budget::symlink`], when there is no room any more.
    pub(super) fn count_symlink(&mut self, size: u64) -> Result<(), ArchiveError> {
        self.count_file(of_symlink(size))
    }

    /// What is missing, when there is no room any more.
    pub(super) fn refused(&self) -> Option<NoSpace> {
        self.allowance.refused()
    }

    fn limit_directory(&mut self, path: &EntryPath) -> Result<u64, ArchiveError> {
        let limits = self.limits;
        take(&mut self.directories, 1, Limit::Entries, limits.entries)?;
        let name = path.as_bytes().len() as u64;
        take(&mut self.names, name, Limit::Names, limits.names)?;
        self.limit_bytes(BLOCK)
    }

    fn limit_bytes(&mut self, size: u64) -> Result<u64, ArchiveError> {
        let bytes = size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        take(&mut self.bytes, bytes, Limit::Bytes, self.limits.bytes)?;
        Ok(bytes)
    }
}

fn of_symlink(size: u64) -> u64 {
    if size > INLINE { size } else { 0 }
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
    use super::super::allowance::tests::Bytes;
    use super::*;

    fn path(name: &str) -> EntryPath {
        EntryPath::parse(name.as_bytes()).unwrap()
    }

    fn room(bytes: u64) -> Allowance {
        Allowance::new(Box::new(Bytes(bytes)))
    }

    #[test]
    fn limits_can_be_reached_and_not_exceeded() {
        let limits = Limits {
            bytes: 3 * BLOCK,
            entries: 2,
            names: 4,
        };
        let mut room = room(u64::MAX);
        let mut budget = Budget::new(limits, &mut room);

        budget.directory(&path("a")).unwrap();
        budget.directory(&path("a/b")).unwrap();
        budget.file(1).unwrap();
        let full = budget.file(1).unwrap_err();
        assert_eq!(full.to_string(), "the archive has more than 12288 bytes");
        let many = budget.directory(&path("c")).unwrap_err();
        assert_eq!(many.to_string(), "the archive has more than 2 entries");
    }

    #[test]
    fn empty_file_takes_no_bytes_and_the_largest_does_not_overflow() {
        let limits = Limits {
            bytes: BLOCK,
            entries: 1,
            names: 1,
        };
        let mut room = room(u64::MAX);
        let mut budget = Budget::new(limits, &mut room);

        budget.file(0).unwrap();
        budget.file(BLOCK).unwrap();
        assert!(budget.file(u64::MAX).is_err());
        assert!(budget.file(u64::MAX).is_err());
    }

    #[test]
    fn limits_hold_for_what_is_only_counted_too() {
        let limits = Limits {
            bytes: 8 * BLOCK,
            ..Limits::default()
        };
        let mut room = room(2 * BLOCK);
        let mut budget = Budget::new(limits, &mut room);

        budget.directory(&path("a")).unwrap();
        budget.file(3 * BLOCK).unwrap();
        budget.content(3 * BLOCK).unwrap_err();
        budget.count_file(3 * BLOCK).unwrap();
        budget.count_symlink(60).unwrap();
        budget.count_symlink(59).unwrap();
        assert!(budget.count_file(3 * BLOCK).is_err());

        assert_eq!(budget.refused().unwrap().missing, 4 * BLOCK);
    }
}
