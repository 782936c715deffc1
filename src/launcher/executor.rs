//! Carries out what the state asks for, and brings the outcomes back.
//!
//! Each action runs in a task of its own, so a hung one holds up only its own
//! instance. A panic of one is passed on to the loop.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

use super::event::{Action, Event, Outcome};
use super::host::{Blueprint, Host, HostError, Resource};
use super::store::{Held, Store};
use crate::model::{Alert, AlertKind, Chain, ErrorInfo, Report};

/// Runtimes that may start containers at the same time, and as many that may
/// stop them. Each is some processes of 10 MB and more.
const RUNTIMES: usize = 16;

/// Roots that may be mounted at the same time. Each is a thread that blocks, and
/// some open files.
const MOUNTS: usize = 8;

/// Work is begun without a bound where it only waits. What costs memory and
/// processors has a bound here; the time for it counts from its turn on.
#[derive(Debug)]
struct Bounds {
    starts: Semaphore,
    stops: Semaphore,
    mounts: Semaphore,
}

impl Bounds {
    async fn to_acquire(&self, resource: Resource) -> Option<SemaphorePermit<'_>> {
        match resource {
            Resource::Unit => turn(&self.starts).await,
            Resource::RootFilesystem => turn(&self.mounts).await,
            Resource::Secret | Resource::Network | Resource::Spec => None,
        }
    }

    async fn to_release(&self, resource: Resource) -> Option<SemaphorePermit<'_>> {
        match resource {
            Resource::Unit => turn(&self.stops).await,
            Resource::RootFilesystem => turn(&self.mounts).await,
            Resource::Secret | Resource::Network | Resource::Spec => None,
        }
    }
}

async fn turn(semaphore: &Semaphore) -> Option<SemaphorePermit<'_>> {
    Some(
        semaphore
            .acquire()
            .await
            .expect("the semaphores are never closed"),
    )
}

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
            bounds: Arc::new(Bounds {
                starts: Semaphore::new(RUNTIMES),
                stops: Semaphore::new(RUNTIMES),
                mounts: Semaphore::new(MOUNTS),
            }),
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
            Action::Alert { message } => {
                let reports = self.reports.clone();
                self.spawn(async move {
                    let kind = AlertKind::own(message);
                    let alert = Alert { timestamp: SystemTime::now(), kind };
                    if reports.send(Report::Alert(alert)).await.is_err() {
                        warn!("an alert is lost: nobody takes reports any more");
                    }
                    None
                });
            }
            Action::Prepare { ticket, order } => self.spawn(async move {
                let outcome = outcome(host.prepare(&order).await).map(Arc::new);
                Some(Event::Prepared { ticket, id: order.id, outcome })
            }),
            Action::Acquire { blueprint, resource } => self.spawn(async move {
                let _turn = bounds.to_acquire(resource).await;
                let outcome = acquire(&*host, &store, &blueprint, resource).await;
                Some(Event::StepDone { id: blueprint.id, outcome })
            }),
            Action::Release { target, resource } => self.spawn(async move {
                let _turn = bounds.to_release(resource).await;
                let outcome = outcome(host.release(&target, resource).await);
                if let Err(error) = &outcome {
                    warn!(instance_id = %target.id, error = error.message, "cannot give back {resource:?}");
                }
                Some(Event::StepDone { id: target.id, outcome })
            }),
            Action::Change { blueprint } => self.spawn(async move {
                let id = blueprint.id;
                Some(match change(&*host, &store, &blueprint).await {
                    Err(error) if error.needs_restart() => {
                        Event::Unchangeable { id, error: error.info() }
                    }
                    result => Event::StepDone { id, outcome: outcome(result) },
                })
            }),
            Action::Arm { id, timer, after } => {
                let due = Instant::now() + after;
                self.spawn(async move {
                    sleep_until(due).await;
                    Some(Event::Due { id, timer })
                });
            }
            Action::Forget { id } => self.spawn(async move {
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

    fn spawn(&mut self, work: impl Future<Output = Option<Event>> + Send + 'static) {
        self.work.spawn(work);
    }
}

/// What the unit is started with is on disk before it runs, so that it is
/// recognised whenever SM ends.
async fn acquire<H: Host>(
    host: &H,
    store: &Store,
    blueprint: &Blueprint,
    resource: Resource,
) -> Outcome<()> {
    if resource == Resource::Unit {
        store
            .runs_with(blueprint.id, Held::of(blueprint))
            .await
            .map_err(|error| {
                ErrorInfo::new(format!("cannot store the start: {}", Chain(&error)))
            })?;
    }

    outcome(host.acquire(blueprint, resource).await)
}

/// What is stored is always something that the machine has accepted: it is stored
/// after the change. If SM ends in between, or the disk is full, the next start
/// takes the instance over with what it had before, and changes it again.
async fn change<H: Host>(host: &H, store: &Store, blueprint: &Blueprint) -> Result<(), HostError> {
    host.change(blueprint).await?;
    if let Err(error) = store.runs_with(blueprint.id, Held::of(blueprint)).await {
        warn!(instance_id = %blueprint.id, error = %Chain(&error),
            "a change is not stored, and is made again at the next start");
    }

    Ok(())
}

fn outcome<T>(result: Result<T, HostError>) -> Outcome<T> {
    result.map_err(|error| error.info())
}
