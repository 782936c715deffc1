//! What the handle's calls work on, and how they keep out of each other's way.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

use super::content::ContentSettings;
use super::fetch::Fetcher;
use super::locks::Locks;
use crate::model::ServiceKey;
use crate::storage::Database;

/// Installs that work at the same time, and with them downloads: an install opens
/// its package when it has a slot.
const PARALLEL: usize = 2;

/// What the tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: ContentSettings,
    pub(super) database: Database,
    pub(super) locks: Locks<Item>,
    pub(super) slots: Semaphore,
    pub(super) fetcher: Fetcher,
    /// Content that another took the place of, while instances may still run on
    /// it. The next `retain` removes it.
    replaced: Mutex<Vec<PathBuf>>,
}

/// What is installed or removed as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Item {
    Service(ServiceKey),
    Layer(String),
}

/// Closed when the last handle is gone.
pub(super) type Alive = watch::Receiver<()>;
/// Closed when the caller no longer waits.
pub(super) type Caller = watch::Receiver<()>;

impl Shared {
    pub(super) fn new(settings: ContentSettings, database: Database) -> Self {
        Self {
            fetcher: Fetcher::new(settings.fetch()),
            settings,
            database,
            locks: Locks::default(),
            slots: Semaphore::new(PARALLEL),
            replaced: Mutex::default(),
        }
    }

    pub(super) fn replaced(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
