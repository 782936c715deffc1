//! What may go, and its going.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::disk::disk_usage;
use super::plan::{Candidate, Class};
use super::{Amount, Inner, Kind};
use crate::layermanager::keeper::{Cached, InUse};
use crate::layermanager::shared::Item;
use crate::layermanager::spawn::blocking;
use crate::model::Chain;

/// Part of a package that nobody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::layermanager) struct Abandoned {
    /// Names it.
    pub(in crate::layermanager) path: PathBuf,
    /// What it takes of the disk.
    pub(in crate::layermanager) size: Amount,
    /// When it was written last, in seconds since 1970.
    pub(in crate::layermanager) since: i64,
}

/// Who keeps partial downloads.
pub(in crate::layermanager) trait PartialDownloads:
    fmt::Debug + Send + Sync
{
    /// Those that nobody waits for. May block.
    fn abandoned(&self) -> Vec<Abandoned>;

    /// Removes one, unless somebody waits for it by now: then it tells `false`.
    /// May block.
    fn remove(&self, path: &Path) -> io::Result<bool>;
}

/// Something that may go, and what has to be known to remove it.
#[derive(Debug)]
pub(super) struct Victim {
    pub(super) candidate: Candidate,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Partial(PathBuf),
    Cached(Cached),
}

impl Victim {
    pub(super) fn path(&self) -> &Path {
        match &self.what {
            What::Partial(path) => path,
            What::Cached(cached) => &cached.path,
        }
    }
}

impl Inner {
    /// All that may go, without what is in use or `busy`. Inodes are counted if
    /// they are asked for.
    pub(super) async fn victims(
        &self,
        in_use: &InUse,
        busy: &HashSet<PathBuf>,
        inodes: bool,
    ) -> Vec<Victim> {
        let cached = self.keeper.cached().await.unwrap_or_else(|error| {
            tracing::warn!(error = %Chain(&error), "cannot tell what is cached");
            Vec::new()
        });
        let mut victims = Vec::new();
        for cached in cached {
            let directory = match cached.item {
                Item::Service(_) => Kind::Services,
                Item::Layer(_) => Kind::Layers,
            };
            if !in_use.holds(&cached.path) {
                let size = Amount {
                    bytes: cached.size,
                    inodes: 0,
                };
                let (class, since) = (Class::Cached, cached.since);
                victims.extend(self.victim(directory, class, since, size, What::Cached(cached)));
            }
        }
        for partial in self.abandoned().await {
            let (class, what) = (Class::Partial, What::Partial(partial.path));
            let directory = Kind::Downloads;
            victims.extend(self.victim(directory, class, partial.since, partial.size, what));
        }
        victims.retain(|victim| !busy.contains(victim.path()));
        if inodes {
            victims = count_inodes(victims).await;
        }
        victims
    }

    fn victim(
        &self,
        directory: Kind,
        class: Class,
        since: i64,
        size: Amount,
        what: What,
    ) -> Option<Victim> {
        let candidate = Candidate {
            directory,
            partition: self.look(self.settings.path(directory))?.id,
            class,
            since,
            size,
        };
        Some(Victim { candidate, what })
    }

    async fn abandoned(&self) -> Vec<Abandoned> {
        let Some(downloads) = self.downloads.get().map(Arc::clone) else {
            return Vec::new();
        };
        blocking(move || downloads.abandoned())
            .await
            .unwrap_or_default()
    }

    /// Removes all of these; if one cannot go now, perhaps none. Returns those
    /// that cannot.
    pub(super) async fn evict(&self, chosen: &[&Victim]) -> Vec<PathBuf> {
        let mut locked: Vec<(&Victim, Option<OwnedMutexGuard<()>>)> = Vec::new();
        let mut busy = Vec::new();
        for victim in chosen {
            match &victim.what {
                What::Partial(_) => locked.push((victim, None)),
                // Whoever has the lock takes it into use, and may wait for room.
                What::Cached(cached) => match self.keeper.locks.try_lock(cached.item.clone()) {
                    Some(lock) => locked.push((victim, Some(lock))),
                    None => busy.push(cached.path.clone()),
                },
            }
        }
        if !busy.is_empty() {
            return busy;
        }

        for (victim, _lock) in locked {
            if !self.remove(victim).await {
                busy.push(victim.path().to_owned());
            }
        }
        busy
    }

    async fn remove(&self, victim: &Victim) -> bool {
        let path = victim.path().to_owned();
        let shown = path.display().to_string();
        tracing::info!(path = shown, "removed to make room");
        let removed = match &victim.what {
            What::Cached(cached) => self
                .keeper
                .remove(cached, cached.since)
                .await
                .map_err(|error| Chain(&error).to_string()),
            What::Partial(_) => match self.downloads.get().map(Arc::clone) {
                Some(downloads) => blocking(move || downloads.remove(&path))
                    .await
                    .unwrap_or(Ok(false))
                    .map_err(|error| error.to_string()),
                None => Ok(false),
            },
        };
        removed.unwrap_or_else(|error| {
            tracing::warn!(path = shown, error, "cannot make room");
            false
        })
    }
}

/// Rows do not tell how many files there are. What is cached is little enough
/// to be counted when there is too little room.
async fn count_inodes(victims: Vec<Victim>) -> Vec<Victim> {
    let counted = blocking(move || {
        let mut victims = victims;
        for victim in &mut victims {
            if victim.candidate.size.inodes == 0
                && let Ok(usage) = disk_usage(victim.path())
            {
                victim.candidate.size.inodes = usage.inodes;
            }
        }
        victims
    });
    counted.await.unwrap_or_default()
}
