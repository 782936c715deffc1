//! Cached content goes when its time has run out.
//!
//! The time counts from when the item was no longer desired. With a time of 0 it
//! goes with the `retain` that says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::error::ContentError;
use super::shared::{Item, Shared};
use crate::model::Chain;

/// How often it is looked for.
const PERIOD: Duration = Duration::from_hours(1);
/// How often the database is told again what it could not be told.
const RETRY: Duration = Duration::from_mins(1);

/// Looks now and then, until there is no handle any more. At start `retain` is
/// what looks first: before that, nothing goes.
pub(super) async fn run(shared: Arc<Shared>, mut alive: watch::Receiver<()>) {
    let mut due = Instant::now() + PERIOD;
    loop {
        let retry = Instant::now() + RETRY;
        tokio::select! {
            () = sleep_until(due.min(retry)) => {}
            _ = alive.changed() => return,
        }
        let untold = shared.untold().take();
        if let Some(retained) = untold
            && let Err(error) = shared.tell(retained).await
        {
            tracing::warn!(error = %Chain(&error), "cannot note which content is in use");
        }
        if Instant::now() < due {
            continue;
        }

        due = Instant::now() + PERIOD;
        let now = shared.clock.now();
        if let Err(error) = shared.clock.store(now).await {
            tracing::warn!(error = %Chain(&error), "cannot store the time");
        }
        if let Err(error) = expire(&shared, now).await {
            tracing::warn!(error = %Chain(&error), "cannot look for what to remove");
        }
    }
}

/// Removes what has been cached for its time at `now`. What is taken into use
/// meanwhile stays, and so does what an instance runs on. What cannot be removed
/// keeps nothing else from going.
pub(super) async fn expire(shared: &Shared, now: i64) -> Result<(), ContentError> {
    let settings = &shared.settings;
    let limit_of = |item: &Item| match item {
        Item::Service(_) => before(now, settings.service_ttl),
        Item::Layer(_) => before(now, settings.layer_ttl),
    };
    let mut expired = shared.keeper.cached().await?;
    expired.retain(|cached| cached.since <= limit_of(&cached.item));
    if expired.is_empty() {
        return Ok(());
    }

    let in_use = shared.keeper.in_use().await?;
    for cached in expired.iter().filter(|cached| !in_use.holds(&cached.path)) {
        let _lock = shared.locks.lock(cached.item.clone()).await;
        let limit = limit_of(&cached.item);
        if let Err(error) = shared.keeper.remove(cached, limit).await {
            let path = cached.path.display();
            tracing::warn!(%path, error = %Chain(&error), "cannot remove cached content");
        }
    }
    Ok(())
}

fn before(now: i64, ttl: Duration) -> i64 {
    now.saturating_sub(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX))
}
