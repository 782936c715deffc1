//! Cached content goes when its time has run out.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::error::ContentError;
use super::shared::{Item, Shared};
use super::spawn::blocking;
use super::{reconcile, store};
use crate::model::Chain;

/// How often it is looked for.
const PERIOD: Duration = Duration::from_hours(1);

/// Looks now and then, until there is no handle any more.
pub(super) async fn run(shared: Arc<Shared>, mut alive: watch::Receiver<()>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = alive.changed() => return,
        }
        if let Err(error) = expire(&shared, now()).await {
            tracing::warn!(error = %Chain(&error), "cannot remove cached content");
        }
    }
}

/// Removes what has been cached for its time at `now`. What is taken into use
/// meanwhile stays.
pub(super) async fn expire(shared: &Shared, now: i64) -> Result<(), ContentError> {
    let settings = &shared.settings;
    let limit = before(now, settings.service_ttl);
    for row in store::expired_services(&shared.database, limit).await? {
        let _lock = shared.locks.lock(Item::Service(row.key.clone())).await;
        if store::remove_service(&shared.database, row.key, Some(limit)).await? {
            let path = settings.services_dir.join(row.path);
            blocking(move || reconcile::remove(&path)).await??;
        }
    }

    let limit = before(now, settings.layer_ttl);
    for row in store::expired_layers(&shared.database, limit).await? {
        let _lock = shared.locks.lock(Item::Layer(row.digest.clone())).await;
        if store::remove_layer(&shared.database, row.digest, Some(limit)).await? {
            let path = settings.layers_dir.join(row.path);
            blocking(move || reconcile::remove(&path)).await??;
        }
    }
    Ok(())
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn before(now: i64, ttl: Duration) -> i64 {
    now.saturating_sub(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX))
}
