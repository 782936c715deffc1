//! The end of all instances, with SM's own.
//!
//! The list stays desired: the next start of SM begins with it.

use std::cmp::Reverse;

use super::LauncherState;
use crate::launcher::event::Action;
use crate::launcher::instance::Phase;
use crate::launcher::slot::Slot;
use crate::model::InstanceId;

impl LauncherState {
    /// From now on nothing is started. What runs stops, those of the lowest
    /// priority first and beside each other, then the next.
    pub(in crate::launcher) fn end(&mut self) -> Vec<Action> {
        self.ending = true;
        let mut actions = vec![Action::CancelInstalls];
        actions.extend(self.advance());
        actions
    }

    /// Whether all instances end, or have ended.
    pub(in crate::launcher) fn is_ending(&self) -> bool {
        self.ending
    }

    /// Whether nothing is left but what cannot be given back.
    pub(in crate::launcher) fn has_ended(&self) -> bool {
        self.ending && !self.slots.values().any(is_in_the_way)
    }

    /// Stops those that are to end next.
    pub(super) fn end_next(&mut self) -> Vec<Action> {
        let mut actions = self.stop_those_not_wanted();
        let rank = |id: InstanceId| Reverse(self.wanted.get(id).map(|own| own.info.priority));
        let left = self.slots.iter().filter(|(_, slot)| is_in_the_way(slot));
        let Some(lowest) = left.map(|(id, _)| rank(*id)).max() else {
            return actions;
        };

        let group: Vec<_> = self
            .slots
            .keys()
            .copied()
            .filter(|id| rank(*id) == lowest)
            .collect();
        for id in group {
            if let Some(slot) = self.slots.get_mut(&id) {
                actions.extend(slot.stop());
            }
        }

        actions
    }
}

fn is_in_the_way(slot: &Slot) -> bool {
    slot.phase() != Phase::Stopped && !slot.is_stuck()
}
