//! What changes by itself or by a word of CM while a list stays: overridden
//! variables, and whether the cloud is there.
//!
//! Owns both as they are stored, and knows when to look again. What follows for
//! the instances is decided by the state, which gets each change as an event.

mod store;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use self::store::ConditionStore;
use super::event::Event;
use super::host::{Host, Moment};
use super::offline::{Calendar, Cloud, Offline};
use super::overrides::Overrides;
use crate::model::{Chain, EnvVarStatus, EnvVarsOverride, EnvVarsStatus, Responder};
use crate::storage::{Database, StorageError};

/// The longest sleep while something is to end: the timer neither notices jumps
/// of the wall clock nor runs while the machine sleeps.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How often the last time with the cloud is stored while nothing happens.
const NOTE_EVERY: Duration = Duration::from_secs(5 * 60);

/// See the module.
#[derive(Debug)]
pub(super) struct Conditions<H> {
    host: Arc<H>,
    store: ConditionStore,
    calendar: Calendar,
    overrides: Overrides,
    offline: Offline,
    /// What the state was told of the cloud.
    told: Cloud,
    /// When the last time with the cloud was noted, since boot.
    noted: Duration,
}

impl<H: Host> Conditions<H> {
    /// Goes on from what is stored.
    pub(super) async fn load(host: Arc<H>, database: Database) -> Result<Self, StorageError> {
        let store = ConditionStore::new(database);
        let stored = store.load().await?;
        let now = host.now();
        let calendar = Calendar::new(stored.latest, &now);
        let offline = Offline::start(stored.online.as_ref(), &calendar, &now);
        let told = offline.cloud(&now);
        let mut conditions = Self {
            host,
            store,
            calendar,
            overrides: stored.overrides,
            offline,
            told,
            noted: now.since_boot,
        };
        conditions.drop_expired(&now).await;
        conditions.note(&now).await;

        Ok(conditions)
    }

    pub(super) fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    pub(super) fn cloud(&self) -> Cloud {
        self.told
    }

    /// A new list replaces the one before, once it is stored. What cannot be
    /// stored is not in force: CM is told, and the list before stays.
    pub(super) async fn override_with(
        &mut self,
        list: Vec<EnvVarsOverride>,
        answer: Responder<Vec<EnvVarsStatus>>,
    ) -> Option<Event> {
        let now = self.calendar.time(&self.host.now());
        let (accepted, mut answers) = Overrides::accept(list, now);
        let event = match self.store.save_overrides(&accepted).await {
            Ok(()) => {
                info!(
                    variables = accepted.len(),
                    "environment variables are overridden"
                );
                self.overrides = accepted;
                Some(Event::Overridden(self.overrides.clone()))
            }
            Err(error) => {
                error!(error = %Chain(&error), "overridden environment variables cannot be stored");
                refuse_all(&mut answers, &error);
                None
            }
        };
        if answer.send(answers).is_err() {
            info!("the connection that overrode variables is gone, and the answer with it");
        }

        event
    }

    /// CM says whether the cloud is there.
    pub(super) async fn cloud_is(&mut self, online: bool) -> Option<Event> {
        let now = self.host.now();
        if !self.offline.tell(online, &now) {
            return None;
        }
        info!(online, "cloud connection");
        self.note(&now).await;

        self.look_at_cloud(&now)
    }

    /// Looks at the clocks.
    pub(super) async fn look(&mut self) -> Vec<Event> {
        let now = self.host.now();
        let mut events = Vec::new();
        if self.drop_expired(&now).await {
            events.push(Event::Overridden(self.overrides.clone()));
        }
        events.extend(self.look_at_cloud(&now));
        if now.since_boot >= self.noted.saturating_add(NOTE_EVERY) {
            self.note(&now).await;
        }

        events
    }

    /// When to look again. `timeout` is how long the cloud may be away before the
    /// next instance has to stop.
    pub(super) fn due(&self, timeout: Option<Duration>) -> Instant {
        let now = self.host.now();
        let expiry = self.overrides.next_expiry().map(|end| {
            let time = self.calendar.time(&now);
            end.duration_since(time).unwrap_or_default()
        });
        let stop = match self.offline.cloud(&now) {
            Cloud::Away(away) => timeout.map(|timeout| timeout.saturating_sub(away)),
            Cloud::Unknown(_) => self.offline.left_for_cm(&now),
            Cloud::There => None,
        };
        let note = self.noted.saturating_add(NOTE_EVERY);
        let note = note.saturating_sub(now.since_boot);
        let ends = expiry.into_iter().chain(stop);
        let soonest = ends.map(|end| end.min(LOOK_AGAIN)).chain([note]).min();

        Instant::now() + soonest.unwrap_or(NOTE_EVERY)
    }

    fn look_at_cloud(&mut self, now: &Moment) -> Option<Event> {
        let cloud = self.offline.cloud(now);
        let changed = self.told != cloud;
        self.told = cloud;
        changed.then_some(Event::Cloud(cloud))
    }

    /// What has ended is not in force any more, whether or not that can be stored:
    /// it ends again at the next start.
    async fn drop_expired(&mut self, now: &Moment) -> bool {
        let Some(rest) = self.overrides.without_expired(self.calendar.time(now)) else {
            return false;
        };
        let expired = self.overrides.len() - rest.len();
        info!(expired, "overridden environment variables have expired");
        if let Err(error) = self.store.save_overrides(&rest).await {
            warn!(error = %Chain(&error), "that they have expired cannot be stored");
        }
        self.overrides = rest;

        true
    }

    async fn note(&mut self, now: &Moment) {
        let last = self.offline.last_online(&self.calendar, now);
        if let Err(error) = self.store.save_online(&last).await {
            warn!(error = %Chain(&error), "the last time with the cloud cannot be stored");
        }
        self.noted = now.since_boot;
    }
}

fn refuse_all(answers: &mut [EnvVarsStatus], error: &StorageError) {
    let fresh = |status: &&mut EnvVarStatus| status.error.is_empty();
    for status in answers
        .iter_mut()
        .flat_map(|each| &mut each.vars)
        .filter(fresh)
    {
        status.error = format!("environment variable cannot be stored: {}", Chain(error));
    }
}
