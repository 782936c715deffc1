//! What has to go so that something fits: values in, values out.
//!
//! All items of one partition are one queue, services and layers alike: partial
//! downloads that nobody waits for first, then what has not been used for the
//! longest time. Nothing is chosen unless the sum suffices, and nothing without
//! which it suffices as well.
//!
//! Always left free of a partition are 16 MiB or 1 % of it, whichever is
//! smaller: the database, states and storages may be there too, and a device's
//! small partition must not be lost to a spare made for a large one. Of inodes
//! it is 1024 or 1 %.

use super::amount::Amount;

const SPARE: Amount = Amount {
    bytes: 16 << 20,
    inodes: 1024,
};

/// One of the directories that share the account of their partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::layermanager) enum Kind {
    Services,
    Layers,
    Downloads,
}

/// Why an item may go. The order is that of going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Part of a package that nobody waits for.
    Partial,
    /// Installed, and not in use.
    Cached,
}

/// Something that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) directory: Kind,
    pub(super) partition: u64,
    pub(super) class: Class,
    /// Seconds since 1970 from which on it has not been used.
    pub(super) since: i64,
    pub(super) size: Amount,
}

/// A partition as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) partition: u64,
    /// Of all of it.
    pub(super) size: Amount,
    /// As the filesystem tells.
    pub(super) free: Amount,
    /// Promised to others and not yet written.
    pub(super) promised: Amount,
}

/// What a directory may take of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartLimit {
    /// 0 and 100 are no limit.
    pub(super) percent: u8,
    /// Bytes that the directory takes, with all that is promised for it.
    pub(super) taken: u64,
}

/// Something that has to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) directory: Kind,
    pub(super) amount: Amount,
    pub(super) limit: PartLimit,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Fits,
    /// It fits when these candidates, by index, are gone. The first goes first.
    Evict(Vec<usize>),
    /// It does not, and nothing shall go.
    Missing(Shortage),
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::layermanager) enum Scarce {
    Bytes,
    Inodes,
    /// Bytes of the percentage that the directory may take.
    Limit(u8),
}

/// How it does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::layermanager) struct Shortage {
    pub(super) scarce: Scarce,
    pub(super) missing: u64,
    pub(super) needed: u64,
    pub(super) free: u64,
    pub(super) evictable: u64,
}

/// What always stays free of a partition of this size.
pub(super) fn spare(size: Amount) -> Amount {
    SPARE.at_most(Amount {
        bytes: size.bytes / 100,
        inodes: size.inodes / 100,
    })
}

/// Decides for one demand.
pub(super) fn plan(account: &Account, demand: &Demand, candidates: &[Candidate]) -> Decision {
    let bounds = bounds(account, demand);
    if bounds.iter().all(|bound| bound.lacks() == 0) {
        return Decision::Fits;
    }

    let mut order: Vec<usize> = (0..candidates.len())
        .filter(|&index| candidates[index].partition == account.partition)
        .collect();
    order.sort_by_key(|&index| (candidates[index].class, candidates[index].since, index));
    let gain = |bound: &Bound, chosen: &[usize]| -> u128 {
        let helps = chosen.iter().map(|&index| bound.gain(&candidates[index]));
        helps.map(u128::from).sum()
    };
    if let Some(shortage) = worst(&bounds, |bound| gain(bound, &order)) {
        return Decision::Missing(shortage);
    }

    let suffices = |chosen: &[usize]| {
        let is_met = |bound: &Bound| gain(bound, chosen) >= u128::from(bound.lacks());
        bounds.iter().all(is_met)
    };
    let mut chosen = Vec::new();
    for index in order {
        let is_short = |bound: &Bound| gain(bound, &chosen) < u128::from(bound.lacks());
        let mut short = bounds.iter().filter(|bound| is_short(bound)).peekable();
        if short.peek().is_none() {
            break;
        }
        if short.any(|bound| bound.gain(&candidates[index]) > 0) {
            chosen.push(index);
        }
    }
    // A large one that had to be chosen may make smaller ones needless. What was
    // used last is spared first.
    for position in (0..chosen.len()).rev() {
        let spared = chosen.remove(position);
        if !suffices(&chosen) {
            chosen.insert(position, spared);
        }
    }

    Decision::Evict(chosen)
}

/// One of the figures that the demand must not exceed.
#[derive(Clone, Copy, Debug)]
struct Bound {
    scarce: Scarce,
    directory: Kind,
    needed: u64,
    /// That others have, or that stays free.
    taken: u64,
    total: u64,
}

impl Bound {
    fn lacks(&self) -> u64 {
        if self.needed == 0 {
            return 0;
        }
        self.needed
            .saturating_add(self.taken)
            .saturating_sub(self.total)
    }

    fn gain(&self, candidate: &Candidate) -> u64 {
        match self.scarce {
            Scarce::Bytes => candidate.size.bytes,
            Scarce::Inodes => candidate.size.inodes,
            Scarce::Limit(_) if candidate.directory == self.directory => candidate.size.bytes,
            Scarce::Limit(_) => 0,
        }
    }
}

fn bounds(account: &Account, demand: &Demand) -> Vec<Bound> {
    let taken = account.promised.plus(spare(account.size));
    let bound = |scarce, needed, taken, total| Bound {
        scarce,
        directory: demand.directory,
        needed,
        taken,
        total,
    };
    let mut bounds = vec![
        bound(
            Scarce::Bytes,
            demand.amount.bytes,
            taken.bytes,
            account.free.bytes,
        ),
        bound(
            Scarce::Inodes,
            demand.amount.inodes,
            taken.inodes,
            account.free.inodes,
        ),
    ];
    let PartLimit { percent, taken } = demand.limit;
    if (1..100).contains(&percent) {
        // Divided first: a hundred times the size may be too much for 64 bits.
        let allowed = account.size.bytes / 100 * u64::from(percent)
            + account.size.bytes % 100 * u64::from(percent) / 100;
        let scarce = Scarce::Limit(percent);
        bounds.push(bound(scarce, demand.amount.bytes, taken, allowed));
    }

    bounds
}

/// The bound that is exceeded most even if all went that may.
fn worst(bounds: &[Bound], all: impl Fn(&Bound) -> u128) -> Option<Shortage> {
    let shortage = |bound: &Bound| {
        let evictable = u64::try_from(all(bound)).unwrap_or(u64::MAX);
        Shortage {
            scarce: bound.scarce,
            missing: bound.lacks().saturating_sub(evictable),
            needed: bound.needed,
            free: bound.total.saturating_sub(bound.taken),
            evictable,
        }
    };

    bounds
        .iter()
        .map(shortage)
        .filter(|shortage| shortage.missing > 0)
        .max_by_key(|shortage| shortage.missing)
}
