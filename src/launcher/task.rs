//! The launcher's loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info};

use super::adoption::{adopt, forget_traceless};
use super::conditions::Conditions;
use super::event::{Action, Event};
use super::executor::Executor;
use super::handle::{self, Command, Launcher};
use super::host::{Host, HostError, UnitChange};
use super::past;
use super::since::Since;
use super::state::LauncherState;
use super::store::Store;
use crate::config::UpdatePolicy;
use crate::model::{Chain, Damage, DesiredState, InstanceId, InstanceIdent, Report, RunStatus};
use crate::storage::{Database, StorageError};

/// Events that may follow each other without the state being published between
/// them. When many come at once, the last state is of interest, and each copy
/// takes time.
const UNPUBLISHED: usize = 64;

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
    /// Changes when other devices and resources can be had than before.
    pub devices: watch::Receiver<u64>,
    /// Changes when IAM is back, or may have forgotten the secrets.
    pub iam: watch::Receiver<u64>,
    /// Where alerts go.
    pub reports: mpsc::Sender<Report>,
    /// What becomes of an old version while a new one is installed.
    pub update_policy: UpdatePolicy,
}

enum Input {
    Command(Command),
    Event(Event),
    /// The list is not stored yet.
    StoreAgain,
    /// Nothing else happens at the moment.
    Calm,
    /// Something may have ended by itself.
    Look,
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
    devices: watch::Receiver<u64>,
    iam: watch::Receiver<u64>,
    conditions: Conditions<H>,
    status: watch::Sender<RunStatus>,
    since: Since,
    /// The list that is worked on, if the database could not take it.
    unstored: Option<Unstored>,
    /// Events since the state was published.
    unpublished: usize,
    /// Those who wait for the end of all instances.
    ends: Vec<oneshot::Sender<()>>,
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
        let conditions = Conditions::load(host.clone(), database.clone())
            .await
            .map_err(LauncherError::Load)?;
        let store = Store::new(database);
        let stored = store.load().await.map_err(LauncherError::Load)?;
        let found = host.survey().await.map_err(LauncherError::Survey)?;
        let mut slots = adopt(&*host, &stored, &found, conditions.overrides()).await;
        if ends.update_policy == UpdatePolicy::KeepOld {
            past::recall(&*host, &stored, conditions.overrides(), &mut slots).await;
        }
        let mut ids: BTreeMap<_, _> = stored
            .instances
            .iter()
            .map(|row| (row.ident.clone(), row.id))
            .collect();

        let mut actions = forget_traceless(&stored, &found);
        for action in &actions {
            forget(&mut ids, action);
        }
        let mut state = LauncherState::new(ends.update_policy, slots)
            .under(conditions.overrides().clone(), conditions.cloud());
        actions.extend(state.restore(stored.list, &ids));
        let (status, status_receiver) = watch::channel(state.status());
        let (launcher, commands) = handle::new(status_receiver);
        let mut since = Since::default();
        since.note(SystemTime::now(), state.activities());
        let mut executor = Executor::new(host, store.clone(), ends.reports);
        for action in actions {
            executor.begin(action);
        }

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
                devices: ends.devices,
                iam: ends.iam,
                conditions,
                status,
                since,
                unstored: None,
                unpublished: 0,
                ends: Vec::new(),
            },
        ))
    }

    /// Runs until the last handle is gone.
    pub async fn run(mut self) {
        loop {
            let due = self.unstored.as_ref().map(|unstored| unstored.due);
            let look = self.conditions.due(self.state.offline_timeout());
            let input = tokio::select! {
                // systemd's word first: what has ended must not be taken for running.
                biased;
                change = self.units.recv() => {
                    change.map_or(Input::Blind, |change| Input::Event(Event::Unit(change)))
                }
                // Without it content is not watched; then there is nothing to hear.
                Some(damage) = self.damage.recv() => Input::Event(Event::Damaged(damage)),
                Ok(()) = self.networks.changed() => Input::Event(Event::NetworksChanged),
                Ok(()) = self.devices.changed() => Input::Event(Event::DevicesChanged),
                Ok(()) = self.iam.changed() => Input::Event(Event::IamIsBack),
                event = self.executor.next() => Input::Event(event),
                command = self.commands.recv() => command.map_or(Input::Closed, Input::Command),
                () = until(due) => Input::StoreAgain,
                () = sleep_until(look) => Input::Look,
                () = std::future::ready(()), if self.unpublished > 0 => Input::Calm,
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
                Input::Calm => self.publish(),
                Input::Command(command) => self.command(command).await,
                Input::Look => {
                    let events = self.conditions.look().await;
                    self.take(events);
                }
                Input::Event(event) => self.take([event]),
            }
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Alive(answer) => {
                if self.unpublished > 0 {
                    self.publish();
                }
                if answer.send(()).is_err() {
                    debug!("nobody waits any more for the loop to turn");
                }
            }
            Command::Overview(answer) => {
                let stored = self.unstored.is_none();
                let overview = self.state.overview(stored, |id| self.since.of(id));
                if answer.send(overview).is_err() {
                    debug!("nobody waits any more for the overview");
                }
            }
            Command::Run(list) => self.desired(list).await,
            Command::Override(list, answer) => {
                let event = self.conditions.override_with(list, answer).await;
                self.take(event);
            }
            Command::Cloud(online) => {
                let event = self.conditions.cloud_is(online).await;
                self.take(event);
            }
            Command::End(answer) => {
                self.ends.push(answer);
                let actions = self.state.end();
                self.carry_out(actions);
            }
        }
    }

    fn take(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            let actions = self.state.on(event);
            self.carry_out(actions);
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
            forget(&mut self.ids, &action);
            self.executor.begin(action);
        }
        self.unpublished += 1;
        if self.unpublished >= UNPUBLISHED {
            self.publish();
        }
        if self.state.has_ended() {
            for ended in self.ends.drain(..) {
                if ended.send(()).is_err() {
                    debug!("nobody waits any more for the end of the instances");
                }
            }
        }
    }

    /// Stops that are SM's own are not told: while all instances end, the state
    /// stays as it was.
    fn publish(&mut self) {
        self.unpublished = 0;
        if self.state.is_ending() {
            return;
        }

        self.since.note(SystemTime::now(), self.state.activities());
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

/// The id of an instance that is gone for good is nobody's any more.
fn forget(ids: &mut BTreeMap<InstanceIdent, InstanceId>, action: &Action) {
    if let Action::Forget {
        id,
        ident: Some(ident),
    } = action
        && ids.get(ident) == Some(id)
    {
        ids.remove(ident);
    }
}

/// Waits for a moment; without one, for ever.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
