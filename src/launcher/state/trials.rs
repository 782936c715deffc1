//! New versions that fail their trial, and what comes back.

use std::sync::Arc;

use super::{LauncherState, Progress};
use crate::launcher::event::Action;
use crate::launcher::host::Blueprint;
use crate::launcher::instance::Phase;
use crate::launcher::report::report;
use crate::launcher::slot::{Slot, Verdict};
use crate::model::{ErrorInfo, InstanceId};

impl LauncherState {
    /// Something happened to a slot.
    pub(super) fn slot_event(
        &mut self,
        id: InstanceId,
        event: impl FnOnce(&mut Slot) -> (Verdict, Vec<Action>),
    ) -> Vec<Action> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Vec::new();
        };
        let before = self.wanted.get(id).map(|wanted| report(wanted, Some(slot)));
        let kept_content = slot.before().is_some();
        let (verdict, mut actions) = event(slot);
        // What was kept for the case of a failure may go.
        if kept_content && slot.before().is_none() {
            self.retained = false;
        }

        let (is_stuck, may_go_back) = (slot.is_stuck(), slot.may_go_back());
        let (Some(wanted), Some(before)) = (self.wanted.get_mut(id), before) else {
            return actions;
        };
        match (verdict, &wanted.progress) {
            (Verdict::Failed(error), Progress::Started | Progress::NotChanged(..))
                if may_go_back =>
            {
                slot.fail_trial(&error);
                actions.extend(self.go_back(id, error));
            }
            (Verdict::Again(blueprint), Progress::Reverted(error)) => {
                let error = error.clone();
                slot.come_back_as(blueprint);
                actions.extend(self.go_back(id, error));
            }
            (verdict, _) => wanted.hear(verdict, is_stuck, before.desired.state),
        }

        actions
    }

    /// What was found to fail before SM ended is not tried again at its start.
    pub(super) fn stays_with_the_version_before(
        &mut self,
        id: InstanceId,
        blueprint: &Blueprint,
    ) -> Option<Vec<Action>> {
        if self.generation > 0 {
            return None;
        }
        let slot = self.slots.get(&id)?;
        let error = slot.has_refused(blueprint)?;
        if slot.phase().is_up() {
            let wanted = self.wanted.get_mut(id)?;
            wanted.progress = Progress::Reverted(error);
            return Some(Vec::new());
        }
        slot.before()?;

        Some(self.go_back(id, error))
    }

    /// Starts the version before in a stopped slot.
    pub(super) fn come_back(&mut self, id: InstanceId) -> Vec<Action> {
        let generation = self.generation;
        let wanted = self.wanted.get_mut(id);
        let (Some(wanted), Some(slot)) = (wanted, self.slots.get_mut(&id)) else {
            return Vec::new();
        };
        let Progress::Reverting { error, .. } = &wanted.progress else {
            return Vec::new();
        };
        if slot.phase() != Phase::Stopped {
            return slot.stop();
        }
        wanted.progress = Progress::Reverted(error.clone());

        slot.go_back(generation)
    }

    /// Stops what runs for the sake of `next`.
    pub(super) fn give_way(&mut self, id: InstanceId, next: &Arc<Blueprint>) -> Vec<Action> {
        let keeps = self.policy == crate::config::UpdatePolicy::KeepOld;
        let Some(slot) = self.slots.get_mut(&id) else {
            return Vec::new();
        };
        if keeps {
            slot.give_way_to(next);
        }

        slot.stop()
    }

    fn go_back(&mut self, id: InstanceId, error: ErrorInfo) -> Vec<Action> {
        let ticket = self.ticket();
        let before = self.slots.get(&id).and_then(Slot::before).cloned();
        let wanted = self.wanted.get_mut(id);
        let (Some(blueprint), Some(wanted)) = (before, wanted) else {
            return Vec::new();
        };
        wanted.revert(ticket, error);

        vec![Action::Prove { ticket, blueprint }]
    }
}
