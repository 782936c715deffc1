//! What the handle's calls work on, and how they keep out of each other's way.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot, watch};

use super::content::ContentSettings;
use super::locks::Locks;
use super::verify::Verification;
pub(super) use crate::model::ContentItem as Item;
use crate::storage::Database;

/// Installs that work at the same time.
const PARALLEL: usize = 2;

/// What the tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: ContentSettings,
    pub(super) database: Database,
    pub(super) locks: Locks<Item>,
    pub(super) slots: Semaphore,
    /// Content that another took the place of, while instances may still run on
    /// it. The next `retain` removes it.
    replaced: Mutex<Vec<PathBuf>>,
    /// Roots that instances run on.
    held: Mutex<Vec<PathBuf>>,
    pub(super) verification: Verification,
}

/// Closed when the last handle is gone.
pub(super) type Alive = watch::Receiver<()>;
/// Closed when the caller no longer waits.
pub(super) type Caller = oneshot::Receiver<()>;

impl Shared {
    pub(super) fn new(settings: ContentSettings, database: Database) -> Self {
        Self {
            settings,
            database,
            locks: Locks::default(),
            slots: Semaphore::new(PARALLEL),
            replaced: Mutex::default(),
            held: Mutex::default(),
            verification: Verification::default(),
        }
    }

    pub(super) fn replaced(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        locked(&self.replaced)
    }

    /// Says what instances run on, until the next call.
    pub(super) fn hold(&self, roots: Vec<PathBuf>) {
        *locked(&self.held) = roots;
    }

    /// Takes what was replaced so far and nothing runs on. What is replaced from
    /// now on may be in use by what the caller does not know of yet.
    pub(super) fn take_replaced(&self) -> Vec<PathBuf> {
        let held = locked(&self.held);
        self.replaced()
            .extract_if(.., |path| !held.iter().any(|root| root.starts_with(&path)))
            .collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
