//! The handle.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::error::ContentError;
use super::expiry;
use super::keeper::Users;
use super::shared::{Alive, Retained, Shared};
use super::spawn::spawned;
use crate::model::{LayerInfo, ServiceContent, ServiceInfo, ServiceKey};
use crate::storage::{Clock, Database};

/// Where content is, and how long what is not in use is kept.
#[derive(Clone, Debug)]
pub struct ContentSettings {
    /// Directory of the services.
    pub services_dir: PathBuf,
    /// Directory of the layers.
    pub layers_dir: PathBuf,
    /// Percent of its partition that `services_dir` may take; 0: no limit.
    pub services_part_limit: u8,
    /// Percent of its partition that `layers_dir` may take; 0: no limit.
    pub layers_part_limit: u8,
    /// Directory of the downloads.
    pub download_dir: PathBuf,
    /// Where an older release unpacked packages; cleared.
    pub extract_dir: PathBuf,
    /// How long a service is kept that is no longer in use.
    pub service_ttl: Duration,
    /// How long a layer is kept that is no longer in use.
    pub layer_ttl: Duration,
    /// Who knows what instances on this machine are made of.
    pub users: Users,
}

/// Handle of the installed services and layers. Work in progress is given up
/// when the last handle is gone.
#[derive(Clone, Debug)]
pub struct Content {
    shared: Arc<Shared>,
    alive: watch::Sender<()>,
}

impl Content {
    /// Makes the directories, and removes rows without one. Nothing on the disk
    /// is touched: what has no row goes with the first [`Content::retain`], when
    /// it is known what runs. From then on what has been cached for too long goes
    /// too, as long as there is a handle.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub async fn start(
        settings: ContentSettings,
        database: Database,
    ) -> Result<Self, ContentError> {
        let clock = Clock::start(&database).await?;
        let shared = Arc::new(Shared::new(settings, database, clock));
        shared.reconcile().await?;

        let (alive, ends) = watch::channel(());
        tokio::spawn(expiry::run(Arc::clone(&shared), ends));
        Ok(Self { shared, alive })
    }

    /// Has a service installed and in use. Returns the digests of the shared
    /// layers that it needs, the top first.
    ///
    /// Nothing is done for a service that is installed from the same package for
    /// the same group and is whole. Other content under the same version takes
    /// the place of the old; a call for what is being installed waits for that.
    /// What was begun goes on if the caller does not wait for it; what is still
    /// queued is given up.
    ///
    /// # Errors
    ///
    /// The package is not what CM says, not what a package is, or does not fit.
    pub async fn install_service(&self, info: &ServiceInfo) -> Result<Vec<String>, ContentError> {
        let (shared, alive, info) = self.job(info);
        let (_waits, caller) = oneshot::channel();
        spawned(async move {
            let key = info.key();
            shared
                .install_service(info, alive, caller)
                .await
                .map_err(|source| ContentError::InstallService { key, source })
        })
        .await
    }

    /// Has a layer installed and in use, as [`Content::install_service`] does.
    /// A layer is the same when its digest is.
    ///
    /// # Errors
    ///
    /// The package is not what CM says, not what a package is, or does not fit.
    pub async fn install_layer(&self, info: &LayerInfo) -> Result<(), ContentError> {
        let (shared, alive, info) = self.job(info);
        let (_waits, caller) = oneshot::channel();
        spawned(async move {
            let digest = info.digest.clone();
            shared
                .install_layer(info, alive, caller)
                .await
                .map_err(|source| ContentError::InstallLayer { digest, source })
        })
        .await
    }

    /// Reads an installed service and checks its documents against the digests
    /// that were stored; the files of its root only for being there.
    ///
    /// # Errors
    ///
    /// The service or one of its layers is not installed or damaged; the error
    /// names the file.
    pub async fn service(&self, key: &ServiceKey) -> Result<ServiceContent, ContentError> {
        let (shared, _, key) = self.job(key);
        spawned(async move { shared.service(key).await }).await
    }

    /// Says what is in use. All else is cached from now on, and removed when its
    /// time has run out. Content that was replaced, and what had no row at start,
    /// is removed now unless an instance is made of it. What cannot be removed is
    /// tried again by the next call.
    ///
    /// # Errors
    ///
    /// The database refuses: it is told again in a while. Or it is not known
    /// what instances are made of: nothing is removed.
    pub async fn retain(
        &self,
        services: Vec<ServiceKey>,
        layers: Vec<String>,
    ) -> Result<(), ContentError> {
        let shared = Arc::clone(&self.shared);
        let replaced = shared.take_replaced();
        let retained = Retained { services, layers };
        spawned(async move { shared.retain(retained, replaced).await }).await
    }

    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    fn job<T: Clone>(&self, subject: &T) -> (Arc<Shared>, Alive, T) {
        (
            Arc::clone(&self.shared),
            self.alive.subscribe(),
            subject.clone(),
        )
    }
}
