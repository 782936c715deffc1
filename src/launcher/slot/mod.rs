//! One instance of the node: what it holds, what it runs with, how it does.
//!
//! A slot exists as long as the instance is desired or holds anything. It turns
//! steps into actions, and what systemd says into a verdict about the
//! instance.

mod change;
mod health;
mod trial;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use self::change::Changes;
pub(super) use self::trial::Past;
use super::event::{Action, Outcome, Refused};
use super::host::{Blueprint, Exit, Need, Resource, Target, UnitState};
use super::instance::{self, Instance, Phase, Step};
use super::probes::Probing;
use crate::model::{ErrorInfo, Fault, InstanceId, InstanceIdent};

/// Pause before a failed release is tried again.
const RELEASE_RETRY: Duration = Duration::from_secs(2);

/// How the unit of a running instance does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// It was started; whether it stays is still to be seen.
    Confirming {
        /// Times that it ended in this phase.
        exits: u32,
        /// It has stayed active for long enough; its probes have not all succeeded.
        stayed: bool,
    },
    /// It runs, and is well.
    Up,
    /// It ended, or is not well, and is started again.
    Down(ErrorInfo),
}

/// What an event means for the instance.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// Nothing that others have to know.
    Same,
    /// It will not run, and this is why.
    Failed(ErrorInfo),
    /// It was refused what it needs, and may get it later.
    Waits(Need, ErrorInfo),
    /// It gives back what it holds, and has to be started with this.
    Again(Arc<Blueprint>),
    /// It runs with what it was last to be given.
    Changed,
    /// It runs, but not with this, and why.
    NotChanged(ErrorInfo, Arc<Blueprint>),
}

/// A running instance that is taken over.
#[derive(Debug)]
pub(super) struct TakenOver {
    /// What it runs with.
    pub(super) blueprint: Arc<Blueprint>,
    /// Its place in the network was taken over as well.
    pub(super) has_network: bool,
}

/// One instance of the node.
#[derive(Debug)]
pub(super) struct Slot {
    id: InstanceId,
    ident: Option<InstanceIdent>,
    instance: Instance,
    in_flight: Option<Step>,
    /// What it runs with; `None` for a leftover.
    blueprint: Option<Arc<Blueprint>>,
    changes: Changes,
    health: Health,
    unit: UnitState,
    last_exit: Option<Exit>,
    /// It used more memory than it may, and ended or ends of that.
    lacked_memory: bool,
    probing: Probing,
    /// Its service is to be started again, as soon as the step in flight is over.
    restart_wanted: bool,
    /// Its service is being started again because it was not well.
    restarting: bool,
    /// What it runs with has not been confirmed yet, and has to be.
    on_trial: bool,
    /// What comes back if the trial fails, or the next one.
    before: Option<Arc<Blueprint>>,
    /// What failed its trial, so that this came back.
    refused: Option<Refused>,
    faults: u64,
    last_fault: Option<Fault>,
    timer: u64,
    rounds: u32,
    /// The list that it was last started for.
    started_in: u64,
    /// Why it cannot give back what it holds.
    stuck: Option<ErrorInfo>,
}

impl Slot {
    pub(super) fn new(id: InstanceId, ident: Option<InstanceIdent>) -> Self {
        Self {
            id,
            ident,
            instance: Instance::default(),
            in_flight: None,
            blueprint: None,
            changes: Changes::default(),
            health: Health::Up,
            unit: UnitState::Inactive,
            last_exit: None,
            lacked_memory: false,
            probing: Probing::default(),
            restart_wanted: false,
            restarting: false,
            on_trial: false,
            before: None,
            refused: None,
            faults: 0,
            last_fault: None,
            timer: 0,
            rounds: 0,
            started_in: 0,
            stuck: None,
        }
    }

    /// One that was found on the machine: with a blueprint it is taken over,
    /// without it is a leftover to be given back.
    pub(super) fn found(
        id: InstanceId,
        ident: Option<InstanceIdent>,
        taken_over: Option<TakenOver>,
    ) -> Self {
        let (blueprint, changes) = taken_over.map_or_else(Default::default, |own| {
            (Some(own.blueprint), Changes::found(own.has_network))
        });
        Self {
            instance: Instance::found(),
            blueprint,
            changes,
            unit: UnitState::Active,
            ..Self::new(id, ident)
        }
    }

    pub(super) fn id(&self) -> InstanceId {
        self.id
    }

    /// Known for every instance that is stored.
    pub(super) fn ident(&self) -> Option<&InstanceIdent> {
        self.ident.as_ref()
    }

    pub(super) fn phase(&self) -> Phase {
        self.instance.phase()
    }

    pub(super) fn blueprint(&self) -> Option<&Arc<Blueprint>> {
        self.blueprint.as_ref()
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    pub(super) fn last_fault(&self) -> Option<&Fault> {
        self.last_fault.as_ref()
    }

    pub(super) fn started_in(&self) -> u64 {
        self.started_in
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.is_some()
    }

    /// Whether it is on its way to give back all that it holds.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.phase(), Phase::Releasing | Phase::Paused) || self.instance.stop_wanted()
    }

    /// Whether it stops as soon as the step that is on its way is over.
    pub(super) fn stop_wanted(&self) -> bool {
        self.instance.stop_wanted()
    }

    /// Whether it runs, or is on the way to it, with this blueprint.
    pub(super) fn runs(&self, blueprint: &Blueprint) -> bool {
        (self.phase() == Phase::Acquiring || self.phase().is_up())
            && !self.instance.stop_wanted()
            && self
                .blueprint
                .as_ref()
                .is_some_and(|own| own.fingerprint == blueprint.fingerprint)
    }

