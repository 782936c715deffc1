//! What the handle's calls work on, and how they keep out of each other's way.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Semaphore, watch};

use super::content::ContentSettings;
use super::fetch::Fetcher;
use super::keeper::Keeper;
use super::locks::{Locks, locked};
use super::space::{Space, SpaceSettings};
use super::verify::Verification;
pub(super) use crate::model::ContentItem as Item;
use crate::model::ServiceKey;
use crate::storage::{Clock, Database};

/// Installs that work at the same time, and with them downloads: an install opens
/// its package when it has a slot.
const PARALLEL: usize = 2;

/// What the tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: ContentSettings,
    pub(super) database: Database,
    pub(super) clock: Clock,
    pub(super) locks: Arc<Locks<Item>>,
    pub(super) keeper: Arc<Keeper>,
    pub(super) space: Space,
    pub(super) slots: Semaphore,
    /// What is in use, as the database has not been told yet.
    untold: Mutex<Option<Retained>>,
    pub(super) verification: Verification,
    pub(super) fetcher: Fetcher,
}

/// What the launcher says is in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Retained {
    pub(super) services: Vec<ServiceKey>,
    pub(super) layers: Vec<String>,
}

/// Closed when the last handle is gone.
pub(super) type Alive = watch::Receiver<()>;
/// Closed when the caller no longer waits.
pub(super) type Caller = watch::Receiver<()>;

impl Shared {
    pub(super) fn new(settings: ContentSettings, database: Database, clock: Clock) -> Self {
        let locks = Arc::new(Locks::default());
        let keeper = Arc::new(Keeper {
            services_dir: settings.services_dir.clone(),
            layers_dir: settings.layers_dir.clone(),
            database: database.clone(),
            locks: Arc::clone(&locks),
            users: settings.users.clone(),
            replaced: Mutex::default(),
            strays: Mutex::default(),
            held: Mutex::default(),
        });
        let space = SpaceSettings {
            services_dir: settings.services_dir.clone(),
            services_part_limit: settings.services_part_limit,
            layers_dir: settings.layers_dir.clone(),
            layers_part_limit: settings.layers_part_limit,
            download_dir: settings.download_dir.clone(),
        };
        let space = Space::new(space, Arc::clone(&keeper));
        let fetcher = Fetcher::new(settings.fetch());
        space.set_downloads(fetcher.partial());
        Self {
            fetcher,
            space,
            settings,
            database,
            clock,
            locks,
            keeper,
            slots: Semaphore::new(PARALLEL),
            untold: Mutex::default(),
            verification: Verification::default(),
        }
    }

    /// Content that another took the place of, while instances may still run on
    /// it. The next `retain` removes it.
    pub(super) fn replaced(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.keeper.replaced()
    }

    /// Takes what was replaced so far. What is replaced from now on may be in
    /// use by what the caller does not know of yet.
    pub(super) fn take_replaced(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.replaced())
    }

    /// Says what instances are about to run on, until the next call.
    pub(super) fn hold(&self, roots: Vec<PathBuf>) {
        *locked(&self.keeper.held) = roots;
    }

    pub(super) fn untold(&self) -> MutexGuard<'_, Option<Retained>> {
        locked(&self.untold)
    }
}
