//! What the handle's calls work on, and how they keep out of each other's way.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aos_package::{Digest, hex};
use tokio::sync::{Semaphore, watch};

use super::content::ContentSettings;
use super::error::{ContentError, InstallError};
use super::install::{directory_name, stage_layer, stage_service};
use super::installed::{is_directory, read_service};
use super::locks::Locks;
use super::spawn::blocking;
use super::staging::{Published, publish};
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
    slots: Semaphore,
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
            if is_directory(&self.settings.services_dir.join(&row.path)).is_ok() {
                services.insert(relative(&self.settings.services_dir, &row.path));
            } else {
                tracing::warn!(service = %row.key, "its directory is missing: not installed");
                store::remove_service(&self.database, row.key, None).await?;
            }
        }
        let mut layers = HashSet::new();
        for row in store::layers(&self.database).await? {
            if is_directory(&self.settings.layers_dir.join(&row.path)).is_ok() {
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
    ) -> Result<Vec<String>, InstallError> {
        let _lock = self.locks.lock(Item::Service(info.key())).await;
        let present = store::service(&self.database, info.key()).await?;
        if let Some(row) = &present
            && let Some(layers) = self.still_whole(row, &info).await?
        {
            store::use_service(&self.database, info).await?;
            return Ok(layers);
        }

        let _slot = self.slot().await?;
        let name = directory_name(&info);
        let directory = self.settings.services_dir.clone();
        let target = directory.join(&name);
        let work = info.clone();
        let (service, published) = blocking(move || {
            let staged = stage_service(&work, &directory, &|| is_stopped(&alive))?;
            let published = publish(staged.staging, &directory, &target)?;
            Ok::<_, InstallError>((staged.service, published))
        })
        .await??;

        let installed = Installed {
            path: name.clone(),
            manifest_digest: service.manifest_digest,
            package_digest: hex(&info.sha512),
            size: service.size,
        };
        let stored = store::put_service(&self.database, info, installed).await;
        self.settle(stored, published).await?;

        if let Some(old) = present.filter(|old| old.path != name) {
            let old = self.settings.services_dir.join(old.path);
            self.replaced().push(old);
        }
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
    ) -> Result<(), InstallError> {
        let digest: Digest = info.digest.parse()?;
        let _lock = self.locks.lock(Item::Layer(info.digest.clone())).await;
        if let Some(row) = store::layer(&self.database, info.digest.clone()).await? {
            let path = self.settings.layers_dir.join(row.path);
            if blocking(move || is_directory(&path).is_ok()).await? {
                store::put_layer(&self.database, info, None).await?;
                return Ok(());
            }
        }

        let _slot = self.slot().await?;
        let name = format!("{}/{}", digest.algorithm().name(), digest.hex());
        let directory = self.settings.layers_dir.clone();
        let target = directory.join(&name);
        let work = info.clone();
        let (size, published) = blocking(move || {
            let staged = stage_layer(&work, &digest, &directory, &|| is_stopped(&alive))?;
            let published = publish(staged.staging, &directory, &target)?;
            Ok::<_, InstallError>((staged.size, published))
        })
        .await??;

        let stored = store::put_layer(&self.database, info, Some((name, size))).await;
        self.settle(stored, published).await
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

    /// After the attempt to write the row: without it, what was published goes
    /// again.
    async fn settle(
        &self,
        stored: Result<(), StorageError>,
        published: Published,
    ) -> Result<(), InstallError> {
        match (stored, published.replaced) {
            (stored, Some(old)) => {
                // The same content as before, only whole: it has its row.
                self.replaced().push(old);
                Ok(stored?)
            }
            (Ok(()), None) => Ok(()),
            (Err(error), None) => {
                let target = published.target;
                if let Err(error) = blocking(move || reconcile::remove(&target)).await? {
                    tracing::warn!(error = %Chain(&error), "cannot take back what was published");
                }
                Err(error.into())
            }
        }
    }

    pub(super) async fn retain(
        &self,
        services: Vec<ServiceKey>,
        layers: Vec<String>,
    ) -> Result<(), ContentError> {
        store::retain(&self.database, services, layers, expiry::now()).await?;
        let replaced = std::mem::take(&mut *self.replaced());
        blocking(move || replaced.iter().try_for_each(|path| reconcile::remove(path))).await?
    }

    async fn slot(&self) -> Result<tokio::sync::SemaphorePermit<'_>, InstallError> {
        self.slots
            .acquire()
            .await
            .map_err(|_| InstallError::Stopped)
    }

    fn replaced(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
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
