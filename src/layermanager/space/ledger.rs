//! What was promised, and how much of it is written.
//!
//! Only promises that are alive are in the book. What is installed is known from
//! its rows and what is free from the filesystem, so there is no sum that could
//! drift away from the disk.

use std::collections::HashMap;

use super::amount::Amount;
use super::plan::Kind;

/// Names a promise.
pub(super) type Id = u64;

#[derive(Clone, Copy, Debug)]
struct Booking {
    partition: u64,
    directory: Kind,
    promised: Amount,
    written: Amount,
}

/// All promises.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    next: Id,
    bookings: HashMap<Id, Booking>,
}

impl Ledger {
    /// Opens a promise of nothing yet.
    pub(super) fn open(&mut self, partition: u64, directory: Kind) -> Id {
        let id = self.next;
        self.next += 1;
        let nothing = Amount::default();
        self.bookings.insert(
            id,
            Booking {
                partition,
                directory,
                promised: nothing,
                written: nothing,
            },
        );
        id
    }

    /// Promises more.
    pub(super) fn grow(&mut self, id: Id, amount: Amount) {
        self.change(id, |booking| {
            booking.promised = booking.promised.plus(amount);
        });
    }

    /// Takes back what was promised last.
    pub(super) fn shrink(&mut self, id: Id, amount: Amount) {
        self.change(id, |booking| {
            booking.promised = booking.promised.minus(amount);
        });
    }

    /// So much is on the filesystem's own books now.
    pub(super) fn wrote(&mut self, id: Id, amount: Amount) {
        self.change(id, |booking| {
            booking.written = booking.written.plus(amount);
        });
    }

    /// Gives a promise back.
    pub(super) fn close(&mut self, id: Id) {
        self.bookings.remove(&id);
    }

    /// Promised on a partition and not yet written.
    pub(super) fn unwritten(&self, partition: u64) -> Amount {
        self.bookings
            .values()
            .filter(|booking| booking.partition == partition)
            .map(|booking| booking.promised.minus(booking.written))
            .fold(Amount::default(), Amount::plus)
    }

    /// Bytes promised for a directory, written or not.
    pub(super) fn promised(&self, directory: Kind) -> u64 {
        self.bookings
            .values()
            .filter(|booking| booking.directory == directory)
            .map(|booking| booking.promised.bytes)
            .fold(0, u64::saturating_add)
    }

    fn change(&mut self, id: Id, change: impl FnOnce(&mut Booking)) {
        if let Some(booking) = self.bookings.get_mut(&id) {
            change(booking);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: u64) -> Amount {
        Amount { bytes, inodes: 0 }
    }

    #[test]
    fn what_is_written_is_promised_no_more_but_still_the_directorys() {
        let mut ledger = Ledger::default();
        let id = ledger.open(1, Kind::Services);
        ledger.grow(id, bytes(100));

        ledger.wrote(id, bytes(30));

        assert_eq!(ledger.unwritten(1), bytes(70));
        assert_eq!(ledger.promised(Kind::Services), 100);
    }

    #[test]
    fn partitions_and_directories_are_apart() {
        let mut ledger = Ledger::default();
        for (partition, directory) in [(1, Kind::Services), (1, Kind::Layers), (2, Kind::Downloads)]
        {
            let id = ledger.open(partition, directory);
            ledger.grow(id, bytes(10));
        }

        assert_eq!(ledger.unwritten(1), bytes(20));
        assert_eq!(ledger.unwritten(2), bytes(10));
        assert_eq!(ledger.promised(Kind::Layers), 10);
    }

    #[test]
    fn promise_that_is_given_back_leaves_nothing() {
        let mut ledger = Ledger::default();
        let id = ledger.open(1, Kind::Layers);
        ledger.grow(id, bytes(u64::MAX));
        ledger.grow(id, bytes(u64::MAX));

        ledger.close(id);
        ledger.close(id);
        ledger.grow(id, bytes(1));

        assert_eq!(ledger.unwritten(1), Amount::default());
        assert_eq!(ledger.promised(Kind::Layers), 0);
    }
}
