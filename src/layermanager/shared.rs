//! What the handle's calls work on, and how they keep out of each other's way.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aos_package::{Digest, hex};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};

use super::content::ContentSettings;
use super::error::{ContentError, InstallError};
use super::install::{directory_name, stage_layer, stage_service, unique};
use super::installed::{is_directory, read_service};
use super::locks::Locks;
use super::spawn::blocking;
use super::staging::publish;
use super::store::{self, Installed, ServiceRow};
use super::{expiry, reconcile};
use crate::model::{Chain, LayerInfo, ServiceContent, ServiceInfo, ServiceKey};
use crate::storage::{Database, StorageError};

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
pub(super) type Caller = oneshot::Receiver<()>;

impl Shared {
    pub(super) fn new(settings: ContentSettings, database: Database) -> Self {
        Self {
            settings,
            database,
            locks: Locks::default(),
            slots: Semaphore::new(PARALLEL),
            replaced: Mutex::default(),
        }
    }

    /// Removes rows without a directory and directories without a row.
    pub(super) async fn reconcile(&self) -> Result<(), ContentError> {
        let settings = self.settings.clone();
        blocking(move || {
            reconcile::prepare(&settings.services_dir)?;
            reconcile::prepare(&settings.layers_dir)?;
            reconcile::clear(&settings.extract_dir)
        })
        .await??;

        let mut services = HashSet::new();
        for row in store::services(&self.database).await? {
            if !reconcile::is_absent(&self.settings.services_dir.join(&row.path)) {
                services.insert(relative(&self.settings.services_dir, &row.path));
            } else {
                tracing::warn!(service = %row.key, "its directory is missing: not installed");
                store::remove_service(&self.database, row.key, None).await?;
            }
        }
        let mut layers = HashSet::new();
        for row in store::layers(&self.database).await? {
            if !reconcile::is_absent(&self.settings.layers_dir.join(&row.path)) {
                layers.insert(relative(&self.settings.layers_dir, &row.path));
            } else {
                tracing::warn!(
                    layer = row.digest,
                    "its directory is missing: not installed"
                );
                store::remove_layer(&self.database, row.digest, None).await?;
            }
        }

        let settings = self.settings.clone();
        blocking(move || {
            reconcile::sweep_services(&settings.services_dir, &services)?;
            reconcile::sweep_layers(&settings.layers_dir, &layers)
        })
        .await?
    }

    pub(super) async fn install_service(
        &self,
        info: ServiceInfo,
        alive: Alive,
        mut caller: Caller,
    ) -> Result<Vec<String>, InstallError> {
        let lock = self.locks.lock(Item::Service(info.key()));
        let _lock = wanted(&mut caller, lock).await?;
        let present = store::service(&self.database, info.key()).await?;
        if let Some(row) = &present
            && let Some(layers) = self.still_whole(row, &info).await?
        {
            store::use_service(&self.database, info).await?;
            return Ok(layers);
        }

        let _slot = self.slot(&mut caller).await?;
        let name = directory_name(&info);
        let directory = self.settings.services_dir.clone();
        let target = directory.join(&name);
        let (work, place) = (info.clone(), target.clone());
        let service = blocking(move || {
            let staged = stage_service(&work, &directory, &|| is_stopped(&alive))?;
            publish(&staged.staging, &directory, &place)?;
            Ok::<_, InstallError>(staged.service)
        })
        .await??;

        let installed = Installed {
            path: name,
            manifest_digest: service.manifest_digest,
            package_digest: hex(&info.sha512),
            size: service.size,
        };
        let stored = store::put_service(&self.database, info, installed).await;
        let old = present.map(|old| self.settings.services_dir.join(old.path));
        self.settle(stored, target, old).await?;

        Ok(service.layers)
    }

    /// The layers of an installed service, if it is what is asked for.
    async fn still_whole(
        &self,
        row: &ServiceRow,
        info: &ServiceInfo,
    ) -> Result<Option<Vec<String>>, InstallError> {
        let other_package = row
            .package_digest
            .as_ref()
            .is_some_and(|digest| *digest != hex(&info.sha512));
        if other_package || row.gid != info.gid {
            return Ok(None);
        }

        let directory = self.settings.services_dir.join(&row.path);
        let digest = row.manifest_digest.clone();
        let read = blocking(move || read_service(&directory, &digest)).await?;
        Ok(match read {
            Ok(service) => Some(service.layers.iter().map(Digest::to_string).collect()),
            Err(error) => {
                let service = info.key();
                tracing::warn!(%service, error = %Chain(&error), "damaged: installing it again");
                None
            }
        })
    }

