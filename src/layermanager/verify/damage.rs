//! What becomes of damaged content.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc::error::TrySendError;

use crate::layermanager::error::{ContentError, DamageError};
use crate::layermanager::locks::locked;
use crate::layermanager::shared::{Item, Shared};
use crate::layermanager::store;
use crate::model::{Chain, Damage};

impl Shared {
    /// The item in `directory` is damaged, unless it is there no more: then it
    /// counts as not installed from now on, and who has to know is told.
    pub(in crate::layermanager) async fn damaged(
        &self,
        item: &Item,
        directory: &Path,
        error: &DamageError,
    ) -> Result<(), ContentError> {
        {
            // Nobody installs it meanwhile, or takes it for whole.
            let _lock = self.locks.lock(item.clone()).await;
            if self.directory_of(item).await?.as_deref() != Some(directory) {
                return Ok(());
            }
            match item {
                Item::Service(key) => {
                    store::remove_service(&self.database, key.clone(), None).await?;
                }
                Item::Layer(digest) => {
                    store::remove_layer(&self.database, digest.clone(), None).await?;
                }
            }
        }
        locked(&self.verification.proven).remove(directory);
        self.replaced().push(directory.to_owned());

        let damage = Damage {
            item: item.clone(),
            directory: directory.to_owned(),
            reason: Chain(error).to_string(),
        };
        tracing::error!(%item, reason = damage.reason, "installed content is damaged");
        let told = locked(&self.verification.told).clone();
        // It is told before the caller's own error is. Who hears of it may wait for
        // us, so we wait for nobody; there is no more damage than items.
        match told.map(|told| told.try_send(damage).map_err(|refused| (told, refused))) {
            None | Some(Ok(())) => {}
            Some(Err((_, TrySendError::Closed(damage)))) => {
                tracing::warn!(item = %damage.item, "nobody hears of the damage");
            }
            Some(Err((told, TrySendError::Full(damage)))) => {
                tokio::spawn(async move { drop(told.send(damage).await) });
            }
        }

        Ok(())
    }

    /// Where the item is installed, if it is.
    pub(super) async fn directory_of(&self, item: &Item) -> Result<Option<PathBuf>, ContentError> {
        Ok(match item {
            Item::Service(key) => store::service(&self.database, key.clone())
                .await?
                .map(|row| self.settings.services_dir.join(row.path)),
            Item::Layer(digest) => store::layer(&self.database, digest.clone())
                .await?
                .map(|row| self.settings.layers_dir.join(row.path)),
        })
    }
}
