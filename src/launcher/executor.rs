//! Carries out what the state asks for, and brings the outcomes back.
//!
//! Each action runs in a task of its own, so a hung one holds up only its own
//! instance. A panic of one is passed on to the loop.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, warn};

use super::bounds::Bounds;
use super::event::{Action, Event, Outcome, Ticket, Trial};
use super::host::{Blueprint, Host, HostError, Resource};
use super::store::{Held, Store};
use crate::model::{Alert, AlertKind, Chain, ErrorInfo, Report};

/// After how long a start that could not be stored is tried again.
const STORE_AGAIN: Duration = Duration::from_secs(10);

/// The hands of the launcher.
#[derive(Debug)]
pub(super) struct Executor<H> {
    host: Arc<H>,
    store: Store,
    bounds: Arc<Bounds>,
    work: JoinSet<Option<Event>>,
    installs: Vec<AbortHandle>,
    reports: mpsc::Sender<Report>,
}

impl<H: Host> Executor<H> {
    pub(super) fn new(host: Arc<H>, store: Store, reports: mpsc::Sender<Report>) -> Self {
        Self {
            host,
            store,
            bounds: Arc::default(),
            work: JoinSet::new(),
            installs: Vec::new(),
            reports,
        }
    }

    /// Begins an action.
    pub(super) fn begin(&mut self, action: Action) {
        let host = self.host.clone();
        let store = self.store.clone();
        let bounds = self.bounds.clone();
        match action {
            Action::CancelInstalls => {
                for install in self.installs.drain(..) {
                    install.abort();
                }
            }
            Action::InstallService { ticket, service } => {
                let install = self.work.spawn(async move {
                    let outcome = outcome(host.install_service(&service).await);
                    Some(Event::ServiceInstalled { ticket, key: service.key(), outcome })
                });
                self.installs.push(install);
            }
            Action::InstallLayer { ticket, layer } => {
                let install = self.work.spawn(async move {
                    let outcome = outcome(host.install_layer(&layer).await);
                    Some(Event::LayerInstalled { ticket, digest: layer.digest, outcome })
                });
                self.installs.push(install);
            }
            Action::Retain { ticket, in_use } => self.spawn(async move {
                if let Err(error) = host.retain(in_use).await {
                    warn!(error = %Chain(&error), "cannot note which content is in use");
                }
                Some(Event::Retained { ticket })
            }),
            Action::Prove { ticket, blueprint } => self.spawn(async move {
                let outcome = outcome(host.prove(&blueprint).await);
                Some(Event::Proven { ticket, id: blueprint.id, outcome })
            }),
            Action::Alert { message } => self.tell(AlertKind::own(message)),
            Action::DeviceAlert { ident, device, message } => {
                self.tell(AlertKind::DeviceAllocate { ident, device, message });
            }
            Action::Prepare { ticket, order } => self.spawn(async move {
                let outcome = outcome(host.prepare(&order).await).map(Arc::new);
                Some(Event::Prepared { ticket, id: order.id, outcome })
            }),
            Action::Acquire { blueprint, resource, trial } => self.spawn(async move {
                let id = blueprint.id;
                let work = acquire(&*host, &store, &blueprint, resource, trial.as_ref());
                Some(match bounds.acquire(resource, work).await {
                    Ok(outcome) => Event::StepDone { id, outcome },
                    Err(error) => Event::NotStored { id, error },
                })
            }),
            Action::Release { target, resource } => self.spawn(async move {
                let work = host.release(&target, resource);
                let outcome = outcome(bounds.release(resource, work).await);
                if let Err(error) = &outcome {
                    warn!(instance_id = %target.id, error = error.message, "cannot give back {resource:?}");
                }
                Some(Event::StepDone { id: target.id, outcome })
            }),
            Action::Change { blueprint, trial } => self.spawn(async move {
                let id = blueprint.id;
                Some(match change(&*host, &store, &blueprint, trial.as_ref()).await {
                    Err(error) if error.needs_restart() => {
                        Event::Unchangeable { id, error: error.info() }
                    }
                    result => Event::StepDone { id, outcome: outcome(result) },
                })
            }),
            Action::CheckSecret { ticket, blueprint } => {
                self.spawn(async move { check_secret(&*host, ticket, &blueprint).await });
            }
            Action::TellWhoIsGone => self.spawn(async move {
                host.tell_who_is_gone().await;
                None
            }),
            Action::Restart { id } => self.spawn(async move {
                let outcome = outcome(host.restart(id).await);
                Some(Event::StepDone { id, outcome })
            }),
            Action::ArmProbe { id, probe, round, after } => {
                self.say(Event::ProbeDue { id, probe, round }, after);
            }
            Action::Probe { blueprint, probe, round } => self.spawn(async move {
                let asked = blueprint.probes.get(probe)?;
                let work = host.probe(&blueprint, asked);
                let outcome = outcome(bounds.probe(&asked.check, work).await);
                Some(Event::Probed { id: blueprint.id, probe, round, outcome })
            }),
            Action::Store { blueprint, trial } => self.spawn(async move {
                note_trial(&store, &blueprint, trial.as_ref()).await;
                None
            }),
            Action::Arm { id, timer, after } => self.say(Event::Due { id, timer }, after),
            Action::TryAgain { need } => self.say(Event::MayBeHad(need), STORE_AGAIN),
            Action::Forget { id, .. } => self.spawn(async move {
                if let Err(error) = store.forget(id).await {
                    error!(instance_id = %id, error = %Chain(&error), "cannot forget instance");
                }
                None
            }),
        }
    }

