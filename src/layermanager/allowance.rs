//! What unpacking takes of the disk, and how much more there would have to be.

use std::path::Path;

use super::space::{NoSpace, Room};

/// Bytes in steps of which files and directories grow.
pub(super) const BLOCK: u64 = 4096;
/// Bytes of a line in the record of an item, with a name of a usual length.
const RECORD_LINE: u64 = 256;

/// Takes room before something is written. When there is no more, what all the
/// rest needs is only counted, for the error to say how much that is.
pub(super) struct Allowance {
    /// `None`: refused from the beginning.
    room: Option<Box<dyn Room>>,
    refused: Option<Refused>,
    /// Inodes that were taken or counted. Each will be recorded.
    inodes: u64,
}

struct Refused {
    error: NoSpace,
    scarce: Scarce,
    /// What the error speaks of, and what was taken for nothing.
    covered: u64,
    needed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scarce {
    Bytes,
    Inodes,
}

impl Allowance {
    pub(super) fn new(room: Box<dyn Room>) -> Self {
        Self {
            room: Some(room),
            refused: None,
            inodes: 0,
        }
    }

    /// There is not even room for `bytes`, less than what will be asked for.
    pub(super) fn without_room(error: NoSpace, bytes: u64) -> Self {
        Self {
            room: None,
            refused: Some(Refused {
                error,
                scarce: Scarce::Bytes,
                covered: bytes,
                needed: 0,
            }),
            inodes: 0,
        }
    }

    /// Takes what `bytes` need in whole blocks. Nothing is taken any more after
    /// it was refused once.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), NoSpace> {
        let bytes = in_blocks(bytes);
        self.take_with(Scarce::Bytes, bytes, |room| room.take(bytes))
    }

    /// Takes what a new file, directory or link needs besides its content.
    pub(super) fn take_inode(&mut self) -> Result<(), NoSpace> {
        self.take_with(Scarce::Inodes, 1, |room| room.take_inodes(1))?;
        self.inodes += 1;
        Ok(())
    }

    /// Takes what nothing else comes after, so what is missing is known.
    pub(super) fn take_last(&mut self, bytes: u64) -> Result<(), NoSpace> {
        self.take(bytes).map_err(|refused| {
            self.count(bytes);
            self.refused().unwrap_or(refused)
        })
    }

    /// Takes what the record of all that was taken needs.
    pub(super) fn take_record(&mut self) -> Result<(), NoSpace> {
        let bytes = self.record();
        self.inodes = 0;
        self.take_last(bytes)
    }

    fn record(&self) -> u64 {
        self.inodes.saturating_mul(RECORD_LINE)
    }

    fn take_with(
        &mut self,
        scarce: Scarce,
        covered: u64,
        take: impl FnOnce(&mut dyn Room) -> Result<(), NoSpace>,
    ) -> Result<(), NoSpace> {
        if let Some(refused) = &self.refused {
            return Err(refused.missing(0));
        }
        let Some(room) = &mut self.room else {
            return Ok(());
        };
        take(&mut **room).inspect_err(|error| {
            self.refused = Some(Refused {
                error: error.clone(),
                scarce,
                covered,
                needed: 0,
            });
        })
    }

    /// The filesystem of the directory `path` is full, whatever the room said.
    pub(super) fn refuse(&mut self, path: &Path) -> NoSpace {
        let refused = self.refused.get_or_insert_with(|| Refused {
            error: NoSpace::new(path.to_owned(), 0),
            scarce: Scarce::Bytes,
            covered: 0,
            needed: 0,
        });
        refused.missing(0)
    }

    /// Counts what `bytes` would need, after something was refused.
    pub(super) fn count(&mut self, bytes: u64) {
        self.count_with(Scarce::Bytes, in_blocks(bytes));
    }

    /// As [`Allowance::take_inode`], after something was refused.
    pub(super) fn count_inode(&mut self) {
        self.inodes += 1;
        self.count_with(Scarce::Inodes, 1);
    }

    fn count_with(&mut self, scarce: Scarce, amount: u64) {
        if let Some(refused) = self.refused.as_mut().filter(|it| it.scarce == scarce) {
            refused.needed = refused.needed.saturating_add(amount);
        }
    }

