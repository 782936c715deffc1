//! Space on the disk, taken before it is written to.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

/// Bytes of a filesystem that unpacking leaves free, for the database and all
/// else that may be there.
const SPARE: u64 = 16 << 20;
/// Bytes that are taken at once, as long as there are so many: to take some looks
/// at the filesystem.
const STEP: u64 = 1 << 20;
/// In steps of which files and directories grow.
pub(super) const BLOCK: u64 = 4096;

/// Who decides what may be written.
pub(super) trait Room: Send {
    /// Takes bytes before they are written. They are whole blocks.
    fn take(&mut self, bytes: u64) -> Result<(), NoSpace>;
}

/// A filesystem, or our part of it, is full.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not enough space on {}: {missing} bytes missing", path.display())]
pub struct NoSpace {
    /// How much more there would have to be.
    pub missing: u64,
    /// The directory.
    pub path: PathBuf,
}

/// What has been taken of a [`Room`] and is not written yet. Once there is no more,
/// what all the rest needs is only counted, for the error to say how much that is.
pub(super) struct Allowance {
    room: Box<dyn Room>,
    left: u64,
    refused: Option<Refused>,
}

struct Refused {
    path: PathBuf,
    /// What was still there, and is not taken.
    spare: u64,
    needed: u64,
}

impl Allowance {
    pub(super) fn new(room: Box<dyn Room>) -> Self {
        Self {
            room,
            left: 0,
            refused: None,
        }
    }

    /// Takes what `bytes` need in whole blocks. Nothing is taken any more after
    /// it was refused once.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), NoSpace> {
        let bytes = in_blocks(bytes);
        if bytes > self.left && self.refused.is_none() {
            self.extend(bytes);
        }
        if let Some(refused) = self.refused() {
            return Err(refused);
        }
        self.left -= bytes;
        Ok(())
    }

    fn extend(&mut self, bytes: u64) {
        let wanted = bytes - self.left;
        let step = wanted.max(STEP);
        if self.room.take(step).is_ok() {
            self.left += step;
            return;
        }
        // There may be less than a step, and still enough.
        match self.room.take(wanted) {
            Ok(()) => self.left += wanted,
            Err(NoSpace { missing, path }) => {
                self.refused = Some(Refused {
                    path,
                    spare: bytes.saturating_sub(missing),
                    needed: 0,
                });
            }
        }
    }

    /// The filesystem of the directory `path` is full, whatever the room said.
    pub(super) fn refuse(&mut self, path: &Path) -> NoSpace {
        self.refused
            .get_or_insert_with(|| Refused {
                path: path.to_owned(),
                spare: 0,
                needed: 0,
            })
            .missing()
    }

    /// Counts what `bytes` would need, after they were refused.
    pub(super) fn count(&mut self, bytes: u64) {
        if let Some(refused) = &mut self.refused {
            refused.needed = refused.needed.saturating_add(in_blocks(bytes));
        }
    }

    /// What is missing for all that was counted.
    pub(super) fn refused(&self) -> Option<NoSpace> {
        self.refused.as_ref().map(Refused::missing)
    }
}

impl Refused {
    fn missing(&self) -> NoSpace {
        NoSpace {
            missing: self.needed.saturating_sub(self.spare),
            path: self.path.clone(),
        }
    }
}

fn in_blocks(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// What a filesystem has free now.
#[derive(Debug)]
pub(super) struct FreeSpace {
    directory: PathBuf,
}

impl FreeSpace {
    /// Of the filesystem of `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    fn free(&self) -> io::Result<u64> {
        let space = statvfs(&self.directory)?;
        let free = space
            .fragment_size()
            .saturating_mul(space.blocks_available());
        Ok(free.saturating_sub(SPARE))
    }
}

