//! What it means for the instances that IAM comes and goes.
//!
//! IAM keeps secrets in memory. When it is back, each instance that has one is
//! asked for; one that IAM does not know any more is started anew, since it
//! cannot be given another secret while it runs.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;

use super::{LauncherState, Progress};
use crate::launcher::event::{Action, Ticket};
use crate::launcher::host::Need;
use crate::launcher::instance::Phase;
use crate::model::InstanceId;

/// Secrets that IAM may have forgotten.
#[derive(Debug, Default)]
pub(super) struct SecretChecks {
    /// To be asked for as soon as the instance runs.
    to_do: BTreeSet<InstanceId>,
    /// IAM is being asked.
    asked: BTreeMap<InstanceId, Ticket>,
}

impl SecretChecks {
    /// The instance gets a new secret.
    pub(super) fn fresh(&mut self, id: InstanceId) {
        self.to_do.remove(&id);
        self.asked.remove(&id);
    }
}

impl LauncherState {
    /// IAM is there again.
    pub(super) fn iam_is_back(&mut self) -> Vec<Action> {
        self.may_be_had(Need::Secret);
        let holders = self.slots.iter().filter(|(_, slot)| {
            let blueprint = slot.blueprint();
            slot.phase() != Phase::Stopped && blueprint.is_some_and(|own| own.needs_secret())
        });
        self.secrets.to_do = holders.map(|(id, _)| *id).collect();

        vec![Action::TellWhoIsGone]
    }

    /// Asks for the secrets of those that run. One that is on the way to it may
    /// have got its secret from an IAM of before, and is asked for later.
    pub(super) fn check_secrets(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for id in std::mem::take(&mut self.secrets.to_do) {
            let (Some(slot), Some(wanted)) = (self.slots.get(&id), self.wanted.get(id)) else {
                continue;
            };
            let is_settled = match &wanted.progress {
                Progress::Started | Progress::NotChanged(..) => true,
                // Whether this one goes on is still to be seen.
                Progress::Content
                | Progress::Damaged(_)
                | Progress::Preparing(_)
                | Progress::Proving(..)
                | Progress::Reverting { .. }
                | Progress::Ready(_) => false,
                // An older version that runs on in its place could not be started
                // again, and does without.
                Progress::Waiting(..) | Progress::Reverted(_) | Progress::Failed(_) => continue,
            };
            match (slot.phase(), slot.blueprint()) {
                (Phase::Running | Phase::Changing, Some(blueprint)) if is_settled => {
                    let blueprint = blueprint.clone();
                    let ticket = self.ticket();
                    self.secrets.asked.insert(id, ticket);
                    actions.push(Action::CheckSecret { ticket, blueprint });
                }
                (Phase::Running | Phase::Changing | Phase::Acquiring, Some(_)) => {
                    self.secrets.to_do.insert(id);
                }
                (Phase::Stopped | Phase::Releasing | Phase::Paused, _) | (_, None) => {}
            }
        }

        actions
    }

    /// IAM has answered. What it says of a secret of before is of no interest.
    pub(super) fn secret_checked(
        &mut self,
        ticket: Ticket,
        id: InstanceId,
        known: bool,
    ) -> Vec<Action> {
        if self.secrets.asked.get(&id) != Some(&ticket) {
            return Vec::new();
        }
        self.secrets.asked.remove(&id);
        if known {
            return Vec::new();
        }
        let (Some(slot), Some(wanted)) = (self.slots.get_mut(&id), self.wanted.get_mut(id)) else {
            return Vec::new();
        };

        match &wanted.progress {
            Progress::Started | Progress::NotChanged(..) => {
                warn!(instance_id = %id, ident = %wanted.info.ident,
                    "IAM has forgotten its secret: it is started anew");
                wanted.again(Some(slot));
                slot.stop()
            }
            Progress::Content
            | Progress::Damaged(_)
            | Progress::Preparing(_)
            | Progress::Proving(..)
            | Progress::Reverting { .. }
            | Progress::Ready(_) => {
                self.secrets.to_do.insert(id);
                Vec::new()
            }
            Progress::Waiting(..) | Progress::Reverted(_) | Progress::Failed(_) => Vec::new(),
        }
    }
}
