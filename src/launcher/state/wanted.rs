//! The instances of a list.

use std::sync::Arc;

use tracing::warn;

use crate::launcher::event::Ticket;
use crate::launcher::host::{Blueprint, Need};
use crate::launcher::slot::Verdict;
use crate::model::{ErrorInfo, InstanceId, InstanceInfo, ServiceKey};

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
}

impl Wanted {
    /// It will not run.
    pub(super) fn fail(&mut self, error: ErrorInfo) {
        self.tell(&error, "instance failed");
        self.progress = Progress::Failed(error);
    }

    /// What became of its slot.
    pub(super) fn hear(&mut self, verdict: Verdict, slot_is_stuck: bool) {
        match (verdict, &self.progress) {
            (Verdict::Failed(error), Progress::Started | Progress::NotChanged(..)) => {
                self.fail(error);
            }
            (Verdict::Failed(error), Progress::Ready(_)) if slot_is_stuck => self.fail(error),
            (Verdict::Waits(need, error), Progress::Started) => {
                self.tell(&error, "instance waits for what it needs");
                self.progress = Progress::Waiting(need, error);
            }
            (Verdict::Again(blueprint), Progress::Started | Progress::NotChanged(..)) => {
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
