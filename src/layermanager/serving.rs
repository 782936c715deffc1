//! What is installed, for who wants to run it.

use aos_package::Digest;

use super::error::ContentError;
use super::installed::{is_directory, read_service};
use super::shared::Shared;
use super::spawn::blocking;
use super::store;
use crate::model::{ServiceContent, ServiceKey};

impl Shared {
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
            root,
            layers,
            layer_digests,
            image: read.image,
            config: read.config,
        })
    }
}
