//! What a running instance is given without a restart.
//!
//! At most one change is on its way, and at most one waits for the step in
//! flight: a newer one takes its place. The instance runs with what the last
//! change that succeeded gave it.

use std::sync::Arc;

use tracing::warn;

use super::{Slot, Verdict};
use crate::launcher::event::{Action, Outcome};
use crate::launcher::host::{Blueprint, Need, Resource};
use crate::launcher::instance::{self, Phase, Step};
use crate::model::ErrorInfo;

/// Changes of one slot.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What it is being given.
    now: Option<Arc<Blueprint>>,
    /// What it is to be given after the step in flight.
    next: Option<Arc<Blueprint>>,
    /// It was taken over without its place in the network.
    lacks_network: bool,
    /// What the step in flight may have needed came meanwhile.
    news: bool,
}

impl Changes {
    /// Those of an instance that was found on the machine.
    pub(super) fn found(has_network: bool) -> Self {
        Self {
            lacks_network: !has_network,
            ..Self::default()
        }
    }

    /// What the instance is being given.
    pub(super) fn now(&self) -> Option<Arc<Blueprint>> {
        self.now.clone()
    }

    /// What it was to be given after the step in flight.
    pub(super) fn take_next(&mut self) -> Option<Arc<Blueprint>> {
        self.next.take()
    }

    /// It stops.
    pub(super) fn drop_next(&mut self) {
        self.next = None;
    }

    /// A new step begins, with what can be had now.
    pub(super) fn forget_news(&mut self) {
        self.news = false;
    }
}

impl Slot {
    /// Gives an instance that runs, or is on the way to it, what of the blueprint
    /// is other than what it has, or is about to get.
    pub(in crate::launcher) fn change(&mut self, blueprint: Arc<Blueprint>) -> Vec<Action> {
        let changes = &self.changes;
        let coming = changes.next.as_ref().or(changes.now.as_ref());
        let has_it = match coming.or(self.blueprint.as_ref()) {
            Some(own) => {
                own.reach() == blueprint.reach() && (coming.is_some() || !changes.lacks_network)
            }
            None => false,
        };
        if has_it {
            return Vec::new();
        }

        self.changes.next = Some(blueprint);
        self.change_next()
    }

    /// This can be had, or is other than when the step in flight began.
    pub(in crate::launcher) fn may_be_had(&mut self, need: Need) {
        let needed = match self.in_flight {
            Some(Step::Acquire(resource)) => Need::of(resource),
            Some(Step::Change) => Some(Need::Network),
            Some(Step::Release(_) | Step::Restart | Step::Pause | Step::Nothing) | None => None,
        };
        self.changes.news |= needed == Some(need);
    }

    /// Begins the change that waits, unless another step has to end first.
    pub(super) fn change_next(&mut self) -> Vec<Action> {
        if self.phase() != Phase::Running || self.changes.next.is_none() {
            return Vec::new();
        }

        self.changes.now = self.changes.next.take();
        self.changes.news = false;
        self.drive(instance::Event::Change)
    }

    /// The change in flight is over.
    pub(super) fn change_done(&mut self, outcome: Outcome<()>) -> (Verdict, Vec<Action>) {
        let Some(given) = self.changes.now.take() else {
            return (Verdict::Same, Vec::new());
        };
        let verdict = match outcome {
            Ok(()) => {
                self.changes.lacks_network = false;
                let has_it = |next: &mut Arc<Blueprint>| next.reach() == given.reach();
                self.changes.next.take_if(has_it);
                self.blueprint = Some(given);
                Verdict::Changed
            }
            Err(error) => {
                if self.changes.news {
                    self.changes.next.get_or_insert_with(|| given.clone());
                }
                Verdict::NotChanged(self.unchanged(&error), given)
            }
        };

        let mut actions = self.drive(instance::Event::ChangeDone);
        if self.phase() != Phase::Running {
            return (Verdict::Same, actions);
        }
        actions.extend(self.restart_next());
        actions.extend(self.change_next());
        if self.phase() == Phase::Changing {
            return (Verdict::Same, actions);
        }

        (verdict, actions)
    }

    /// The change in flight has found that the instance has to be started anew.
    pub(in crate::launcher) fn unchangeable(
        &mut self,
        error: &ErrorInfo,
    ) -> (Verdict, Vec<Action>) {
        self.in_flight = None;
        let given = self.changes.now.take();
        let Some(wanted) = self.changes.next.take().or(given) else {
            return (Verdict::Same, Vec::new());
        };
        warn!(instance_id = %self.id, error = error.message, "instance is started anew");

        // It turns around as soon as the change is over.
        self.drive(instance::Event::Stop);
        (
            Verdict::Again(wanted),
            self.drive(instance::Event::ChangeDone),
        )
    }

    /// What a refused acquisition means. What the instance was to be given after
    /// its start may be what makes the start possible.
    pub(super) fn refused(&mut self, resource: Resource, error: ErrorInfo) -> Verdict {
        let need = Need::of(resource);
        let retry = self
            .blueprint
            .clone()
            .filter(|_| need.is_some() && self.changes.news);
        match self.changes.take_next().or(retry) {
            Some(blueprint) => Verdict::Again(blueprint),
            None => match need {
                Some(need) => self.waits(need, error),
                None => Verdict::Failed(error),
            },
        }
    }

    fn unchanged(&self, error: &ErrorInfo) -> ErrorInfo {
        let what = if self.changes.lacks_network {
            "its place in the network could not be taken over"
        } else {
            "its network could not be changed"
        };
        let message = format!("{what}, it runs on as it was: {}", error.message);

        ErrorInfo {
            message,
            ..error.clone()
        }
    }
}
