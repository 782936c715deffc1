//! Carries out what the state asks for, and brings the outcomes back.
//!
//! Each action runs in a task of its own, so a hung one holds up only its own
//! instance. A panic of one is passed on to the loop.

use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, warn};

use super::event::{Action, Event, Outcome};
use super::host::{Blueprint, Host, HostError, Resource};
use super::store::{Held, Store};
use crate::model::{Chain, ErrorInfo};

/// The hands of the launcher.
#[derive(Debug)]
pub(super) struct Executor<H> {
    host: Arc<H>,
    store: Store,
    work: JoinSet<Option<Event>>,
    installs: Vec<AbortHandle>,
}

impl<H: Host> Executor<H> {
    pub(super) fn new(host: Arc<H>, store: Store) -> Self {
        Self {
            host,
            store,
            work: JoinSet::new(),
            installs: Vec::new(),
        }
    }

    /// Begins an action.
    pub(super) fn begin(&mut self, action: Action) {
        let host = self.host.clone();
        let store = self.store.clone();
        match action {
            Action::CancelInstalls => {
                for install in self.installs.drain(..) {
                    install.abort();
                }
            }
            Action::InstallService { generation, service } => {
                let install = self.work.spawn(async move {
                    let outcome = outcome(host.install_service(&service).await);
                    Some(Event::ServiceInstalled { generation, key: service.key(), outcome })
                });
                self.installs.push(install);
            }
            Action::InstallLayer { generation, layer } => {
                let install = self.work.spawn(async move {
                    let outcome = outcome(host.install_layer(&layer).await);
                    Some(Event::LayerInstalled { generation, digest: layer.digest, outcome })
                });
                self.installs.push(install);
            }
            Action::Retain { services, layers } => self.spawn(async move {
                if let Err(error) = host.retain(services, layers).await {
                    warn!(error = %Chain(&error), "cannot note which content is in use");
                }
                None
            }),
            Action::Prepare { generation, id, info, service } => self.spawn(async move {
                let outcome = outcome(host.prepare(id, &info, &service).await).map(Arc::new);
                Some(Event::Prepared { generation, id, outcome })
            }),
            Action::Acquire { blueprint, resource } => self.spawn(async move {
                let outcome = acquire(&*host, &store, &blueprint, resource).await;
                Some(Event::StepDone { id: blueprint.id, outcome })
            }),
            Action::Release { target, resource } => self.spawn(async move {
                let outcome = outcome(host.release(&target, resource).await);
                if let Err(error) = &outcome {
                    warn!(instance_id = %target.id, error = error.message, "cannot give back {resource:?}");
                }
                Some(Event::StepDone { id: target.id, outcome })
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
            .started(blueprint.id, Held::of(blueprint))
            .await
            .map_err(|error| {
                ErrorInfo::new(format!("cannot store the start: {}", Chain(&error)))
            })?;
    }

    outcome(host.acquire(blueprint, resource).await)
}

fn outcome<T>(result: Result<T, HostError>) -> Outcome<T> {
    result.map_err(|error| error.info())
}
