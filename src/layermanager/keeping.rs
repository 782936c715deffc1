//! What stays and what goes: at start, and when the list of what is in use changes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::error::ContentError;
use super::keeper::InUse;
use super::shared::{Retained, Shared};
use super::spawn::blocking;
use super::{cached, expiry, reconcile, store};
use crate::model::Chain;
use crate::storage::StorageError;

impl Shared {
    /// Makes the directories and removes rows without one. What is there without
    /// a row is only noted: an instance may run on it, and the row be lost.
    ///
    /// A directory that cannot be used fails the installs, and not the start:
    /// what runs goes on, and CM is told why.
    pub(super) async fn reconcile(&self) -> Result<(), ContentError> {
        let settings = &self.settings;
        for directory in [&settings.services_dir, &settings.layers_dir] {
            let directory = directory.clone();
            let prepared = blocking(move || reconcile::prepare(&directory)).await?;
            if let Err(error) = prepared {
                tracing::error!(error = %Chain(&error), "nothing can be installed there");
            }
        }

        for row in store::services(&self.database).await? {
            if self.is_lost(&self.settings.services_dir, &row.path).await? {
                tracing::warn!(service = %row.key, "its directory is missing: not installed");
                tell(store::remove_service(&self.database, row.key, None).await);
            }
        }
        for row in store::layers(&self.database).await? {
            if self.is_lost(&self.settings.layers_dir, &row.path).await? {
                let layer = row.digest;
                tracing::warn!(layer, "its directory is missing: not installed");
                tell(store::remove_layer(&self.database, layer, None).await);
            }
        }

        let (services_dir, layers_dir) =
            (settings.services_dir.clone(), settings.layers_dir.clone());
        // What lies in the directory of the downloads is theirs.
        let extract_dir = Some(settings.extract_dir.clone());
        let extract_dir = extract_dir.filter(|directory| *directory != settings.download_dir);
        let listed = blocking(move || {
            [
                reconcile::services(&services_dir),
                reconcile::layers(&layers_dir),
                extract_dir.map_or(Ok(Vec::new()), |directory| reconcile::entries(&directory)),
            ]
        })
        .await?;
        let mut strays = Vec::new();
        for listed in listed {
            match listed {
                Ok(found) => strays.extend(found),
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "what is left there is not removed");
                }
            }
        }
        *self.keeper.strays() = self.without_row(strays).await?;

        Ok(())
    }

    async fn is_lost(&self, directory: &Path, path: &str) -> Result<bool, ContentError> {
        let path = directory.join(path);
        Ok(blocking(move || reconcile::is_absent(&path)).await?)
    }

    /// Those of the paths that no row names, as it is now. A row that cannot be
    /// read keeps its directory; one that does not even say which it is keeps
    /// all that might be it.
    async fn without_row(&self, mut paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, ContentError> {
        for (table, top) in [
            ("services", &self.settings.services_dir),
            ("layers", &self.settings.layers_dir),
        ] {
            match cached::paths(&self.database, table).await? {
                // Older releases stored absolute paths.
                Some(known) => {
                    let known: HashSet<_> = known.iter().map(|path| top.join(path)).collect();
                    let record = reconcile::described;
                    paths.retain(|path| !known.contains(path) && !known.contains(&record(path)));
                }
                None => {
                    tracing::error!(
                        table,
                        "a row does not say where its content is: all of it stays"
                    );
                    paths.retain(|path| !path.starts_with(top) || reconcile::is_staging(path));
                }
            }
        }
        Ok(paths)
    }

    /// Takes what was replaced so far. What is replaced from now on may be in
    /// use by what the caller does not know of yet.
    pub(super) fn take_replaced(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.replaced())
    }

    pub(super) async fn retain(
        &self,
        retained: Retained,
        replaced: Vec<PathBuf>,
    ) -> Result<(), ContentError> {
        let told = self.tell(retained).await;
        let swept = self.sweep(replaced).await;
        let expired = expiry::expire(self, self.clock.now()).await;

        told?;
        swept?;
        expired
    }

    /// Notes what is in use. When the database refuses, as it does on a full
    /// disk, it is told later.
    pub(super) async fn tell(&self, retained: Retained) -> Result<(), StorageError> {
        let now = self.clock.now();
        let Retained { services, layers } = retained.clone();
        *self.untold() = None;
        let told = store::retain(&self.database, services, layers, now).await;
        if told.is_err() {
            self.untold().get_or_insert(retained);
        } else if let Err(error) = self.clock.store(now).await {
            tracing::warn!(error = %Chain(&error), "cannot store the time");
        }
        told
    }

    /// Removes what was replaced, and what had no row at start, but nothing that
    /// an instance runs on. What cannot be removed is left for the next time.
    async fn sweep(&self, replaced: Vec<PathBuf>) -> Result<(), ContentError> {
        if replaced.is_empty() && self.keeper.strays().is_empty() {
            return Ok(());
        }
        let in_use = match self.keeper.in_use().await {
            Ok(in_use) => in_use,
            Err(error) => {
                self.replaced().extend(replaced);
                return Err(error);
            }
        };
        let strays = std::mem::take(&mut *self.keeper.strays());
        let strays = match self.without_row(strays.clone()).await {
            Ok(strays) => strays,
            Err(error) => {
                self.replaced().extend(replaced);
                *self.keeper.strays() = strays;
                return Err(error);
            }
        };

        let (replaced, strays) =
            blocking(move || (left_of(replaced, &in_use), left_of(strays, &in_use))).await?;
        self.replaced().extend(replaced);
        self.keeper.strays().extend(strays);
        Ok(())
    }
}

/// Removes what is not in use, and returns the rest.
fn left_of(paths: Vec<PathBuf>, in_use: &InUse) -> Vec<PathBuf> {
    let is_left = |path: &PathBuf| {
        if in_use.holds(path) || in_use.holds(&reconcile::described(path)) {
            tracing::info!(path = %path.display(), "it has no row, and stays: an instance runs on it");
            return true;
        }
        reconcile::remove_content(path)
            .inspect_err(|error| {
                tracing::warn!(error = %Chain(error), "content that is not in use is left for now");
            })
            .is_err()
    };
    paths.into_iter().filter(is_left).collect()
}

/// A row that cannot be removed now is found again by the next start.
fn tell<T>(removed: Result<T, StorageError>) {
    if let Err(error) = removed {
        tracing::warn!(error = %Chain(&error), "the row of what is missing stays for now");
    }
}
