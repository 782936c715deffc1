//! Which states are tried: moments and what was lost in them.

use std::collections::HashSet;

use crate::disk::{Disk, Event, Operation, ROOT};

/// What a cut loses of what is not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    Nothing,
    All,
    One,
    Two,
    /// All but one operation and what it needs.
    AllButOne,
    /// Some, at random.
    Some,
    /// The end of a write.
    Torn,
}

pub const LOSSES: [Loss; 7] = [
    Loss::Nothing,
    Loss::All,
    Loss::One,
    Loss::Two,
    Loss::AllButOne,
    Loss::Some,
    Loss::Torn,
];

/// One state of the disk.
#[derive(Clone, Debug)]
pub struct Cut {
    pub loss: Loss,
    /// The event after which the power went.
    pub event: usize,
    /// Operations that were carried out, in order.
    pub carried_out: Vec<usize>,
    /// The rest of those that had been called for.
    pub lost: Vec<usize>,
    /// An operation of which only so many bytes were.
    pub torn: Option<(usize, usize)>,
}

/// Chooses cuts: the same for the same seed.
pub struct Chooser<'a> {
    disk: &'a Disk,
    random: fastrand::Rng,
    /// Sums of the weights of the events.
    weights: Vec<u64>,
}

impl<'a> Chooser<'a> {
    pub fn new(disk: &'a Disk, seed: u64) -> Self {
        let mut sum = 0;
        let weights = (0..disk.events.len()).map(|event| {
            sum += weight(disk, event);
            sum
        });
        Self {
            disk,
            random: fastrand::Rng::with_seed(seed),
            weights: weights.collect(),
        }
    }

    /// An event, those at which much is decided more often than others.
    pub fn event(&mut self) -> usize {
        let most = self.weights.last().copied().unwrap_or_default();
        let at = self.random.u64(..most.max(1));
        self.weights.partition_point(|sum| *sum <= at)
    }

    /// A cut after this event; `None` if nothing can be lost in this way.
    pub fn cut(&mut self, event: usize, loss: Loss) -> Option<Cut> {
        let (durable, pending) = self.split(event);
        let mut torn = None;
        let lost: HashSet<usize> = match loss {
            Loss::Nothing => HashSet::new(),
            Loss::All => pending.iter().copied().collect(),
            Loss::One => {
                let one = [self.one(&pending)?];
                self.with_dependents(&one, &pending)
            }
            Loss::Two => {
                let two = [self.one(&pending)?, self.one(&pending)?];
                self.with_dependents(&two, &pending)
            }
            Loss::AllButOne => {
                let one = self.one(&pending)?;
                let kept = self.with_needs(one, &pending);
                let others = pending.iter().filter(|number| !kept.contains(number));
                others.copied().collect()
            }
            Loss::Some => {
                let share = self.random.f64();
                let lost: Vec<_> = pending
                    .iter()
                    .copied()
                    .filter(|_| self.random.f64() < share)
                    .collect();
                self.with_dependents(&lost, &pending)
            }
            Loss::Torn => {
                let sizes = pending.iter().filter_map(|&number| {
                    let Operation::Write { data, .. } = &self.disk.operations[number].operation
                    else {
                        return None;
                    };
                    let sectors = (data.len().max(1) - 1) / 512;
                    (sectors > 0).then_some((number, sectors))
                });
                let sizes: Vec<_> = sizes.collect();
                let (number, sectors) = *self.random.choice(&sizes)?;
                torn = Some((number, self.random.usize(1..=sectors) * 512));
                HashSet::new()
            }
        };
        if loss != Loss::Nothing && lost.is_empty() && torn.is_none() {
            return None;
        }
        let mut carried_out = durable;
        carried_out.extend(pending.iter().filter(|number| !lost.contains(number)));
        carried_out.sort_unstable();
        let mut lost: Vec<_> = lost.into_iter().collect();
        lost.sort_unstable();
        Some(Cut {
            loss,
            event,
            carried_out,
            lost,
            torn,
        })
    }

    fn one(&mut self, pending: &[usize]) -> Option<usize> {
        self.random.choice(pending).copied()
    }

    /// Operations until the event: those that are durable by then, and the others.
    fn split(&self, event: usize) -> (Vec<usize>, Vec<usize>) {
        let called = self.disk.events[..=event]
            .iter()
            .filter_map(|event| match event {
                Event::Operation(number) => Some(*number),
                _ => None,
            });
        called.partition(|number| self.disk.operations[*number].durable <= event)
    }

    /// These, and what cannot be without them: later operations on the same
    /// entry, and the removal of a directory that would not be empty.
    fn with_dependents(&self, first: &[usize], pending: &[usize]) -> HashSet<usize> {
        let mut lost: HashSet<usize> = first.iter().copied().collect();
        let mut slots = HashSet::new();
        let mut directories = HashSet::new();
        for &number in pending {
            let operation = &self.disk.operations[number].operation;
            let is_lost = lost.contains(&number)
                || operation
                    .slots()
                    .into_iter()
                    .any(|slot| slots.contains(slot))
                || matches!(operation, Operation::Remove { inode, .. } if directories.contains(inode));
            if is_lost {
                lost.insert(number);
                for slot in operation.slots() {
                    directories.insert(slot.0);
                    slots.insert(slot.clone());
                }
            }
        }
        lost
    }

    /// This one, and what it needs to be and to be seen.
    fn with_needs(&self, first: usize, pending: &[usize]) -> HashSet<usize> {
        let mut needed = HashSet::new();
        let (mut slots, mut inodes, mut emptied) = (HashSet::new(), HashSet::new(), HashSet::new());
        for &number in pending.iter().rev().skip_while(|&&other| other != first) {
            let operation = &self.disk.operations[number].operation;
            let mut touched = operation.slots().into_iter();
            let is_needed = number == first
                || touched.any(|slot| slots.contains(slot) || emptied.contains(&slot.0))
                || matches!(operation, Operation::Enter { inode, .. } | Operation::Rename { inode, .. }
                    if inodes.contains(inode));
            if !is_needed {
                continue;
            }
            needed.insert(number);
            for slot in operation.slots() {
                inodes.insert(slot.0);
                slots.insert(slot.clone());
            }
            match operation {
                Operation::Write { inode, .. }
                | Operation::Resize { inode, .. }
                | Operation::Change { inode, .. } => drop(inodes.insert(*inode)),
                Operation::Remove { inode, .. } => drop(emptied.insert(*inode)),
                Operation::Enter { .. } | Operation::Rename { .. } => {}
            }
        }
        needed
    }
}

/// How near a rename has to be: a row is written so many operations later.
const NEAR: usize = 12;

/// Much is decided at synchronisations and acknowledgements, and around renames.
fn weight(disk: &Disk, event: usize) -> u64 {
    let is_rename = |event: &Event| match event {
        Event::Operation(number) => {
            matches!(disk.operations[*number].operation, Operation::Rename { .. })
        }
        _ => false,
    };
    let end = disk.events.len().min(event + NEAR);
    if disk.events[event.saturating_sub(NEAR)..end]
        .iter()
        .any(is_rename)
    {
        return 8;
    }
    match &disk.events[event] {
        Event::Sync(_) | Event::Mark(_) => 8,
        Event::Operation(number) => match &disk.operations[*number].operation {
            Operation::Enter { slot, .. } | Operation::Remove { slot, .. } if slot.0 == ROOT => 4,
            Operation::Write { .. } if disk.operations[*number].text.contains("sm.db") => 4,
            _ => 1,
        },
    }
}