    fn begin(&mut self, blueprint: Arc<Blueprint>, generation: u64) -> Vec<Action> {
        self.ident = Some(blueprint.info.ident.clone());
        self.blueprint = Some(blueprint);
        self.changes = Changes::default();
        self.started_in = generation;
        self.stuck = None;
        self.unit = UnitState::Inactive;
        self.last_exit = None;
        self.lacked_memory = false;
        self.restart_wanted = false;
        self.restarting = false;
        self.drive(instance::Event::Start)
    }

    /// Stops an instance, whatever it is doing.
    pub(super) fn stop(&mut self) -> Vec<Action> {
        self.changes.drop_next();
        self.drive(instance::Event::Stop)
    }

    /// The step in flight is done.
    pub(super) fn step_done(&mut self, outcome: Outcome<()>) -> (Verdict, Vec<Action>) {
        let Some(step) = self.in_flight.take() else {
            return (Verdict::Same, Vec::new());
        };

        match (step, outcome) {
            (Step::Acquire(_), Ok(())) => {
                let mut actions = self.drive(instance::Event::Acquired);
                if self.phase() == Phase::Running {
                    let exits = u32::from(self.last_exit.is_some());
                    self.health = Health::Confirming {
                        exits,
                        stayed: false,
                    };
                    self.rounds = 0;
                    actions.push(self.arm_window());
                    if exits > 0 && self.unit == UnitState::Failed {
                        return self.changed(UnitState::Failed, "");
                    }
                    if self.unit == UnitState::Active {
                        actions.extend(self.begin_probes());
                    }
                }
                actions.extend(self.change_next());
                (Verdict::Same, actions)
            }
            (Step::Acquire(resource), Err(error)) => {
                let verdict = self.refused(resource, error);
                (verdict, self.drive(instance::Event::AcquireRefused))
            }
            (Step::Change, outcome) => self.change_done(outcome),
            (Step::Restart, outcome) => self.restart_done(outcome),
            (Step::Release(_), Ok(())) => {
                self.stuck = None;
                (Verdict::Same, self.drive(instance::Event::Released))
            }
            (Step::Release(_), Err(error)) => {
                self.stuck = Some(error.clone());
                (
                    Verdict::Failed(error),
                    self.drive(instance::Event::ReleaseRefused),
                )
            }
            (Step::Nothing | Step::Pause, _) => (Verdict::Same, Vec::new()),
        }
    }

    /// The step in flight was the start of the unit, and what it is started with
    /// could not be stored.
    pub(super) fn not_stored(&mut self, error: ErrorInfo) -> (Verdict, Vec<Action>) {
        self.in_flight = None;
        let verdict = match self.changes.take_next() {
            Some(blueprint) => Verdict::Again(blueprint),
            None => self.waits(Need::Database, error),
        };
        (verdict, self.drive(instance::Event::AcquireRefused))
    }

    /// A timer has run out. Only the newest one counts.
    pub(super) fn due(&mut self, timer: u64) -> (Verdict, Vec<Action>) {
        if timer != self.timer {
            return (Verdict::Same, Vec::new());
        }

        match (self.phase(), &self.health) {
            (Phase::Paused, _) => (Verdict::Same, self.drive(instance::Event::RetryDue)),
            (Phase::Running | Phase::Changing, Health::Confirming { .. })
                if self.unit == UnitState::Active =>
            {
                self.stayed_active()
            }
            // It is between two tries: give it the window again, but not for ever.
            (Phase::Running | Phase::Changing, Health::Confirming { .. })
                if self.rounds <= self.burst() =>
            {
                self.rounds += 1;
                (Verdict::Same, vec![self.arm_window()])
            }
            (Phase::Running | Phase::Changing, Health::Confirming { .. }) => {
                self.give_up("did not stay active")
            }
            _ => (Verdict::Same, Vec::new()),
        }
    }

    fn starts_unit(&self) -> bool {
        self.in_flight == Some(Step::Acquire(Resource::Unit))
    }

    fn burst(&self) -> u32 {
        self.blueprint
            .as_ref()
            .map_or(1, |blueprint| blueprint.start_burst)
    }

    fn arm_window(&mut self) -> Action {
        let window = self
            .blueprint
            .as_ref()
            .map_or(Duration::ZERO, |own| own.start_window);
        self.arm(window)
    }

    fn arm(&mut self, after: Duration) -> Action {
        self.timer += 1;
        Action::Arm {
            id: self.id,
            timer: self.timer,
            after,
        }
    }

    fn drive(&mut self, event: instance::Event) -> Vec<Action> {
        let step = self.instance.on(event);
        let action = match step {
            Step::Nothing => return Vec::new(),
            Step::Pause => return vec![self.arm(RELEASE_RETRY)],
            // It goes on being confirmed meanwhile.
            Step::Change => {
                self.in_flight = Some(step);
                let trial = self.trial();
                return self
                    .changes
                    .now()
                    .map(|blueprint| Action::Change { blueprint, trial })
                    .into_iter()
                    .collect();
            }
            Step::Restart => {
                self.in_flight = Some(step);
                return vec![Action::Restart { id: self.id }];
            }
            Step::Acquire(resource) => self.acquire(resource),
            Step::Release(resource) => Action::Release {
                target: self.target(),
                resource,
            },
        };
        self.in_flight = Some(step);
        self.changes.forget_news();
        // What was waited for before this step is no longer of interest.
        self.timer += 1;
        self.probing.end();

        vec![action]
    }

    fn acquire(&self, resource: Resource) -> Action {
        let blueprint = self
            .blueprint
            .clone()
            .expect("only `start` begins to acquire, with one");
        Action::Acquire {
            blueprint,
            resource,
            trial: self.trial(),
        }
    }

    fn target(&self) -> Target {
        Target {
            id: self.id,
            ident: self.ident.clone(),
        }
    }
}
