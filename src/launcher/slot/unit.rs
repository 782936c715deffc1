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
                UnitEvent::OutOfMemory => self.lacked_memory = self.starts_unit(),
                UnitEvent::Exited(_) | UnitEvent::Restarted => {}
            }
            return (Verdict::Same, Vec::new());
        }

        match event {
            UnitEvent::OutOfMemory => {
                self.lacked_memory = true;
                (Verdict::Same, Vec::new())
            }
            UnitEvent::Exited(exit) => self.exited(Some(exit)),
            // It may have ended before as well, and that was told.
            UnitEvent::Restarted => {
                let (verdict, mut actions) = self.exited(None);
                if self.phase().is_up() && self.unit == UnitState::Active {
                    let (_, more) = self.changed(UnitState::Active, "");
                    actions.extend(more);
                }
                (verdict, actions)
            }
            UnitEvent::State { state, result } => {
                self.unit = state;
                self.changed(state, &result)
            }
        }
    }

    /// `None`: how it ended is not known.
    fn exited(&mut self, exit: Option<Exit>) -> (Verdict, Vec<Action>) {
        self.probing.end();
        // So we wanted it, and have told why.
        if std::mem::take(&mut self.restarting) && matches!(self.health, Health::Down(_)) {
            return (Verdict::Same, Vec::new());
        }
        self.last_exit = exit;
        let error = match exit {
            Some(_) => self.failure(""),
            None => ErrorInfo::new(
                "the service ended while nobody listened to systemd, and was started again",
            ),
        };

        match &mut self.health {
            Health::Confirming { exits, stayed } => {
                *exits += 1;
                *stayed = false;
                if *exits > self.burst() {
                    return self.give_up("did not stay active");
                }
            }
            Health::Up | Health::Down(_) => {
                self.note_fault(&error);
                self.health = Health::Down(error);
            }
        }

        (Verdict::Same, Vec::new())
    }

    /// CM is told of it even if it is over by then.
    pub(super) fn note_fault(&mut self, error: &ErrorInfo) {
        self.faults += 1;
        self.last_fault = self.blueprint.as_ref().map(|own| Fault {
            instance: self.id,
            version: own.service.key.version,
            number: self.faults,
            error: error.clone(),
        });
    }

    pub(super) fn changed(&mut self, state: UnitState, result: &str) -> (Verdict, Vec<Action>) {
        match (state, &self.health) {
            (UnitState::Active, Health::Confirming { exits: 1.., .. }) => {
                let mut actions = vec![self.arm_window()];
                actions.extend(self.begin_probes());
                (Verdict::Same, actions)
            }
            (UnitState::Active, Health::Confirming { .. }) => (Verdict::Same, self.begin_probes()),
            (UnitState::Active, Health::Down(_)) => (Verdict::Same, self.recovered()),
            (UnitState::Failed, _) => {
                let error = self.given_up(result);
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
            (UnitState::Active, Health::Up)
            | (UnitState::Activating | UnitState::Deactivating, _) => (Verdict::Same, Vec::new()),
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
        let memory = if self.lacked_memory || result == "oom-kill" {
            ": it used more memory than it may"
        } else {
            ""
        };
        let why = match result {
            "" | "success" | "exit-code" | "signal" | "core-dump" | "oom-kill"
            | "start-limit-hit" => String::new(),
            other => format!(": {other}"),
        };

        ErrorInfo {
            exit_code: self.last_exit.map_or(0, Exit::code),
            ..ErrorInfo::new(format!("the service {exit}{memory}{why}"))
        }
    }

    /// systemd restarts a service whatever it ended with: one that failed for good
    /// was started too often.
    fn given_up(&self, result: &str) -> ErrorInfo {
        let error = match &self.health {
            Health::Down(error) if self.last_exit.is_none() => error.clone(),
            Health::Confirming { .. } | Health::Up | Health::Down(_) => self.failure(result),
        };
        if self.last_exit.is_none() && result != "start-limit-hit" {
            return error;
        }

        ErrorInfo {
            message: format!(
                "{}, and keeps failing: systemd gave up restarting it",
                error.message
            ),
            ..error
        }
    }
}
