//! Who wants which package.
//!
//! A partial download stays on disk as long as somebody has an [`Interest`] in
//! it, and goes when the last of them got what it wanted. The same package is
//! downloaded by one at a time; who comes later finds its bytes.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use aos_package::{Short, hex};
use tokio::sync::Mutex as AsyncMutex;

use super::PackageId;
use super::error::FetchError;
use super::limits::RESTARTS;
use super::spool::{Opened, PART, Spool, is_name};
use crate::layermanager::locks::locked;
use crate::layermanager::space::{Abandoned, Amount, PartialDownloads};
use crate::model::Chain;

/// The packages that somebody wants, by the name of their files.
#[derive(Debug)]
pub(super) struct Registry {
    directory: PathBuf,
    wanted: Mutex<HashMap<String, Wanted>>,
}

#[derive(Debug, Default)]
struct Wanted {
    interests: usize,
    /// Somebody did not get what it wanted, and may come again.
    failed: bool,
    /// Who downloads.
    lock: Arc<AsyncMutex<()>>,
}

/// Somebody's wish for a package.
pub(in crate::layermanager) struct Interest {
    registry: Arc<Registry>,
    spool: Spool,
    item: String,
    lock: Arc<AsyncMutex<()>>,
    trail: Arc<Trail>,
    finished: bool,
}

/// What happened to the bytes that one interest got.
#[derive(Debug, Default)]
pub(super) struct Trail {
    opened: Mutex<Option<Opened>>,
    /// Not all bytes came in one answer to us: if they are wrong, others may be
    /// right.
    doubtful: AtomicBool,
    restarts: AtomicU32,
}

impl Registry {
    pub(super) fn new(directory: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            directory,
            wanted: Mutex::default(),
        })
    }

    pub(super) fn interest(self: &Arc<Self>, id: &PackageId, item: &str) -> Interest {
        let name = hex(&id.sha3_256);
        let lock = {
            let mut all = self.wanted();
            let wanted = all.entry(name.clone()).or_default();
            wanted.interests += 1;
            Arc::clone(&wanted.lock)
        };
        Interest {
            registry: Arc::clone(self),
            spool: Spool::new(&self.directory, &name),
            item: Short(item.escape_debug()).to_string(),
            lock,
            trail: Arc::default(),
            finished: false,
        }
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<String, Wanted>> {
        locked(&self.wanted)
    }
}

impl PartialDownloads for Registry {
    fn abandoned(&self) -> Vec<Abandoned> {
        let wanted = self.wanted();
        let names = names(&self.directory).into_iter();
        names
            .filter(|name| !wanted.contains_key(name))
            .filter_map(|name| {
                let path = Spool::new(&self.directory, &name).part();
                let metadata = fs::symlink_metadata(&path).ok()?;
                Some(Abandoned {
                    path,
                    size: Amount {
                        bytes: metadata.blocks() * 512,
                        inodes: 2,
                    },
                    since: metadata.mtime(),
                })
            })
            .collect()
    }

    fn remove(&self, path: &Path) -> io::Result<bool> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        // Held meanwhile, so that nobody begins to want what is removed.
        let wanted = self.wanted();
        if wanted.contains_key(name.as_ref()) {
            return Ok(false);
        }
        let bytes = Spool::new(&self.directory, &name)
            .remove()
            .map_err(io::Error::other)?;
        tracing::info!(%name, bytes, "removed a partial download to make room");
        Ok(true)
    }
}

impl Interest {
    /// Bytes that are on disk already, good or not, and need no more room.
    pub(in crate::layermanager) fn spooled(&self) -> u64 {
        self.spool.length()
    }

    /// Whether to open the package again after its use failed with `error`: the
    /// download has to begin again, or the sums are `wrong` and might be right the
    /// next time. Bytes with wrong sums are never used again. Blocks.
    pub(in crate::layermanager) fn again(
        &self,
        error: &(dyn Error + 'static),
        wrong: bool,
    ) -> bool {
        let restarted = matches!(FetchError::within(error), Some(FetchError::Restarted(_)));
        restarted || (wrong && self.reject())
    }

    /// Says that the bytes are not those of the package: they are never used
    /// again. Returns whether to open it again, because others may be right; no
    /// more than three times. Blocks.
    pub(super) fn reject(&self) -> bool {
        let opened = self.trail.opened().take();
        if let Some(opened) = opened {
            self.remove_if(&opened);
        }
        self.trail.doubtful.load(Ordering::Relaxed) && self.trail.restart().is_some()
    }

    /// Says that the bytes are needed no more. They go with the last interest in
    /// them, unless somebody else failed on them. Blocks.
    pub(in crate::layermanager) fn finish(mut self) {
        self.finished = true;
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    pub(super) fn item(&self) -> &str {
        &self.item
    }

    pub(super) fn lock(&self) -> Arc<AsyncMutex<()>> {
        Arc::clone(&self.lock)
    }

    pub(super) fn trail(&self) -> Arc<Trail> {
        Arc::clone(&self.trail)
    }

    /// Not what somebody else put there since.
    fn remove_if(&self, opened: &Opened) {
        // Whoever else rejects the same bytes comes after us.
        let _one_at_a_time = self.registry.wanted();
        if self.spool.is(opened) {
            remove(&self.spool);
        }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut all = self.registry.wanted();
        let Some(wanted) = all.get_mut(self.spool.name()) else {
            return;
        };
        wanted.interests -= 1;
        wanted.failed |= !self.finished;
        if wanted.interests > 0 {
            return;
        }
        if !wanted.failed {
            remove(&self.spool);
        }
        all.remove(self.spool.name());
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interest")
            .field("item", &self.item)
            .field("spool", &self.spool)
            .finish_non_exhaustive()
    }
}

impl Trail {
    /// Other bytes are read from now on.
    pub(super) fn begin(&self, opened: Opened, doubtful: bool) {
        *self.opened() = Some(opened);
        self.doubtful.store(doubtful, Ordering::Relaxed);
    }

    /// Bytes of another answer follow.
    pub(super) fn doubt(&self) {
        self.doubtful.store(true, Ordering::Relaxed);
    }

    /// The error for an install that has to begin again, or has too often.
    pub(super) fn restarted(&self, reason: &'static str) -> FetchError {
        match self.restart() {
            Some(_) => FetchError::Restarted(reason),
            None => FetchError::Unsteady {
                times: RESTARTS,
                reason,
            },
        }
    }

    fn restart(&self) -> Option<u32> {
        let before = self.restarts.fetch_add(1, Ordering::Relaxed);
        (before < RESTARTS).then_some(before + 1)
    }

    fn opened(&self) -> MutexGuard<'_, Option<Opened>> {
        locked(&self.opened)
    }
}

/// What cannot be removed is found again, and its sums are as wrong as now.
fn remove(spool: &Spool) {
    if let Err(error) = spool.remove() {
        tracing::warn!(error = %Chain(&error), "a download that is not needed is left");
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let (stem, kind) = name.to_str()?.rsplit_once('.')?;
            (kind == PART && is_name(stem)).then(|| stem.to_owned())
        })
        .collect()
}