impl Room for FreeSpace {
    fn take(&mut self, bytes: u64) -> Result<(), NoSpace> {
        // What cannot be looked at will refuse to be written to.
        let free = self.free().unwrap_or(u64::MAX);
        match bytes.checked_sub(free) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(NoSpace {
                missing,
                path: self.directory.clone(),
            }),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// So many bytes.
    pub(in crate::layermanager) struct Bytes(pub(in crate::layermanager) u64);

    impl Room for Bytes {
        fn take(&mut self, bytes: u64) -> Result<(), NoSpace> {
            match self.0.checked_sub(bytes) {
                Some(left) => self.0 = left,
                None => {
                    return Err(NoSpace {
                        missing: bytes - self.0,
                        path: "/room".into(),
                    });
                }
            }
            Ok(())
        }
    }

    fn allowance(bytes: u64) -> Allowance {
        Allowance::new(Box::new(Bytes(bytes)))
    }

    fn missing(allowance: &Allowance) -> Option<u64> {
        allowance.refused().map(|refused| refused.missing)
    }

    #[test]
    fn all_of_the_room_can_be_used_to_its_last_block() {
        let mut allowance = allowance(STEP + 3 * BLOCK);

        allowance.take(STEP - 1).unwrap();
        for _ in 0..3 {
            allowance.take(1).unwrap();
        }
        allowance.take(0).unwrap();
        assert_eq!(missing(&allowance), None);
        allowance.take(1).unwrap_err();
        allowance.count(1);
        assert_eq!(missing(&allowance), Some(BLOCK));
    }

    #[test]
    fn what_does_not_fit_any_more_is_counted_and_never_taken() {
        let mut allowance = allowance(10 * BLOCK);

        allowance.take(8 * BLOCK).unwrap();
        allowance.take(5 * BLOCK - 7).unwrap_err();
        // These would still fit.
        allowance.take(BLOCK).unwrap_err();
        allowance.take(0).unwrap_err();

        for bytes in [5 * BLOCK - 7, BLOCK, 0] {
            allowance.count(bytes);
        }
        assert_eq!(
            allowance.refused().unwrap().to_string(),
            "not enough space on /room: 16384 bytes missing"
        );
    }

    #[test]
    fn what_is_left_of_a_step_is_not_missing() {
        let mut allowance = allowance(STEP + BLOCK);

        allowance.take(BLOCK).unwrap();
        allowance.take(STEP + BLOCK).unwrap_err();
        allowance.count(STEP + BLOCK);

        assert_eq!(missing(&allowance), Some(BLOCK));
    }

    #[test]
    fn sizes_beyond_all_numbers_do_not_overflow() {
        let mut allowance = allowance(BLOCK);

        allowance.take(u64::MAX).unwrap_err();
        allowance.count(u64::MAX);
        allowance.count(u64::MAX);

        assert_eq!(missing(&allowance), Some(u64::MAX - BLOCK));
    }

    #[test]
    fn full_disk_counts_as_refused_room() {
        let mut allowance = allowance(u64::MAX);

        allowance.take(BLOCK).unwrap();
        allowance.refuse(Path::new("/disk"));
        let refused = allowance.take(BLOCK).unwrap_err();
        allowance.count(1);

        assert_eq!(&*refused.path, Path::new("/disk"));
        assert_eq!(missing(&allowance), Some(BLOCK));
    }

    #[test]
    fn filesystem_refuses_what_it_has_not_and_names_the_directory() {
        let directory = tempfile::TempDir::new().unwrap();
        let mut room = FreeSpace::new(directory.path());

        assert_eq!(room.take(BLOCK), Ok(()));
        let refused = room.take(1 << 60).unwrap_err();

        assert_eq!(refused.path, directory.path());
        assert!(refused.missing > 1 << 59);
    }

    #[test]
    fn room_is_taken_in_large_steps() {
        struct Counted(std::sync::Arc<std::sync::atomic::AtomicU64>);
        impl Room for Counted {
            fn take(&mut self, _: u64) -> Result<(), NoSpace> {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Ok(())
            }
        }
        let calls = std::sync::Arc::default();
        let mut allowance = Allowance::new(Box::new(Counted(std::sync::Arc::clone(&calls))));

        for _ in 0..10_000 {
            allowance.take(1).unwrap();
        }

        let calls = calls.load(std::sync::atomic::Ordering::Relaxed);
        assert!(calls <= 10_000 * BLOCK / STEP + 1, "{calls}");
    }
}
