//! The handle.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::error::ContentError;
use super::expiry;
use super::fetch::{Downloads, FetchSettings, Patience};
use super::keeper::Users;
use super::listing;
use super::shared::{Alive, Retained, Shared};
use super::spawn::spawned;
use super::takeover;
use super::verify::{self, CheckSettings};
use crate::model::{ContentOverview, Damage, LayerInfo, ServiceContent, ServiceInfo, ServiceKey};
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
    /// Where packages are that are being downloaded. What can be gone on with
    /// outlives a start, nothing else does.
    pub download_dir: PathBuf,
    /// Root certificates that servers of packages may have besides the system's.
    pub ca_cert: Option<PathBuf>,
    /// Where an older release unpacked packages; cleared.
    pub extract_dir: PathBuf,
    /// How long a service is kept that is no longer in use.
    pub service_ttl: Duration,
    /// How long a layer is kept that is no longer in use.
    pub layer_ttl: Duration,
    /// Who knows what instances on this machine are made of.
    pub users: Users,
}

impl ContentSettings {
    pub(super) fn fetch(&self) -> FetchSettings {
        FetchSettings {
            directory: self.download_dir.clone(),
            ca_cert: self.ca_cert.clone(),
            patience: Patience::default(),
        }
    }
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
        tokio::spawn(takeover::check(Arc::clone(&shared), ends.clone()));
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
        let (_waits, caller) = watch::channel(());
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
        let (_waits, caller) = watch::channel(());
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

    /// Finds out whether all files of an installed service and of its layers are
    /// those that were installed, by their attributes: once for each item. Where
    /// these differ, content is read too.
    ///
    /// # Errors
    ///
    /// One is damaged; the error names the file.
    pub async fn prove(&self, service: &ServiceContent) -> Result<(), ContentError> {
        let (shared, alive, service) = self.job(service);
        spawned(async move { shared.prove(service, alive).await }).await
    }

    /// What is found damaged from now on, by whatever call. It counts as not
    /// installed from then on. The last receiver counts.
    #[must_use]
    pub fn damage(&self) -> mpsc::Receiver<Damage> {
        self.shared.verification.receiver()
    }

    /// Looks at all content: soon, now and then, and at full speed each time that
    /// `demand` says so. Ends with the last handle.
    pub fn check(
        &self,
        settings: CheckSettings,
        demand: mpsc::Receiver<()>,
    ) -> impl Future<Output = ()> + Send + use<> {
        verify::run(
            Arc::clone(&self.shared),
            self.alive.subscribe(),
            settings,
            demand,
        )
    }

    /// Says which directories instances run on. Content there stays when it is
    /// replaced, until a [`Content::retain`] after another call.
    pub fn hold(&self, directories: Vec<PathBuf>) {
        self.shared.hold(directories);
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

    /// All that is installed, for whoever wants to show it.
    ///
    /// # Errors
    ///
    /// The database refuses.
    pub async fn installed(&self) -> Result<Vec<ContentOverview>, ContentError> {
        Ok(listing::all(&self.shared.database).await?)
    }

    /// The downloads that are under way.
    #[must_use]
    pub fn downloads(&self) -> watch::Receiver<Downloads> {
        self.shared.fetcher.downloads()
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
