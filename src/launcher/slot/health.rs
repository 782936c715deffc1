//! Whether a running instance is well, by its probes.
//!
//! One that is being confirmed and whose probes fail ends. One that was well is
//! told of, and has its service started again; it is well once all probes have
//! succeeded after that.

use std::time::Duration;

use tracing::warn;

use super::{Health, Slot, Verdict};
use crate::launcher::event::{Action, Outcome};
use crate::launcher::host::UnitState;
use crate::launcher::instance;
use crate::launcher::probes::{Found, Probe};
use crate::model::ErrorInfo;

/// On a busy node a probe waits for its turn, and that is not the service's fault.
const BUSY: Duration = Duration::from_secs(10);

impl Slot {
    /// It is time to ask a probe.
    pub(in crate::launcher) fn probe_due(
        &mut self,
        probe: usize,
        round: u64,
    ) -> (Verdict, Vec<Action>) {
        let action = self
            .blueprint
            .clone()
            .filter(|_| self.phase().is_up() && self.probing.counts(round, probe))
            .map(|blueprint| Action::Probe {
                blueprint,
                probe,
                round,
            });

        (Verdict::Same, action.into_iter().collect())
    }

    /// A probe was asked.
    pub(in crate::launcher) fn probed(
        &mut self,
        probe: usize,
        round: u64,
        outcome: Outcome<()>,
    ) -> (Verdict, Vec<Action>) {
        if !self.phase().is_up() || !self.probing.counts(round, probe) {
            return (Verdict::Same, Vec::new());
        }
        let Some(asked) = self.probes().get(probe).cloned() else {
            return (Verdict::Same, Vec::new());
        };

        let found = self.probing.tried(probe, &asked, outcome.is_ok());
        let again = self.arm_probe(probe, asked.interval);
        match (found, outcome) {
            (Found::Failed, outcome) => {
                let why = outcome.err().unwrap_or_default().message;
                let (check, times) = (&asked.check, asked.threshold);
                self.unwell(&format!("{check} failed {times} times in a row: {why}"))
            }
            (Found::Ready, _) => {
                let mut actions = vec![again];
                actions.extend(self.ready());
                (Verdict::Same, actions)
            }
            (Found::Same, _) => (Verdict::Same, vec![again]),
        }
    }

    /// One that was taken over goes on being watched.
    pub(in crate::launcher) fn resume(&mut self) -> Vec<Action> {
        if !self.phase().is_up() || self.probes().is_empty() {
            return Vec::new();
        }
        if self.on_trial {
            self.health = Health::Confirming {
                exits: 0,
                stayed: false,
            };
            let mut actions = vec![self.arm_window()];
            actions.extend(self.begin_probes());
            return actions;
        }

        let probes = self.probes().to_vec();
        let delays = self.probing.resume(&probes);
        self.arm_probes(delays)
    }

    /// The service runs: its probes are asked, if they are not already.
    pub(super) fn begin_probes(&mut self) -> Vec<Action> {
        if self.probing.is_asking() {
            return Vec::new();
        }
        let probes = self.probes().to_vec();
        let delays = self.probing.begin(&probes);
        self.arm_probes(delays)
    }

    /// It stayed active through its start window.
    pub(super) fn stayed_active(&mut self) -> (Verdict, Vec<Action>) {
        let is_well = self.probes().is_empty() || self.probing.is_ready();
        match &mut self.health {
            _ if is_well => (Verdict::Same, self.confirm()),
            Health::Confirming { stayed, .. } if !*stayed => {
                *stayed = true;
                let longest = self.probes().iter().map(Probe::longest).max();
                let limit = longest.unwrap_or_default().saturating_add(BUSY);
                (Verdict::Same, vec![self.arm(limit)])
            }
            _ => self.unwell("its probes did not all succeed in time"),
        }
    }

    /// The service runs again after it was down.
    pub(super) fn recovered(&mut self) -> Vec<Action> {
        if self.probes().is_empty() {
            self.is_up();
            return Vec::new();
        }

        self.begin_probes()
    }

    /// The restart that was asked for has begun, or was refused.
    pub(super) fn restart_done(&mut self, outcome: Outcome<()>) -> (Verdict, Vec<Action>) {
        let mut actions = self.drive(instance::Event::ChangeDone);
        if let Err(error) = outcome {
            warn!(instance_id = %self.id, error = error.message, "an instance that is not well is not restarted");
            // It is found out again that it is not well, and tried again.
            self.restarting = false;
            if self.phase().is_up() && self.unit == UnitState::Active {
                actions.extend(self.begin_probes());
            }
        }
        actions.extend(self.change_next());

        (Verdict::Same, actions)
    }

    /// Restarts the service if that is wanted, and no other step is on its way.
    pub(super) fn restart_next(&mut self) -> Vec<Action> {
        if !self.restart_wanted || self.phase() != instance::Phase::Running {
            return Vec::new();
        }
        self.restart_wanted = false;
        self.restarting = true;

        self.drive(instance::Event::Restart)
    }

    fn ready(&mut self) -> Vec<Action> {
        match self.health {
            Health::Confirming { stayed: true, .. } => self.confirm(),
            Health::Confirming { stayed: false, .. } | Health::Up => Vec::new(),
            Health::Down(_) => {
                self.is_up();
                Vec::new()
            }
        }
    }

    fn confirm(&mut self) -> Vec<Action> {
        self.is_up();
        if !std::mem::take(&mut self.on_trial) {
            return Vec::new();
        }
        self.before = None;
        let trial = self.trial();

        self.blueprint
            .clone()
            .map(|blueprint| Action::Store { blueprint, trial })
            .into_iter()
            .collect()
    }

    fn is_up(&mut self) {
        self.last_exit = None;
        self.lacked_memory = false;
        self.restarting = false;
        self.health = Health::Up;
    }

    fn unwell(&mut self, why: &str) -> (Verdict, Vec<Action>) {
        self.probing.end();
        let error = ErrorInfo::new(format!("the service is not well: {why}"));
        match self.health {
            Health::Confirming { .. } => {
                let verdict = Verdict::Failed(error);
                return (verdict, self.drive(instance::Event::Stop));
            }
            Health::Up => {
                self.note_fault(&error);
            }
            Health::Down(_) => {}
        }
        self.health = Health::Down(error);
        self.restart_wanted = true;

        (Verdict::Same, self.restart_next())
    }

    fn probes(&self) -> &[Probe] {
        self.blueprint
            .as_ref()
            .map_or(&[], |blueprint| &blueprint.probes)
    }

    fn arm_probes(&self, delays: Vec<Duration>) -> Vec<Action> {
        let numbered = delays.into_iter().enumerate();
        numbered
            .map(|(probe, delay)| self.arm_probe(probe, delay))
            .collect()
    }

    fn arm_probe(&self, probe: usize, after: Duration) -> Action {
        Action::ArmProbe {
            id: self.id,
            probe,
            round: self.probing.round(),
            after,
        }
    }
}
