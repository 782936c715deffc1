//! What provider networks mean for instances.

use super::{LauncherState, Progress};
use crate::launcher::event::Action;

impl LauncherState {
    /// Other networks can be used than before: what was refused for want of one
    /// is tried again. It keeps its error until it is better off.
    pub(super) fn networks_changed(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for slot in self.slots.values_mut() {
            slot.networks_changed();
        }
        for wanted in &mut self.wanted {
            match &wanted.progress {
                Progress::NoNetwork(_) => wanted.progress = Progress::Content,
                Progress::NotChanged(_, blueprint) => {
                    let blueprint = blueprint.clone();
                    match self.slots.get_mut(&wanted.id) {
                        Some(slot) if slot.runs(&blueprint) => {
                            actions.extend(slot.change(blueprint));
                        }
                        _ => wanted.progress = Progress::Content,
                    }
                }
                Progress::Content
                | Progress::Damaged(_)
                | Progress::Preparing(_)
                | Progress::Proving(..)
                | Progress::Ready(_)
                | Progress::Started
                | Progress::Failed(_) => {}
            }
        }

        actions
    }
}
