//! Room for services, layers and downloads.
//!
//! [`Space`] promises room before anything is written; the directories on one
//! partition share one account. When there is too little, [`plan`] says what
//! goes: partial downloads that nobody waits for, then what is cached, the
//! oldest first. An item's row goes before its directory, under the item's lock.
//!
//! Invariant: what is promised and not yet written, and a spare, is free. What
//! is in use, or being taken into use, never goes.
//!
//! Whether something is written after all is its writer's business.

mod amount;
mod disk;
mod error;
mod evict;
mod ledger;
mod plan;
mod reservation;
mod settings;

#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tokio::sync::Mutex as AsyncMutex;

use super::keeper::Keeper;
use super::locks::locked;
use super::spawn::blocking;
use crate::model::Chain;
use disk::{Disk, Kernel, Partition};
use ledger::{Id, Ledger};
use plan::{Account, Decision, Demand, PartLimit, plan};

pub(super) use amount::Amount;
pub(super) use disk::disk_usage;
pub use error::NoSpace;
pub(super) use evict::{Abandoned, PartialDownloads};
pub(super) use plan::Kind;
pub(super) use reservation::{Reservation, Room};
pub(super) use settings::SpaceSettings;

/// The account of all partitions. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Space {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: SpaceSettings,
    keeper: Arc<Keeper>,
    disk: Arc<dyn Disk>,
    ledger: Mutex<Ledger>,
    /// Who finds too little decides one after the other.
    turn: AsyncMutex<()>,
    downloads: OnceLock<Arc<dyn PartialDownloads>>,
    /// Bytes of content that has no row, as measured once.
    measured: Mutex<HashMap<PathBuf, u64>>,
}

impl Space {
    pub(super) fn new(settings: SpaceSettings, keeper: Arc<Keeper>) -> Self {
        Self::on(Arc::new(Kernel), settings, keeper)
    }

    fn on(disk: Arc<dyn Disk>, settings: SpaceSettings, keeper: Arc<Keeper>) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings,
                keeper,
                disk,
                ledger: Mutex::default(),
                turn: AsyncMutex::default(),
                downloads: OnceLock::new(),
                measured: Mutex::default(),
            }),
        }
    }

    /// Names who knows the partial downloads that nobody waits for. The first
    /// one stays.
    pub(super) fn set_downloads(&self, downloads: Arc<dyn PartialDownloads>) {
        if self.inner.downloads.set(downloads).is_err() {
            tracing::error!("partial downloads have an owner already");
        }
    }

    /// Promises `bytes` in a directory. What is cached, or partly downloaded
    /// and not waited for, goes if that helps.
    ///
    /// When the filesystem does not tell what is free, the promise is made: the
    /// write that follows will tell what is wrong with it.
    ///
    /// # Errors
    ///
    /// There is not so much, and cannot be made so much. Nothing was removed.
    pub(super) async fn reserve(
        &self,
        directory: Kind,
        bytes: u64,
    ) -> Result<Reservation, NoSpace> {
        let path = self.inner.settings.path(directory);
        let partition = self.inner.look(path).map(|partition| partition.id);
        let id = self
            .inner
            .ledger()
            .open(partition.unwrap_or_default(), directory);
        let reservation = Reservation::new(self.clone(), directory, id);
        let amount = Amount { bytes, inodes: 0 };
        self.grow(directory, id, amount).await?;
        Ok(reservation.holding(amount))
    }

    /// Promises more if it is there.
    fn grow_at_once(&self, directory: Kind, id: Id, amount: Amount) -> bool {
        if self.inner.settings.has_limit(directory) {
            // What the directory takes is in the database.
            return false;
        }
        // The filesystem is asked with the book open: no two may find the same
        // free bytes.
        let mut ledger = self.inner.ledger();
        let Some(partition) = self.inner.look(self.inner.settings.path(directory)) else {
            ledger.grow(id, amount);
            return true;
        };
        let promised = ledger.unwritten(partition.id);
        let fits = self
            .inner
            .decide(directory, amount, partition, promised, 0, &[]);
        if fits == Decision::Fits {
            ledger.grow(id, amount);
        }
        fits == Decision::Fits
    }

    /// Promises more, and makes room for it if need be.
    async fn grow(&self, directory: Kind, id: Id, amount: Amount) -> Result<(), NoSpace> {
        if self.grow_at_once(directory, id, amount) {
            return Ok(());
        }

        let inner = &*self.inner;
        let _turn = inner.turn.lock().await;
        // In the book from now on: what is made free is for nobody else.
        let claim = Claim::new(inner, id, amount);
        let in_use = inner.keeper.in_use().await;
        let mut busy = HashSet::new();
        loop {
            let victims = match &in_use {
                Ok(in_use) => inner.victims(in_use, &busy, amount.inodes > 0).await,
                Err(_) => Vec::new(),
            };
            let taken = inner.taken(directory).await;
            let candidates: Vec<_> = victims.iter().map(|victim| victim.candidate).collect();
            let decision = {
                let ledger = inner.ledger();
                let Some(partition) = inner.look(inner.settings.path(directory)) else {
                    break;
                };
                let promised = ledger.unwritten(partition.id).minus(amount);
                let own = ledger.promised(directory).saturating_sub(amount.bytes);
                let taken = taken.saturating_add(own);
                inner.decide(directory, amount, partition, promised, taken, &candidates)
            };
            match decision {
                Decision::Fits => break,
                Decision::Missing(shortage) => {
                    let path = inner.settings.path(directory).to_owned();
                    return Err(NoSpace::of(path, shortage));
                }
                Decision::Evict(chosen) => {
                    let chosen: Vec<_> = chosen.iter().map(|&index| &victims[index]).collect();
                    busy.extend(inner.evict(&chosen).await);
                }
            }
        }
        claim.keep();

        Ok(())
    }
}