    /// What is going to be counted, of which so much was taken before it was
    /// refused.
    pub(super) fn taken_for_nothing(&mut self, bytes: u64) {
        if let Some(refused) = self.refused.as_mut() {
            refused.covered = refused.covered.saturating_add(bytes);
        }
    }

    /// What is missing for all that was counted, and its record.
    pub(super) fn refused(&self) -> Option<NoSpace> {
        let refused = self.refused.as_ref()?;
        Some(refused.missing(in_blocks(self.record())))
    }

    /// The promise, which has to be kept until it is known what was written.
    pub(super) fn into_room(self) -> Option<Box<dyn Room>> {
        self.room
    }
}

impl Refused {
    /// With the record, which has so many bytes.
    fn missing(&self, record: u64) -> NoSpace {
        let needed = match self.scarce {
            Scarce::Bytes => self.needed.saturating_add(record),
            Scarce::Inodes => self.needed,
        };
        let more = needed.saturating_sub(self.covered);
        self.error.clone().and(more)
    }
}

fn in_blocks(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// So many bytes.
    pub(in crate::layermanager) struct Bytes(pub(in crate::layermanager) u64);

    impl Room for Bytes {
        fn take(&mut self, bytes: u64) -> Result<(), NoSpace> {
            let missing = bytes.saturating_sub(self.0);
            if missing > 0 {
                return Err(NoSpace::new("/room".into(), missing));
            }
            self.0 -= bytes;
            Ok(())
        }
    }

    /// So many inodes.
    struct Inodes(u64);

    impl Room for Inodes {
        fn take(&mut self, _: u64) -> Result<(), NoSpace> {
            Ok(())
        }

        fn take_inodes(&mut self, count: u64) -> Result<(), NoSpace> {
            self.0 = self
                .0
                .checked_sub(count)
                .ok_or_else(|| NoSpace::new("/room".into(), count))?;
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
        let mut allowance = allowance(3 * BLOCK);

        for bytes in [1, BLOCK, 0, BLOCK - 1] {
            allowance.take(bytes).unwrap();
        }
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
        allowance.take_inode().unwrap_err();

        for bytes in [5 * BLOCK - 7, BLOCK, 0] {
            allowance.count(bytes);
        }
        for _ in 0..10 {
            allowance.count_inode();
        }
        let text = allowance.refused().unwrap().to_string();
        let told = "not enough space on /room: 20480 bytes missing";
        assert!(text.starts_with(told), "{text}");
    }

    #[test]
    fn what_was_taken_for_a_refused_file_is_not_missing() {
        let mut allowance = allowance(10 * BLOCK);

        allowance.take(8 * BLOCK).unwrap();
        allowance.take(8 * BLOCK).unwrap_err();
        allowance.taken_for_nothing(8 * BLOCK);
        allowance.count(16 * BLOCK);

        assert_eq!(missing(&allowance), Some(6 * BLOCK));
    }

    #[test]
    fn sizes_beyond_all_numbers_do_not_overflow() {
        let mut allowance = allowance(BLOCK);

        allowance.take(u64::MAX).unwrap_err();
        for _ in 0..3 {
            allowance.count(u64::MAX);
            allowance.taken_for_nothing(u64::MAX);
        }

        assert_eq!(missing(&allowance), Some(u64::MAX - BLOCK));
    }

    #[test]
    fn missing_inodes_are_counted_and_not_bytes() {
        let mut allowance = Allowance::new(Box::new(Inodes(2)));

        for _ in 0..2 {
            allowance.take_inode().unwrap();
        }
        allowance.take_inode().unwrap_err();
        for _ in 0..5 {
            allowance.count_inode();
            allowance.count(BLOCK);
        }

        assert_eq!(missing(&allowance), Some(5));
    }

    #[test]
    fn refused_from_the_beginning_only_counts() {
        let refused = NoSpace::new("/room".into(), 2 * BLOCK);
        let mut allowance = Allowance::without_room(refused, 5 * BLOCK);

        allowance.take(1).unwrap_err();
        for _ in 0..7 {
            allowance.count(BLOCK);
        }

        assert_eq!(missing(&allowance), Some(4 * BLOCK));
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
}