    pub(super) async fn install_layer(
        &self,
        info: LayerInfo,
        alive: Alive,
        mut caller: Caller,
    ) -> Result<(), InstallError> {
        let digest: Digest = info.digest.parse()?;
        let lock = self.locks.lock(Item::Layer(info.digest.clone()));
        let _lock = wanted(&mut caller, lock).await?;
        let present = store::layer(&self.database, info.digest.clone())
            .await?
            .map(|row| self.settings.layers_dir.join(row.path));
        if let Some(path) = present.clone()
            && blocking(move || is_directory(&path).is_ok()).await?
        {
            store::put_layer(&self.database, info, None).await?;
            return Ok(());
        }

        let _slot = self.slot(&mut caller).await?;
        let directory = self.settings.layers_dir.clone();
        let name = format!("{}/{}", digest.algorithm().name(), digest.hex());
        // Something may still use what is or was there.
        let taken = present.is_some() || directory.join(&name).symlink_metadata().is_ok();
        let name = if taken { unique(&name) } else { name };
        let target = directory.join(&name);
        let (work, place) = (info.clone(), target.clone());
        let size = blocking(move || {
            let staged = stage_layer(&work, &digest, &directory, &|| is_stopped(&alive))?;
            publish(&staged.staging, &directory, &place)?;
            Ok::<_, InstallError>(staged.size)
        })
        .await??;

        let stored = store::put_layer(&self.database, info, Some((name, size))).await;
        self.settle(stored, target, present).await
    }

    pub(super) async fn service(&self, key: ServiceKey) -> Result<ServiceContent, ContentError> {
        let row = store::service(&self.database, key.clone())
            .await?
            .ok_or_else(|| ContentError::NoService(key.clone()))?;
        let damaged = {
            let key = key.clone();
            move |source| ContentError::Damaged { key, source }
        };
        let directory = self.settings.services_dir.join(&row.path);
        let manifest_digest = row.manifest_digest.clone();
        let read = blocking(move || read_service(&directory, &manifest_digest))
            .await?
            .map_err(damaged.clone())?;

        let layer_digests: Vec<_> = read.layers.iter().map(Digest::to_string).collect();
        let mut layers = Vec::new();
        for digest in &layer_digests {
            let missing = || ContentError::NoLayer {
                key: key.clone(),
                digest: digest.clone(),
            };
            let layer = store::layer(&self.database, digest.clone())
                .await?
                .ok_or_else(missing)?;
            layers.push(self.settings.layers_dir.join(layer.path));
        }
        let layers = blocking(move || {
            layers.iter().try_for_each(|layer| is_directory(layer))?;
            Ok(layers)
        })
        .await?
        .map_err(damaged)?;

        Ok(ServiceContent {
            key,
            provider_id: row.provider_id.as_str().into(),
            gid: row.gid,
            manifest_digest: row.manifest_digest,
            root: read.root,
            layers,
            layer_digests,
            image: read.image,
            config: read.config,
        })
    }

    /// After the attempt to write the row: with it, `old` is only there for who
    /// still uses it; without it, what was published as `new` goes again.
    async fn settle(
        &self,
        stored: Result<(), StorageError>,
        new: PathBuf,
        old: Option<PathBuf>,
    ) -> Result<(), InstallError> {
        match stored {
            Ok(()) => {
                self.replaced().extend(old);
                Ok(())
            }
            Err(error) => {
                if let Err(error) = blocking(move || reconcile::remove(&new)).await? {
                    tracing::warn!(error = %Chain(&error), "cannot take back what was published");
                }
                Err(error.into())
            }
        }
    }

    /// Takes what was replaced so far. What is replaced from now on may be in
    /// use by what the caller does not know of yet.
    pub(super) fn take_replaced(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.replaced())
    }

    pub(super) async fn retain(
        &self,
        services: Vec<ServiceKey>,
        layers: Vec<String>,
        replaced: Vec<PathBuf>,
    ) -> Result<(), ContentError> {
        let left = blocking(move || {
            let removed = |path: &PathBuf| {
                reconcile::remove(path)
                    .inspect_err(|error| {
                        tracing::warn!(error = %Chain(error), "replaced content is left for now");
                    })
                    .is_ok()
            };
            let left = replaced.into_iter().filter(|path| !removed(path));
            left.collect::<Vec<_>>()
        })
        .await?;
        self.replaced().extend(left);

        Ok(store::retain(&self.database, services, layers, expiry::now()).await?)
    }

    async fn slot(&self, caller: &mut Caller) -> Result<SemaphorePermit<'_>, InstallError> {
        wanted(caller, self.slots.acquire())
            .await?
            .map_err(|_| InstallError::Stopped)
    }

    pub(super) fn replaced(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits as long as the caller does: what was superseded while it was queued must
/// not keep what superseded it waiting.
async fn wanted<T>(caller: &mut Caller, wait: impl Future<Output = T>) -> Result<T, InstallError> {
    tokio::select! {
        biased;
        _ = caller => Err(InstallError::Abandoned),
        done = wait => Ok(done),
    }
}

fn is_stopped(alive: &Alive) -> bool {
    alive.has_changed().is_err()
}

/// A row's path as a scan of `directory` finds it; older releases stored
/// absolute ones.
fn relative(directory: &Path, path: &str) -> String {
    Path::new(path)
        .strip_prefix(directory)
        .map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}