impl Inner {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        locked(&self.ledger)
    }

    fn look(&self, path: &Path) -> Option<Partition> {
        self.disk
            .partition(path)
            .inspect_err(|error| {
                tracing::warn!(path = %path.display(), %error, "cannot tell what is free");
            })
            .ok()
    }

    fn decide(
        &self,
        directory: Kind,
        amount: Amount,
        partition: Partition,
        promised: Amount,
        taken: u64,
        candidates: &[plan::Candidate],
    ) -> Decision {
        let account = Account {
            partition: partition.id,
            size: partition.size,
            free: partition.free,
            promised,
        };
        let percent = self.settings.percent(directory);
        let demand = Demand {
            directory,
            amount,
            limit: PartLimit { percent, taken },
        };
        plan(&account, &demand, candidates)
    }

    /// Bytes of what lies in a directory with a limit: by its rows, and what has
    /// lost its row.
    async fn taken(&self, directory: Kind) -> u64 {
        if !self.settings.has_limit(directory) {
            return 0;
        }
        let rows = self.keeper.installed_bytes(directory).await;
        let rows = rows.unwrap_or_else(|error| {
            tracing::warn!(error = %Chain(&error), "cannot tell what is installed");
            0
        });

        let top = self.settings.path(directory);
        let mut rest = self.keeper.without_row();
        rest.retain(|path| path.starts_with(top));
        let new: Vec<_> = {
            let known = self.measured();
            let is_new = |path: &&PathBuf| !known.contains_key(*path);
            rest.iter().filter(is_new).cloned().collect()
        };
        let figures = blocking(move || new.into_iter().map(measure).collect::<Vec<_>>()).await;
        let mut known = self.measured();
        known.extend(figures.unwrap_or_default());
        known.retain(|path, _| rest.contains(path) || !path.starts_with(top));
        rest.iter()
            .filter_map(|path| known.get(path))
            .fold(rows, |sum, bytes| sum.saturating_add(*bytes))
    }

    fn measured(&self) -> MutexGuard<'_, HashMap<PathBuf, u64>> {
        locked(&self.measured)
    }
}

fn measure(path: PathBuf) -> (PathBuf, u64) {
    let usage = disk_usage(&path).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "cannot tell how large it is");
        Amount::default()
    });
    (path, usage.bytes)
}

/// An amount in the book that goes out again unless it is kept.
struct Claim<'a> {
    inner: &'a Inner,
    id: Id,
    amount: Amount,
}

impl<'a> Claim<'a> {
    fn new(inner: &'a Inner, id: Id, amount: Amount) -> Self {
        inner.ledger().grow(id, amount);
        Self { inner, id, amount }
    }

    fn keep(mut self) {
        self.amount = Amount::default();
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.inner.ledger().shrink(self.id, self.amount);
    }
}
