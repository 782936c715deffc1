//! What systemd says of an instance's unit, and what it means.

use super::{Health, Slot, Verdict};
use crate::launcher::event::Action;
use crate::launcher::host::{Exit, UnitEvent, UnitState};
use crate::launcher::instance;
use crate::model::{ErrorInfo, Fault};

impl Slot {
    /// systemd says something of the unit.
    pub(in crate::launcher) fn unit(&mut self, event: UnitEvent) -> (Verdict, Vec<Action>) {
        if !self.phase().is_up() {
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

    pub(super) fn changed(&mut self, state: UnitState, result: &str) -> (Verdict, Vec<Action>) {
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

    pub(super) fn give_up(&mut self, why: &str) -> (Verdict, Vec<Action>) {
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
}
