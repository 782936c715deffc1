//! Installs: what is there already, what has to be staged, published and stored.

use std::path::{Path, PathBuf};

use aos_package::{Digest, hex};

use super::error::InstallError;
use super::fetch::{PackageId, closed};
use super::install::{Source, directory_name, stage_layer, stage_service, unique};
use super::installed::{is_directory, read_service};
use super::reconcile;
use super::record::beside;
use super::shared::{Alive, Caller, Item, Shared};
use super::space::{Kind, disk_usage};
use super::spawn::blocking;
use super::staging::{Staging, publish};
use super::store::{self, Installed, ServiceRow};
use super::supply::Order;
use crate::model::{Chain, LayerInfo, ServiceInfo};
use crate::storage::StorageError;

impl Shared {
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
        if info.url.is_empty() {
            let damage = present.and_then(|row| self.known_damage(&row));
            return Err(InstallError::NoUrl { damage });
        }

        let name = directory_name(&info);
        let directory = self.settings.services_dir.clone();
        let target = directory.join(&name);
        let (work, place) = (info.clone(), target.clone());
        let order = Order {
            item: format!("service {}", info.key()),
            url: info.url.clone(),
            package: PackageId::from(&info),
            directory: Kind::Services,
        };
        let stage = move |source: Source<'_>| {
            let staged = stage_service(&work, &directory, source)?;
            let size = size_of(&staged.staging)?;
            publish(&staged.staging, &directory, &place)?;
            Ok((staged.service, size, staged.room))
        };
        // The room is kept until the row says what was taken.
        let ((service, size, _room), supplied) = self.supply(order, alive, caller, stage).await?;

        let installed = Installed {
            path: name,
            manifest_digest: service.manifest_digest,
            package_digest: hex(&info.sha512),
            size,
        };
        let stored = store::put_service(&self.database, info, installed).await;
        let old = present.map(|old| self.settings.services_dir.join(old.path));
        self.settle(stored, target, old).await?;
        supplied.finish().await?;

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
            Err(error) if info.url.is_empty() => {
                return Err(InstallError::NoUrl {
                    damage: Some(error),
                });
            }
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
        if info.url.is_empty() {
            return Err(InstallError::NoUrl { damage: None });
        }

        let directory = self.settings.layers_dir.clone();
        let name = format!("{}/{}", digest.algorithm().name(), digest.hex());
        // Something may still use what is or was there.
        let place = directory.join(&name);
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        let is_taken = move || is_there(&place) || is_there(&beside(&place));
        let taken = present.is_some() || blocking(is_taken).await?;
        let name = if taken { unique(&name) } else { name };
        let target = directory.join(&name);
        let place = target.clone();
        let order = Order {
            item: format!("layer {digest}"),
            url: info.url.clone(),
            package: PackageId::from(&info),
            directory: Kind::Layers,
        };
        let stage = move |source: Source<'_>| {
            let staged = stage_layer(&digest, &directory, source)?;
            let size = size_of(&staged.staging)?;
            publish(&staged.staging, &directory, &place)?;
            Ok((size, staged.room))
        };
        let ((size, _room), supplied) = self.supply(order, alive, caller, stage).await?;

        let stored = store::put_layer(&self.database, info, Some((name, size))).await;
        self.settle(stored, target, present).await?;
        supplied.finish().await
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
}

/// Waits as long as the caller does: what was superseded while it was queued must
/// not keep what superseded it waiting.
pub(super) async fn wanted<T>(
    caller: &mut Caller,
    wait: impl Future<Output = T>,
) -> Result<T, InstallError> {
    tokio::select! {
        biased;
        () = closed(caller) => Err(InstallError::Abandoned),
        done = wait => Ok(done),
    }
}

/// Bytes that staged content takes of the disk.
fn size_of(staging: &Staging) -> Result<u64, InstallError> {
    let path = staging.content();
    match disk_usage(&path) {
        Ok(usage) => Ok(usage.bytes),
        Err(source) => Err(InstallError::Write { path, source }),
    }
}
