//! The launcher's loop and its handle.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::event::{Action, Event};
use super::executor::Executor;
use super::host::{Adopted, Found, Host, HostError, Order, UnitChange};
use super::slot::{Slot, TakenOver};
use super::state::LauncherState;
use super::store::{Held, Store, Stored};
use crate::config::UpdatePolicy;
use crate::model::{Chain, Damage, DesiredState, InstanceId, InstanceIdent, Report, RunStatus};
use crate::storage::{Database, StorageError};

/// Commands that may wait. Only desired states and questions whether the loop
/// turns come this way, and neither is waited for.
const COMMANDS: usize = 16;

/// After how long a list that could not be stored is stored again.
const STORE_AGAIN: Duration = Duration::from_secs(10);

/// The launcher cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// The stored state cannot be read.
    #[error("cannot read the stored instances")]
    Load(#[source] StorageError),
    /// The machine cannot be looked at.
    #[error("cannot find out what runs on this machine")]
    Survey(#[source] HostError),
}

/// What ends at the launcher, and what it is told once.
#[derive(Debug)]
pub struct LauncherEnds {
    /// What systemd says of the units.
    pub units: mpsc::Receiver<UnitChange>,
    /// Installed content that was found damaged.
    pub damage: mpsc::Receiver<Damage>,
    /// Changes when other provider networks can be used than before.
    pub networks: watch::Receiver<u64>,
    /// Where alerts go.
    pub reports: mpsc::Sender<Report>,
    /// What becomes of an old version while a new one is installed.
    pub update_policy: UpdatePolicy,
}

#[derive(Debug)]
enum Command {
    Run(DesiredState),
    Alive(oneshot::Sender<()>),
}

/// Handle of the launcher. When the last one is gone, the loop ends and leaves
/// the instances running.
#[derive(Clone, Debug)]
pub struct Launcher {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<RunStatus>,
}

impl Launcher {
    /// Makes `list` the desired state.
    pub async fn run(&self, list: DesiredState) {
        if self.commands.send(Command::Run(list)).await.is_err() {
            warn!("the launcher has ended: a desired state is lost");
        }
    }

    /// The present state, published after each event.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<RunStatus> {
        self.status.clone()
    }

    /// Returns once the loop has turned; never when it has ended.
    pub async fn alive(&self) {
        let (answer, turned) = oneshot::channel();
        if self.commands.send(Command::Alive(answer)).await.is_err() || turned.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

enum Input {
    Command(Command),
    Event(Event),
    /// The list is not stored yet.
    StoreAgain,
    /// Nobody wants anything any more.
    Closed,
    /// Nobody tells any more what systemd says.
    Blind,
}

/// The loop behind [`Launcher`].
#[derive(Debug)]
pub struct LauncherTask<H> {
    state: LauncherState,
    executor: Executor<H>,
    store: Store,
    ids: BTreeMap<InstanceIdent, InstanceId>,
    commands: mpsc::Receiver<Command>,
    units: mpsc::Receiver<UnitChange>,
    damage: mpsc::Receiver<Damage>,
    networks: watch::Receiver<u64>,
    status: watch::Sender<RunStatus>,
    /// The list that is worked on, if the database could not take it.
    unstored: Option<Unstored>,
}

/// A list, and when it is stored again.
#[derive(Clone, Debug)]
struct Unstored {
    list: DesiredState,
    ids: BTreeMap<InstanceIdent, InstanceId>,
    due: Instant,
}

impl<H: Host> LauncherTask<H> {
    /// Reads what is stored, looks at what runs, takes over what is equal. The
    /// rest is done by [`LauncherTask::run`].
    pub async fn start(
        host: Arc<H>,
        database: Database,
        ends: LauncherEnds,
    ) -> Result<(Launcher, Self), LauncherError> {
        let store = Store::new(database);
        let stored = store.load().await.map_err(LauncherError::Load)?;
        let found = host.survey().await.map_err(LauncherError::Survey)?;
        let slots = adopt(&*host, &stored, &found).await;
        let mut ids: BTreeMap<_, _> = stored
            .instances
            .iter()
            .map(|row| (row.ident.clone(), row.id))
            .collect();

        let mut actions = forget_traceless(&stored, &found);
        for action in &actions {
            if let Action::Forget { id } = action {
                ids.retain(|_, known| known != id);
            }
        }
        let mut state = LauncherState::new(ends.update_policy, slots);
        actions.extend(state.restore(stored.list, &ids));
        let (command_sender, commands) = mpsc::channel(COMMANDS);
        let (status, status_receiver) = watch::channel(state.status());
        let mut executor = Executor::new(host, store.clone(), ends.reports);
        for action in actions {
            executor.begin(action);
        }

        let launcher = Launcher {
            commands: command_sender,
            status: status_receiver,
        };
        Ok((
            launcher,
            Self {
                state,
                executor,
                store,
                ids,
                commands,
                units: ends.units,
                damage: ends.damage,
                networks: ends.networks,
                status,
                unstored: None,
            },
        ))
    }

    /// Runs until the last handle is gone.
    pub async fn run(mut self) {
        loop {
            let due = self.unstored.as_ref().map(|unstored| unstored.due);
            let input = tokio::select! {
                // systemd's word first: what has ended must not be taken for running.
                biased;
                change = self.units.recv() => {
                    change.map_or(Input::Blind, |change| Input::Event(Event::Unit(change)))
                }
                // Without it content is not watched; then there is nothing to hear.
                Some(damage) = self.damage.recv() => Input::Event(Event::Damaged(damage)),
                Ok(()) = self.networks.changed() => Input::Event(Event::NetworksChanged),
                event = self.executor.next() => Input::Event(event),
                command = self.commands.recv() => command.map_or(Input::Closed, Input::Command),
                () = until(due) => Input::StoreAgain,
            };
            match input {
                Input::Closed => return,
                Input::Blind => {
                    error!("what becomes of the units is no longer told; starting anew");
                    return;
                }
                Input::StoreAgain => {
                    if let Some(Unstored { list, ids, .. }) = self.unstored.clone() {
                        self.store(list, ids).await;
                    }
                }
                Input::Command(Command::Alive(answer)) => drop(answer.send(())),
                Input::Command(Command::Run(list)) => self.desired(list).await,
                Input::Event(event) => {
                    let actions = self.state.on(event);
                    self.carry_out(actions);
                }
            }
        }
    }

    async fn desired(&mut self, list: DesiredState) {
        info!(
            services = list.services.len(),
            layers = list.layers.len(),
            instances = list.instances.len(),
            force_restart = list.force_restart,
            "new desired state"
        );
        let wanted: BTreeMap<_, _> = list
            .instances
            .iter()
            .map(|info| {
                let id = self
                    .ids
                    .get(&info.ident)
                    .copied()
                    .unwrap_or_else(InstanceId::random);
                (info.ident.clone(), id)
            })
            .collect();
        self.ids.extend(wanted.clone());

        self.store(list.clone(), wanted).await;
        let actions = self.state.desired(list, &self.ids);
        self.carry_out(actions);
    }

    /// Stores the list that is worked on. What the database cannot take, as on a
    /// full disk, is worked on all the same, and stored as soon as it can: until
    /// then a restart of SM comes back to the list before.
    async fn store(&mut self, list: DesiredState, ids: BTreeMap<InstanceIdent, InstanceId>) {
        let was_unstored = self.unstored.take().is_some();
        match self.store.save(list.clone(), ids.clone()).await {
            Ok(()) if was_unstored => info!("the desired state is stored now"),
            Ok(()) => {}
            Err(error) => {
                if !was_unstored {
                    error!(error = %Chain(&error), "the desired state is not stored for now");
                }
                let due = Instant::now() + STORE_AGAIN;
                self.unstored = Some(Unstored { list, ids, due });
            }
        }
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            if let Action::Forget { id } = &action {
                self.ids.retain(|_, known| known != id);
            }
            self.executor.begin(action);
        }

        let status = self.state.status();
        self.status.send_if_modified(|published| {
            let changed = *published != status;
            if changed {
                *published = status;
            }
            changed
        });
    }
}

/// Waits for a moment; without one, for ever.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Rows of instances that are neither desired nor left on the machine.
fn forget_traceless(stored: &Stored, found: &[Found]) -> Vec<Action> {
    stored
        .instances
        .iter()
        .filter(|row| found.iter().all(|found| found.id != row.id))
        .filter(|row| {
            stored
                .list
                .instances
                .iter()
                .all(|info| info.ident != row.ident)
        })
        .map(|row| Action::Forget { id: row.id })
        .collect()
}

/// What runs with the inputs that are stored for it is taken over; anything else
/// that was found becomes a leftover.
async fn adopt<H: Host>(host: &H, stored: &Stored, found: &[Found]) -> Vec<(InstanceId, Slot)> {
    let mut slots = Vec::with_capacity(found.len());
    for each in found {
        let row = stored.instances.iter().find(|row| row.id == each.id);
        let held = row.and_then(|row| row.held.as_ref()).filter(|_| each.whole);
        let taken_over = match held {
            None => None,
            Some(held) => match take_over(host, each.id, held).await {
                Ok(taken_over) => Some(taken_over),
                Err(reason) => {
                    warn!(instance_id = %each.id, reason, "a running instance is not taken over");
                    None
                }
            },
        };
        info!(instance_id = %each.id, adopted = taken_over.is_some(), "found on this machine");
        slots.push((
            each.id,
            Slot::found(each.id, row.map(|row| row.ident.clone()), taken_over),
        ));
    }

    slots
}

async fn take_over<H: Host>(host: &H, id: InstanceId, held: &Held) -> Result<TakenOver, String> {
    let blueprint = host
        .prepare(&Order {
            id,
            info: held.info.clone(),
            service: held.service.clone(),
            variables: Vec::new(),
        })
        .await
        .map_err(|error| Chain(&error).to_string())?;
    if blueprint.fingerprint != held.fingerprint {
        return Err("it was started with other inputs".to_owned());
    }
    let adopted = host
        .adopt(&blueprint)
        .await
        .map_err(|error| Chain(&error).to_string())?;
    if let Adopted::WithoutNetwork(error) = &adopted {
        warn!(instance_id = %id, error = %Chain(error),
            "a running instance is taken over without its place in the network");
    }

    Ok(TakenOver {
        blueprint: Arc::new(blueprint),
        has_network: matches!(adopted, Adopted::Wholly),
    })
}