    /// The next outcome. Never ends: without work it waits.
    ///
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            match self.work.join_next().await {
                Some(Ok(Some(event))) => return event,
                Some(Ok(None)) => {}
                Some(Err(ended)) if ended.is_cancelled() => {}
                Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
                None => std::future::pending().await,
            }
        }
    }

    /// Brings an event after a while.
    fn say(&mut self, event: Event, after: Duration) {
        let due = Instant::now() + after;
        self.spawn(async move {
            sleep_until(due).await;
            Some(event)
        });
    }

    fn tell(&mut self, kind: AlertKind) {
        let reports = self.reports.clone();
        self.spawn(async move {
            let alert = Alert {
                timestamp: SystemTime::now(),
                kind,
            };
            if reports.send(Report::Alert(alert)).await.is_err() {
                warn!("an alert is lost: nobody takes reports any more");
            }
            None
        });
    }

    fn spawn(&mut self, work: impl Future<Output = Option<Event>> + Send + 'static) {
        self.work.spawn(work);
    }
}

/// What the unit is started with is on disk before it runs, so that it is
/// recognised whenever SM ends. The outer error says that it could not be stored.
async fn acquire<H: Host>(
    host: &H,
    store: &Store,
    blueprint: &Blueprint,
    resource: Resource,
    trial: Option<&Trial>,
) -> Result<Outcome<()>, ErrorInfo> {
    if resource == Resource::Unit {
        store
            .runs_with(blueprint.id, Held::of(blueprint, trial))
            .await
            .map_err(|error| {
                ErrorInfo::new(format!(
                    "cannot store the start: {}; it is tried again",
                    Chain(&error)
                ))
            })?;
    }

    Ok(outcome(host.acquire(blueprint, resource).await))
}

async fn check_secret<H: Host>(host: &H, ticket: Ticket, blueprint: &Blueprint) -> Option<Event> {
    let id = blueprint.id;
    match host.knows_secret(blueprint).await {
        Ok(known) => Some(Event::SecretChecked { ticket, id, known }),
        Err(error) => {
            debug!(instance_id = %id, error = %Chain(&error),
                "its secret is looked at again when IAM is back");
            None
        }
    }
}

async fn note_trial(store: &Store, blueprint: &Blueprint, trial: Option<&Trial>) {
    let held = Held::of(blueprint, trial);
    if let Err(error) = store.runs_with(blueprint.id, held).await {
        warn!(instance_id = %blueprint.id, error = %Chain(&error),
            "the end of a trial is not stored: the next start tries it again");
    }
}

/// What is stored is always something that the machine has accepted: it is stored
/// after the change. If SM ends in between, or the disk is full, the next start
/// takes the instance over with what it had before, and changes it again.
async fn change<H: Host>(
    host: &H,
    store: &Store,
    blueprint: &Blueprint,
    trial: Option<&Trial>,
) -> Result<(), HostError> {
    host.change(blueprint).await?;
    let held = Held::of(blueprint, trial);
    if let Err(error) = store.runs_with(blueprint.id, held).await {
        warn!(instance_id = %blueprint.id, error = %Chain(&error),
            "a change is not stored, and is made again at the next start");
    }

    Ok(())
}

fn outcome<T>(result: Result<T, HostError>) -> Outcome<T> {
    result.map_err(|error| error.info())
}
