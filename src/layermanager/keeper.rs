//! What is kept although it is not in use, and its end.
//!
//! Time and the need for space both end it, in the same way: under the lock of
//! the item its row goes, then its directory with the record beside it. What
//! cannot be removed is remembered, and tried again by the next `retain`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::error::ContentError;
use super::locks::{Locks, locked};
use super::shared::Item;
use super::space::Kind;
use super::spawn::blocking;
use super::{cached, reconcile, store};
use crate::model::Chain;
use crate::storage::{Database, StorageError};

/// Tells which directories instances on this machine are made of, whatever the
/// database says. May block.
#[derive(Clone)]
pub struct Users(Arc<dyn Fn() -> io::Result<Vec<PathBuf>> + Send + Sync>);

impl Users {
    /// By a function that looks at the machine. When it fails nothing that
    /// might be in use is removed.
    pub fn new(look: impl Fn() -> io::Result<Vec<PathBuf>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(look))
    }

    /// There are none.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|| Ok(Vec::new()))
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Users")
    }
}

/// Directories that instances are made of.
#[derive(Debug, Default)]
pub(super) struct InUse(Vec<PathBuf>);

impl InUse {
    /// Whether an instance is made of what is at `path` or below.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let real = path.canonicalize();
        let real = real.as_deref().unwrap_or(path);
        let mut used = self.0.iter();
        used.any(|used| used.starts_with(path) || used.starts_with(real))
    }
}

/// An installed item that is not in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cached {
    pub(super) item: Item,
    /// Its directory.
    pub(super) path: PathBuf,
    /// Bytes that it takes of the disk.
    pub(super) size: u64,
    /// Since when, in seconds since 1970.
    pub(super) since: i64,
}

/// The rows and directories of what is kept.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) services_dir: PathBuf,
    pub(super) layers_dir: PathBuf,
    pub(super) database: Database,
    pub(super) locks: Arc<Locks<Item>>,
    pub(super) users: Users,
    /// Content that another took the place of, or that could not be removed.
    pub(super) replaced: Mutex<Vec<PathBuf>>,
    /// What had no row at start.
    pub(super) strays: Mutex<Vec<PathBuf>>,
    /// What instances are about to run on, as the launcher says.
    pub(super) held: Mutex<Vec<PathBuf>>,
}

impl Keeper {
    /// What instances are made of now.
    pub(super) async fn in_use(&self) -> Result<InUse, ContentError> {
        let users = self.users.clone();
        let held = locked(&self.held).clone();
        let looked = blocking(move || {
            let mut used = (users.0)()?;
            used.extend(held);
            // The name that an instance was given, and the place itself.
            let real = used.iter().filter_map(|path| path.canonicalize().ok());
            let real: Vec<_> = real.collect();
            Ok(InUse([used, real].concat()))
        });
        looked
            .await?
            .map_err(ContentError::Users)
            .inspect_err(|error| {
                tracing::warn!(error = %Chain(error), "nothing is removed for now");
            })
    }

    /// All that is cached, the oldest first. A row that cannot be read is left
    /// out.
    pub(super) async fn cached(&self) -> Result<Vec<Cached>, StorageError> {
        cached::all(&self.database, &self.services_dir, &self.layers_dir).await
    }

    /// Bytes of all that is installed in a directory, in use or not.
    pub(super) async fn installed_bytes(&self, directory: Kind) -> Result<u64, StorageError> {
        match directory {
            Kind::Services => cached::bytes(&self.database, "services").await,
            Kind::Layers => cached::bytes(&self.database, "layers").await,
            Kind::Downloads => Ok(0),
        }
    }

    /// Content that is on the disk and has no row.
    pub(super) fn without_row(&self) -> Vec<PathBuf> {
        [self.replaced().clone(), self.strays().clone()].concat()
    }

    /// Removes an item that is still cached since `limit` or before; tells
    /// whether it was. The caller has its lock.
    ///
    /// # Errors
    ///
    /// The database refuses: nothing has changed. Or the directory cannot be
    /// removed: then only the row is gone.
    pub(super) async fn remove(&self, cached: &Cached, limit: i64) -> Result<bool, ContentError> {
        let limit = Some(limit);
        let was_cached = match cached.item.clone() {
            Item::Service(key) => store::remove_service(&self.database, key, limit).await?,
            Item::Layer(digest) => store::remove_layer(&self.database, digest, limit).await?,
        };
        if !was_cached {
            return Ok(false);
        }
        let path = cached.path.clone();
        let removed = blocking(move || reconcile::remove_content(&path)).await?;
        if removed.is_err() {
            self.replaced().push(cached.path.clone());
        }
        removed.map(|()| true)
    }

    pub(super) fn replaced(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        locked(&self.replaced)
    }

    pub(super) fn strays(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        locked(&self.strays)
    }
}
