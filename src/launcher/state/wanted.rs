//! The instances of a list.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tracing::warn;

use crate::launcher::event::{Outcome, Ticket};
use crate::launcher::host::{Blueprint, Need};
use crate::launcher::report::report;
use crate::launcher::slot::{Slot, Verdict};
use crate::model::{ErrorInfo, InstanceId, InstanceInfo, RunState, ServiceKey};

/// How far a wanted instance has come.
#[derive(Clone, Debug)]
pub(in crate::launcher) enum Progress {
    /// Its content is being installed.
    Content,
    /// Its content was damaged and is being installed again.
    Damaged(ErrorInfo),
    /// Its plan is being made.
    Preparing(Ticket),
    /// It has to be started: whether its content is in order is being found out.
    Proving(Ticket, Arc<Blueprint>),
    /// It waits for its turn to start.
    Ready(Arc<Blueprint>),
    /// Its slot runs, or is on the way to it.
    Started,
    /// It runs, but could not be given what the list says for it.
    NotChanged(ErrorInfo, Arc<Blueprint>),
    /// It lacks this, and is tried again when that may be had.
    Waiting(Need, ErrorInfo),
    /// The version of the list failed its trial, and ends. The one before comes
    /// back once it is known that its content is in order.
    Reverting {
        error: ErrorInfo,
        ticket: Ticket,
        proven: bool,
    },
    /// The version of the list failed its trial; its slot runs the one before, or is
    /// on the way to it.
    Reverted(ErrorInfo),
    /// It will not run.
    Failed(ErrorInfo),
}

/// One instance of the list.
#[derive(Clone, Debug)]
pub(in crate::launcher) struct Wanted {
    pub(in crate::launcher) id: InstanceId,
    pub(in crate::launcher) info: InstanceInfo,
    pub(in crate::launcher) service: Option<ServiceKey>,
    pub(in crate::launcher) progress: Progress,
    /// What it was to start with when it was last refused a device.
    pub(in crate::launcher) without: Option<Arc<Blueprint>>,
    /// What it is reported as while SM starts it anew on its own: CM is told of
    /// what comes of that, not of the stop.
    pub(in crate::launcher) shown: Option<RunState>,
}

/// The instances of a list, each once, in its order. They are found by their ids
/// at once, however many there are.
#[derive(Debug, Default)]
pub(in crate::launcher) struct WantedList {
    instances: Vec<Wanted>,
    positions: HashMap<InstanceId, usize>,
}

impl WantedList {
    pub(in crate::launcher) fn get(&self, id: InstanceId) -> Option<&Wanted> {
        self.instances.get(*self.positions.get(&id)?)
    }

    pub(in crate::launcher) fn get_mut(&mut self, id: InstanceId) -> Option<&mut Wanted> {
        self.instances.get_mut(*self.positions.get(&id)?)
    }
}

impl FromIterator<Wanted> for WantedList {
    /// The first of those with the same id counts.
    fn from_iter<I: IntoIterator<Item = Wanted>>(instances: I) -> Self {
        let mut list = Self::default();
        for wanted in instances {
            let position = list.instances.len();
            if let Entry::Vacant(entry) = list.positions.entry(wanted.id) {
                entry.insert(position);
                list.instances.push(wanted);
            }
        }
        list
    }
}

impl Deref for WantedList {
    type Target = [Wanted];

    fn deref(&self) -> &[Wanted] {
        &self.instances
    }
}

impl DerefMut for WantedList {
    fn deref_mut(&mut self) -> &mut [Wanted] {
        &mut self.instances
    }
}

impl<'a> IntoIterator for &'a mut WantedList {
    type Item = &'a mut Wanted;
    type IntoIter = std::slice::IterMut<'a, Wanted>;

    fn into_iter(self) -> Self::IntoIter {
        self.instances.iter_mut()
    }
}

impl Wanted {
    /// It will not run.
    pub(super) fn fail(&mut self, error: ErrorInfo) {
        self.tell(&error, "instance failed");
        self.progress = Progress::Failed(error);
    }

