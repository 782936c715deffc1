//! One instance of the node: what it holds, what it runs with, how it does.
//!
//! A slot exists as long as the instance is desired or holds anything. It turns
//! steps into actions, and what systemd says into a verdict about the
//! instance.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Action, Outcome};
use super::host::{Blueprint, Exit, Resource, Target, UnitEvent, UnitState};
use super::instance::{self, Instance, Phase, Step};
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
    },
    /// It runs.
    Up,
    /// It ended and systemd starts it again.
    Down(ErrorInfo),
}

/// What an event means for the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing that others have to know.
    Same,
    /// It will not run, and this is why.
    Failed(ErrorInfo),
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
    health: Health,
    unit: UnitState,
    last_exit: Option<Exit>,
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
            health: Health::Up,
            unit: UnitState::Inactive,
            last_exit: None,
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
        blueprint: Option<Arc<Blueprint>>,
    ) -> Self {
        Self {
            instance: Instance::found(),
            blueprint,
            unit: UnitState::Active,
            ..Self::new(id, ident)
        }
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

    /// Whether it runs, or is on the way to it, with this blueprint.
    pub(super) fn runs(&self, blueprint: &Blueprint) -> bool {
        matches!(self.phase(), Phase::Acquiring | Phase::Running)
            && !self.instance.stop_wanted()
            && self
                .blueprint
                .as_ref()
                .is_some_and(|own| own.fingerprint == blueprint.fingerprint)
    }

    /// Starts a stopped instance.
    pub(super) fn start(&mut self, blueprint: Arc<Blueprint>, generation: u64) -> Vec<Action> {
        self.ident = Some(blueprint.info.ident.clone());
        self.blueprint = Some(blueprint);
        self.started_in = generation;
        self.stuck = None;
        self.unit = UnitState::Inactive;
        self.last_exit = None;
        self.drive(instance::Event::Start)
    }

    /// Stops an instance, whatever it is doing.
    pub(super) fn stop(&mut self) -> Vec<Action> {
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
                    self.health = Health::Confirming { exits };
                    self.rounds = 0;
                    actions.push(self.arm_window());
                    if exits > 0 && self.unit == UnitState::Failed {
                        return self.changed(UnitState::Failed, "");
                    }
                }
                (Verdict::Same, actions)
            }
            (Step::Acquire(_), Err(error)) => (
                Verdict::Failed(error),
                self.drive(instance::Event::AcquireRefused),
            ),
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

    /// A timer has run out. Only the newest one counts.
    pub(super) fn due(&mut self, timer: u64) -> (Verdict, Vec<Action>) {
        if timer != self.timer {
            return (Verdict::Same, Vec::new());
        }

        match (self.phase(), &self.health) {
            (Phase::Paused, _) => (Verdict::Same, self.drive(instance::Event::RetryDue)),
            (Phase::Running, Health::Confirming { .. }) if self.unit == UnitState::Active => {
                self.last_exit = None;
                self.health = Health::Up;
                (Verdict::Same, Vec::new())
            }
            // It is between two tries: give it the window again, but not for ever.
            (Phase::Running, Health::Confirming { .. }) if self.rounds <= self.burst() => {
                self.rounds += 1;
                (Verdict::Same, vec![self.arm_window()])
            }
            (Phase::Running, Health::Confirming { .. }) => self.give_up("did not stay active"),
            _ => (Verdict::Same, Vec::new()),
        }
    }

    /// systemd says something of the unit.
    pub(super) fn unit(&mut self, event: UnitEvent) -> (Verdict, Vec<Action>) {
        if self.phase() != Phase::Running {
            // Our own starts and stops; what they come to is their step's outcome.
            // The state is kept: the unit may end before the step reports back.
            match event {
                UnitEvent::State { state, .. } => self.unit = state,
                UnitEvent::Exited(exit) if self.starts_unit() => self.last_exit = Some(exit),
                UnitEvent::Exited(_) => {}
            }
            return (Verdict::Same, Vec::new());
        }

        match event {
            UnitEvent::Exited(exit) => self.exited(exit),
            UnitEvent::State { state, result } => {
                self.unit = state;
                self.changed(state, &result)
            }
        }
    }

    fn exited(&mut self, exit: Exit) -> (Verdict, Vec<Action>) {
        self.last_exit = Some(exit);
        let error = self.failure("");

        match &mut self.health {
            Health::Confirming { exits } => {
                *exits += 1;
                if *exits > self.burst() {
                    return self.give_up("did not stay active");
                }
            }
            Health::Up | Health::Down(_) => {
                self.faults += 1;
                self.last_fault = Some(Fault {
                    number: self.faults,
                    error: error.clone(),
                });
                self.health = Health::Down(error);
            }
        }

        (Verdict::Same, Vec::new())
    }

    fn changed(&mut self, state: UnitState, result: &str) -> (Verdict, Vec<Action>) {
        match (state, &self.health) {
            (UnitState::Active, Health::Confirming { exits: 1.. }) => {
                (Verdict::Same, vec![self.arm_window()])
            }
            (UnitState::Active, Health::Down(_)) => {
                self.last_exit = None;
                self.health = Health::Up;
                (Verdict::Same, Vec::new())
            }
            (UnitState::Failed, _) => {
                let error = self.failure(result);
                (
                    Verdict::Failed(error),
                    self.drive(instance::Event::UnitGone),
                )
            }
            (UnitState::Inactive, _) => {
                let error = ErrorInfo::new("its unit was stopped from outside");
                (
                    Verdict::Failed(error),
                    self.drive(instance::Event::UnitGone),
                )
            }
            (UnitState::Active | UnitState::Activating | UnitState::Deactivating, _) => {
                (Verdict::Same, Vec::new())
            }
        }
    }

    fn give_up(&mut self, why: &str) -> (Verdict, Vec<Action>) {
        let error = self.failure(why);
        (Verdict::Failed(error), self.drive(instance::Event::Stop))
    }

    /// What went wrong, from the last exit and systemd's word for it.
    fn failure(&self, result: &str) -> ErrorInfo {
        let exit = match self.last_exit {
            Some(Exit::Code(code)) => format!("exited with code {code}"),
            Some(Exit::Signal(signal)) => format!("was killed by signal {signal}"),
            None => "failed".to_owned(),
        };
        let message = match result {
            "" | "success" | "exit-code" | "signal" => format!("the service {exit}"),
            "start-limit-hit" => {
                format!("the service {exit} and keeps failing: systemd gave up restarting it")
            }
            "oom-kill" => format!("the service {exit}: it used more memory than it may"),
            other => format!("the service {exit}: {other}"),
        };

        ErrorInfo {
            exit_code: self.last_exit.map_or(0, Exit::code),
            ..ErrorInfo::new(message)
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
            Step::Acquire(resource) => self.acquire(resource),
            Step::Release(resource) => Action::Release {
                target: self.target(),
                resource,
            },
        };
        self.in_flight = Some(step);
        // What was waited for before this step is no longer of interest.
        self.timer += 1;

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
        }
    }

    fn target(&self) -> Target {
        Target {
            id: self.id,
            ident: self.ident.clone(),
        }
    }
}
