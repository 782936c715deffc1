//! The content of services of the older release is checked once, by its hash.
//!
//! A hash that is wrong is damage only if that of another service of this
//! device is right: if none is, we hash in another way than the build of the
//! release that ran here, and nothing can be said. Damaged content is installed
//! anew with CM's next list.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::hash::{Legacy, verify_legacy};
use super::store;
use crate::layermanager::error::{ContentError, DamageError};
use crate::layermanager::installed::legacy_root;
use crate::layermanager::shared::{Alive, Shared};
use crate::layermanager::spawn::blocking;
use crate::layermanager::store::{ServiceRow, service};
use crate::model::{Chain, ServiceKey};

/// Checks what has not been checked yet, if there is any.
pub(in crate::layermanager) async fn check(shared: Arc<Shared>, alive: Alive) {
    if let Err(error) = check_all(&shared, &alive).await {
        warn!(error = %Chain(&error), "cannot check the content of the older release");
    }
}

impl Shared {
    /// What the check found out about a service.
    pub(in crate::layermanager) fn known_damage(&self, row: &ServiceRow) -> Option<DamageError> {
        let path = self.settings.services_dir.join(&row.path);
        let changed = row.package_digest.as_deref() == Some(store::CHANGED);
        changed.then_some(DamageError::Content { path })
    }

    /// Whether the service is from the older release and not checked yet.
    pub(in crate::layermanager) async fn awaits_check(
        &self,
        key: &ServiceKey,
    ) -> Result<bool, ContentError> {
        Ok(store::unchecked(&self.database).await?.contains(key))
    }
}

async fn check_all(shared: &Shared, alive: &Alive) -> Result<(), ContentError> {
    let mut verified = 0;
    let mut different = Vec::new();
    for key in store::unchecked(&shared.database).await? {
        match verdict(shared, alive, &key).await? {
            Some(Legacy::Verified) => verified += 1,
            Some(Legacy::Mismatch) => different.push(key),
            Some(Legacy::NotVerifiable(reason)) => {
                info!(service = %key, reason, "the older release's hash tells nothing of it");
            }
            // The next start takes it up again.
            Some(Legacy::Stopped) => return Ok(()),
            None => {}
        }
    }

    let is_proven = verified > 0;
    for key in different {
        if is_proven {
            error!(service = %key,
                "its content has changed since release 7.2.3 installed it: the next list of CM has \
                 it installed anew");
            store::distrust(&shared.database, key).await?;
        } else {
            warn!(service = %key,
                "it has not the hash that release 7.2.3 stored, and nothing else here has: it cannot \
                 be told whether it is damaged");
        }
    }
    if is_proven {
        info!(verified, "content of release 7.2.3 is what it installed");
    }
    Ok(store::checked(&shared.database).await?)
}

/// `None`: there is nothing of the older release to check any more.
async fn verdict(
    shared: &Shared,
    alive: &Alive,
    key: &ServiceKey,
) -> Result<Option<Legacy>, ContentError> {
    let Some(row) = service(&shared.database, key.clone()).await? else {
        return Ok(None);
    };
    if row.package_digest.is_some() {
        return Ok(None);
    }

    let directory = shared.settings.services_dir.join(row.path);
    let alive = alive.clone();
    let verdict = blocking(move || {
        let (root, digest) = legacy_root(&directory, &row.manifest_digest)?;
        let stopped = || alive.has_changed().is_err();
        Some(verify_legacy(&root, &digest, &stopped))
    })
    .await?;
    Ok(verdict)
}
