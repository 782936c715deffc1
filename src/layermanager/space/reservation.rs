//! A promise, and how it is used up.

use tokio::runtime::Handle;

use super::ledger::Id;
use super::{Amount, Kind, NoSpace, Space};

/// By how much a promise grows at least, when it is there.
const STEP: Amount = Amount {
    bytes: 1 << 20,
    inodes: 64,
};

/// Where room is taken before something is written. Its calls may block.
pub(in crate::layermanager) trait Room: Send {
    /// Before bytes are written; the caller rounds them to blocks. May evict.
    ///
    /// What one call takes counts as written at the next call, so it shall be
    /// what is written in between: a buffer, and no whole file.
    ///
    /// # Errors
    ///
    /// There is no room, and none can be made.
    fn take(&mut self, bytes: u64) -> Result<(), NoSpace>;

    /// As [`Room::take`], before files, directories or links are made.
    ///
    /// # Errors
    ///
    /// There is no room, and none can be made.
    fn take_inodes(&mut self, count: u64) -> Result<(), NoSpace> {
        // Not every room counts them.
        let _: u64 = count;
        Ok(())
    }
}

/// Room that was promised. It is given back with this value, which therefore
/// lives until the row of what was written is stored, or what was written is
/// removed.
///
/// A byte must count once: promised as long as it is not written, used, as the
/// filesystem tells, from then on. [`Room::take`] comes before the write, so
/// what was taken last counts as promised still, and all that was taken before
/// as written. Filesystems count a byte as used when `write` returns, also when
/// it is not on the disk yet. So nothing is missed, and no more than what was
/// taken last is counted twice.
#[derive(Debug)]
pub(in crate::layermanager) struct Reservation {
    space: Space,
    directory: Kind,
    id: Id,
    /// Promised and not taken.
    left: Amount,
    /// Taken last, of each.
    last: Amount,
    runtime: Handle,
}

impl Reservation {
    pub(super) fn new(space: Space, directory: Kind, id: Id) -> Self {
        Self {
            space,
            directory,
            id,
            left: Amount::default(),
            last: Amount::default(),
            runtime: Handle::current(),
        }
    }

    pub(super) fn holding(mut self, left: Amount) -> Self {
        self.left = left;
        self
    }

    /// What was taken last is written.
    fn written(&mut self, amount: Amount) {
        self.space.inner.ledger().wrote(self.id, amount);
        self.last = self.last.minus(amount);
    }

    fn use_up(&mut self, amount: Amount) -> Result<(), NoSpace> {
        let missing = amount.minus(self.left);
        if missing != Amount::default() {
            let step = |of: u64, step: u64| if of == 0 { 0 } else { of.max(step) };
            let more = Amount {
                bytes: step(missing.bytes, STEP.bytes),
                inodes: step(missing.inodes, STEP.inodes),
            };
            let (space, directory, id) = (self.space.clone(), self.directory, self.id);
            let grown = if space.grow_at_once(directory, id, more) {
                more
            } else {
                self.runtime.block_on(space.grow(directory, id, missing))?;
                missing
            };
            self.left = self.left.plus(grown);
        }
        self.left = self.left.minus(amount);
        self.last = self.last.plus(amount);

        Ok(())
    }
}

impl Room for Reservation {
    fn take(&mut self, bytes: u64) -> Result<(), NoSpace> {
        let last = Amount {
            inodes: 0,
            ..self.last
        };
        self.written(last);
        self.use_up(Amount { bytes, inodes: 0 })
    }

    fn take_inodes(&mut self, count: u64) -> Result<(), NoSpace> {
        let last = Amount {
            bytes: 0,
            ..self.last
        };
        self.written(last);
        self.use_up(Amount {
            bytes: 0,
            inodes: count,
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.inner.ledger().close(self.id);
    }
}
