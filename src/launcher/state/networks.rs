//! What instances wait for, and what provider networks mean for those that run.

use super::{LauncherState, Progress};
use crate::launcher::event::Action;
use crate::launcher::host::Need;

impl LauncherState {
    /// What was refused for want of this is tried again. It keeps its error until
    /// it is better off.
    pub(super) fn may_be_had(&mut self, need: Need) {
        for slot in self.slots.values_mut() {
            slot.may_be_had(need);
        }
        for wanted in &mut self.wanted {
            if matches!(wanted.progress, Progress::Waiting(own, _) if own == need) {
                wanted.again(self.slots.get(&wanted.id));
            }
        }
    }

    /// Other networks can be used than before.
    pub(super) fn networks_changed(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.may_be_had(Need::Network);
        for wanted in &mut self.wanted {
            let Progress::NotChanged(_, blueprint) = &wanted.progress else {
                continue;
            };
            let blueprint = blueprint.clone();
            match self.slots.get_mut(&wanted.id) {
                Some(slot) if slot.runs(&blueprint) => actions.extend(slot.change(blueprint)),
                slot => wanted.again(slot.as_deref()),
            }
        }

        actions
    }
}
