//! What is installed, for who wants to run it.

use std::path::PathBuf;

use aos_package::Digest;

use super::error::{ContentError, DamageError};
use super::installed::{is_directory, read_service};
use super::shared::{Item, Shared};
use super::spawn::blocking;
use super::store;
use super::verify::is_damage;
use crate::model::{ServiceContent, ServiceKey};

impl Shared {
    pub(super) async fn service(&self, key: ServiceKey) -> Result<ServiceContent, ContentError> {
        let row = store::service(&self.database, key.clone())
            .await?
            .ok_or_else(|| ContentError::NoService(key.clone()))?;
        let directory = self.settings.services_dir.join(&row.path);
        let (place, manifest_digest) = (directory.clone(), row.manifest_digest.clone());
        let read = match blocking(move || read_service(&place, &manifest_digest)).await? {
            Ok(read) => read,
            Err(source) => {
                let item = Item::Service(key.clone());
                return Err(self.refused(item, directory, key, source).await?);
            }
        };

        let layer_digests: Vec<_> = read.layers.iter().map(Digest::to_string).collect();
        let mut layers = read.roots;
        let root = layers.remove(0);
        for digest in &layer_digests {
            let missing = || ContentError::NoLayer {
                key: key.clone(),
                digest: digest.clone(),
            };
            let layer = store::layer(&self.database, digest.clone())
                .await?
                .ok_or_else(missing)?;
            let directory = self.settings.layers_dir.join(layer.path);
            let place = directory.clone();
            if let Err(source) = blocking(move || is_directory(&place)).await? {
                let item = Item::Layer(digest.clone());
                return Err(self.refused(item, directory, key, source).await?);
            }
            layers.push(directory);
        }

        Ok(ServiceContent {
            key,
            provider_id: row.provider_id.as_str().into(),
            gid: row.gid,
            manifest_digest: row.manifest_digest,
            root,
            layers,
            layer_digests,
            image: read.image,
            config: read.config,
        })
    }

    /// The item cannot be served. If it is damaged, others have to know.
    async fn refused(
        &self,
        item: Item,
        directory: PathBuf,
        key: ServiceKey,
        source: DamageError,
    ) -> Result<ContentError, ContentError> {
        if is_damage(&source) {
            self.damaged(&item, &directory, &source).await?;
        }
        Ok(ContentError::Damaged { key, source })
    }
}
