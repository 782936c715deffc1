//! What instances wait for, and what provider networks mean for those that run.

use super::{LauncherState, Progress};
use crate::launcher::event::Action;
use crate::launcher::host::Need;

impl LauncherState {
    /// What was refused for want of this is tried again. It keeps its error until
    /// it is better off.
    pub(super) fn may_be_had(&mut self, need: Need) {
        for wanted in &mut self.wanted {
            if matches!(wanted.progress, Progress::Waiting(own, _) if own == need) {
                wanted.progress = Progress::Content;
            }
        }
    }

    /// Other networks can be used than before.
    pub(super) fn networks_changed(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for slot in self.slots.values_mut() {
            slot.networks_changed();
        }
        self.may_be_had(Need::Network);
        for wanted in &mut self.wanted {
            let Progress::NotChanged(_, blueprint) = &wanted.progress else {
                continue;
            };
            let blueprint = blueprint.clone();
            match self.slots.get_mut(&wanted.id) {
                Some(slot) if slot.runs(&blueprint) => actions.extend(slot.change(blueprint)),
                _ => wanted.progress = Progress::Content,
            }
        }

        actions
    }
}