    /// It is drawn again, and started anew if it has to be.
    pub(super) fn again(&mut self, slot: Option<&Slot>) {
        let report = report(self, slot);
        self.shown.get_or_insert(report.desired.state);
        self.progress = Progress::Content;
    }

    /// It stops, and waits until this may be had.
    pub(super) fn wait_for(&mut self, need: Need, error: ErrorInfo) {
        self.tell(&error, "instance waits for what it needs");
        self.progress = Progress::Waiting(need, error);
    }

    /// What became of its slot, and what was reported before.
    pub(super) fn hear(&mut self, verdict: Verdict, slot_is_stuck: bool, before: RunState) {
        match (verdict, &self.progress) {
            (Verdict::Failed(error), Progress::Started | Progress::NotChanged(..)) => {
                self.fail(error);
            }
            (Verdict::Failed(error), Progress::Ready(_)) if slot_is_stuck => self.fail(error),
            (Verdict::Failed(after), Progress::Reverting { error, .. }) if slot_is_stuck => {
                let error = both(error, &after);
                self.fail(error);
            }
            (Verdict::Failed(after), Progress::Reverted(error)) => {
                let error = both(error, &after);
                self.fail(error);
            }
            (Verdict::Waits(need, after), Progress::Reverted(error)) => {
                let error = both(error, &after);
                self.tell(&error, "instance waits for what it needs");
                self.progress = Progress::Waiting(need, error);
            }
            (Verdict::Waits(need, error), Progress::Started) => {
                self.without = None;
                self.wait_for(need, error);
            }
            (Verdict::Again(blueprint), Progress::Started | Progress::NotChanged(..)) => {
                self.shown.get_or_insert(before);
                self.progress = Progress::Ready(blueprint);
            }
            (
                Verdict::NotChanged(error, blueprint),
                Progress::Started | Progress::NotChanged(..),
            ) => {
                self.tell(&error, "instance runs on unchanged");
                self.progress = Progress::NotChanged(error, blueprint);
            }
            (Verdict::Changed, Progress::NotChanged(..)) => self.progress = Progress::Started,
            // What a list before wanted of it, or nothing to tell.
            (
                Verdict::Same
                | Verdict::Changed
                | Verdict::NotChanged(..)
                | Verdict::Waits(..)
                | Verdict::Again(_)
                | Verdict::Failed(_),
                _,
            ) => {}
        }
    }

    /// The version before comes back, if its content is in order.
    pub(super) fn revert(&mut self, ticket: Ticket, error: ErrorInfo) {
        self.tell(&error, "instance goes back to the version before");
        self.progress = Progress::Reverting {
            error,
            ticket,
            proven: false,
        };
    }

    /// Whether the content of the version that comes back is in order.
    pub(super) fn may_come_back(&mut self, own: Ticket, outcome: Outcome<()>) {
        let Progress::Reverting {
            error,
            ticket,
            proven,
        } = &mut self.progress
        else {
            return;
        };
        if *ticket != own {
            return;
        }
        match outcome {
            Ok(()) => *proven = true,
            Err(after) => {
                let error = both(error, &after);
                self.fail(error);
            }
        }
    }

    /// It does not run until its content is in order again.
    pub(super) fn wait_for_healing(&mut self, error: ErrorInfo) {
        self.tell(
            &error,
            "instance waits until its content is installed again",
        );
        self.progress = Progress::Damaged(error);
    }

    fn tell(&self, error: &ErrorInfo, what: &str) {
        let ident = &self.info.ident;
        warn!(instance_id = %self.id, service_id = %ident.service_id,
            subject_id = %ident.subject_id, index = ident.index, error = error.message,
            "{what}");
    }
}

/// A version failed, and what ran in its place ended.
pub(super) fn instead(own: &ErrorInfo, after: &str) -> ErrorInfo {
    ErrorInfo::new(format!("{}; what ran instead: {after}", own.message))
}

/// A version failed, and then the one before.
pub(super) fn both(error: &ErrorInfo, after: &ErrorInfo) -> ErrorInfo {
    let message = format!(
        "{}; the version before it does not run either: {}",
        error.message, after.message
    );
    ErrorInfo {
        exit_code: error.exit_code,
        ..ErrorInfo::new(message)
    }
}
