//! What stays and what goes: at start, and when the list of what is in use changes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::ContentError;
use super::shared::Shared;
use super::spawn::blocking;
use super::{expiry, reconcile, store};
use crate::model::{Chain, ServiceKey};

impl Shared {
    /// Removes rows without a directory and directories without a row.
    pub(super) async fn reconcile(&self) -> Result<(), ContentError> {
        let settings = self.settings.clone();
        blocking(move || {
            reconcile::prepare(&settings.services_dir)?;
            reconcile::prepare(&settings.layers_dir)?;
            reconcile::clear(&settings.extract_dir, &settings.download_dir)
        })
        .await??;
        self.clear_downloads().await?;

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

    async fn clear_downloads(&self) -> Result<(), ContentError> {
        let fetcher = self.fetcher.clone();
        let swept = blocking(move || fetcher.sweep(SystemTime::now())).await?;
        swept.map_err(|source| ContentError::Downloads { source })
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
}

/// A row's path as a scan of `directory` finds it; older releases stored
/// absolute ones.
fn relative(directory: &Path, path: &str) -> String {
    Path::new(path)
        .strip_prefix(directory)
        .map_or_else(|_| path.to_owned(), |path| path.display().to_string())
}
