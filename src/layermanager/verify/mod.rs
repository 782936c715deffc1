//! Whether installed content still is what was installed.
//!
//! *Proof*: the attributes of all files are held against the record, before an
//! instance is started on an item for the first time. *Check*: all content is
//! read in the background, now and then. What is not as recorded is damage: the
//! item loses its row, so that it counts as not installed, its directory stays
//! for who still runs on it, and [`Damage`] is told.
//!
//! Invariant: what was told as damaged is never served again.

mod check;
mod compare;
mod damage;
mod difference;
mod pace;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokio::sync::{Semaphore, mpsc};

use self::compare::{Finding, compare, renew};
use self::pace::Hasty;
use super::error::{ContentError, DamageError};
use super::locks::{Locks, locked};
use super::record::RecordError;
use super::shared::{Alive, Item, Shared};
use super::spawn::blocking;
use crate::model::{Chain, Damage, ServiceContent, ServiceKey};

pub use self::check::CheckSettings;
pub(super) use self::check::{is_damage, run};
pub use self::difference::Differences;

/// Proofs made at the same time: each waits for the disk.
const PARALLEL: usize = 2;
/// Damage that may wait to be heard.
const WAITING: usize = 64;

/// What is known of the state of content, and who is told.
#[derive(Debug)]
pub(super) struct Verification {
    /// Directories of items that were found in order since the start.
    proven: Mutex<HashSet<PathBuf>>,
    proofs: Locks<PathBuf>,
    slots: Semaphore,
    told: Mutex<Option<mpsc::Sender<Damage>>>,
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            proven: Mutex::default(),
            proofs: Locks::default(),
            slots: Semaphore::new(PARALLEL),
            told: Mutex::default(),
        }
    }
}

impl Verification {
    pub(super) fn receiver(&self) -> mpsc::Receiver<Damage> {
        let (sender, receiver) = mpsc::channel(WAITING);
        *locked(&self.told) = Some(sender);
        receiver
    }

    fn is_proven(&self, directory: &Path) -> bool {
        locked(&self.proven).contains(directory)
    }
}

impl Shared {
    /// Proves the service and its layers.
    pub(super) async fn prove(
        &self,
        service: ServiceContent,
        alive: Alive,
    ) -> Result<(), ContentError> {
        let key = service.key;
        let item = Item::Service(key.clone());
        self.prove_item(item, &service.root, &alive, &key).await?;
        // What it has of its own comes first, and was proven with it.
        let own = service
            .layers
            .len()
            .saturating_sub(service.layer_digests.len());
        let layers = service.layers.iter().skip(own);
        for (digest, root) in service.layer_digests.into_iter().zip(layers) {
            self.prove_item(Item::Layer(digest), root, &alive, &key)
                .await?;
        }
        Ok(())
    }

    /// Proves the item that has `root` in its directory.
    async fn prove_item(
        &self,
        item: Item,
        root: &Path,
        alive: &Alive,
        key: &ServiceKey,
    ) -> Result<(), ContentError> {
        let directory = self.directory_of(&item).await?;
        let Some(directory) = directory.filter(|directory| root.starts_with(directory)) else {
            return Err(ContentError::Gone {
                key: key.clone(),
                path: root.to_owned(),
            });
        };
        // Others that wait for the same proof have it with this one.
        let _lock = self.verification.proofs.lock(directory.clone()).await;
        if self.verification.is_proven(&directory) {
            return Ok(());
        }
        let _slot = self.verification.slots.acquire().await;

        match self.look(&item, &directory, alive).await? {
            Finding::Damaged(error) => {
                self.damaged(&item, &directory, &error).await?;
                Err(damaged(item, key.clone(), error))
            }
            Finding::Same(_) | Finding::Touched(_) | Finding::Unrecorded => Ok(()),
        }
    }

    /// Holds the attributes of an item against its record.
    async fn look(
        &self,
        item: &Item,
        directory: &Path,
        alive: &Alive,
    ) -> Result<Finding, ContentError> {
        let (place, alive) = (directory.to_owned(), alive.clone());
        let finding = blocking(move || {
            let stopped = || alive.has_changed().is_err();
            compare(&place, &mut Hasty, &stopped)
        })
        .await?
        .map_err(cannot_verify(directory))?;
        self.found(item, directory, &finding).await?;
        Ok(finding)
    }

    /// What was in order need not be looked at again before a start.
    async fn found(
        &self,
        item: &Item,
        directory: &Path,
        finding: &Finding,
    ) -> Result<(), ContentError> {
        match finding {
            Finding::Touched(_) => {
                tracing::info!(%item, "its files were copied or restored, and are right: \
                    recording them anew");
                let place = directory.to_owned();
                let renewed = blocking(move || renew(&place)).await?;
                if let Err(error) = renewed {
                    // Then it is read again the next time.
                    tracing::warn!(%item, error = %Chain(&error), "cannot record its files anew");
                }
            }
            Finding::Unrecorded => {
                tracing::info!(%item, "its files were never recorded: the next check does");
                return Ok(());
            }
            Finding::Same(_) => {}
            Finding::Damaged(_) => return Ok(()),
        }
        locked(&self.verification.proven).insert(directory.to_owned());
        Ok(())
    }
}

fn damaged(item: Item, key: ServiceKey, source: DamageError) -> ContentError {
    match item {
        Item::Service(_) => ContentError::Damaged { key, source },
        Item::Layer(digest) => ContentError::DamagedLayer {
            key,
            digest,
            source: Box::new(source),
        },
    }
}

fn cannot_verify(directory: &Path) -> impl FnOnce(RecordError) -> ContentError + use<> {
    let path = directory.to_owned();
    move |source| match source {
        RecordError::Stopped => ContentError::Stopped,
        source => ContentError::Verify { path, source },
    }
}
