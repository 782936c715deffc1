//! Who is prepared, stopped and started next.

use tracing::info;

use super::{LauncherState, Progress};
use crate::config::UpdatePolicy;
use crate::launcher::content::Readiness;
use crate::launcher::event::Action;
use crate::launcher::host::Order;
use crate::launcher::instance::Phase;
use crate::launcher::plan;
use crate::launcher::slot::Slot;
use crate::model::{ErrorInfo, InstanceId};

impl LauncherState {
    pub(super) fn prepare_those_with_content(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for wanted in &mut self.wanted {
            let (Progress::Content | Progress::Damaged(_), Some(service)) =
                (&wanted.progress, &wanted.service)
            else {
                continue;
            };
            match (self.content.readiness(service), &wanted.progress) {
                (Readiness::Pending, _) => {}
                (Readiness::Failed(error), Progress::Damaged(damage)) if error != *damage => {
                    let message = format!("{}; {}", damage.message, error.message);
                    wanted.fail(ErrorInfo::new(message));
                }
                (Readiness::Failed(error), _) => wanted.fail(error),
                (Readiness::Ready, _) => {
                    self.last_ticket = self.last_ticket.next();
                    let ticket = self.last_ticket;
                    actions.push(Action::Prepare {
                        ticket,
                        order: Order {
                            id: wanted.id,
                            info: wanted.info.clone(),
                            service: service.clone(),
                            variables: self.overrides.of(&wanted.info.ident),
                        },
                    });
                    wanted.progress = Progress::Preparing(ticket);
                }
            }
        }

        actions
    }

    pub(super) fn stop_those_not_wanted(&mut self) -> Vec<Action> {
        let outgoing: Vec<_> = self
            .slots
            .iter()
            .filter(|(id, slot)| slot.blueprint().is_none() || self.gives_way(**id, slot))
            .map(|(id, _)| *id)
            .collect();

        let mut actions = Vec::new();
        for id in outgoing {
            let is_wanted = self.wanted.get(id).is_some();
            let Some(slot) = self.slots.get_mut(&id) else {
                continue;
            };
            actions.extend(slot.stop());
            if !is_wanted && slot.phase() == Phase::Stopped {
                let ident = slot.ident().cloned();
                self.slots.remove(&id);
                self.told_devices.remove(&id);
                actions.push(Action::Forget { id, ident });
            }
        }

        actions
    }

    /// Whether what runs in the slot ends, whatever becomes of the list's content.
    pub(super) fn gives_way(&self, id: InstanceId, slot: &Slot) -> bool {
        let Some(wanted) = self.wanted.get(id) else {
            return true;
        };
        match self.policy {
            UpdatePolicy::KeepOld => false,
            UpdatePolicy::Replace => slot
                .blueprint()
                .is_some_and(|own| Some(&own.service.key) != wanted.service.as_ref()),
        }
    }

    pub(super) fn start_those_whose_turn_it_is(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for id in plan::turn(&self.wanted, &self.slots, &self.limits) {
            let Some(wanted) = self.wanted.get_mut(id) else {
                continue;
            };
            let blueprint = match &wanted.progress {
                Progress::Ready(blueprint) => blueprint.clone(),
                Progress::Reverting { .. } => {
                    actions.extend(self.come_back(id));
                    continue;
                }
                _ => continue,
            };
            let slot = self
                .slots
                .entry(id)
                .or_insert_with(|| Slot::new(id, Some(blueprint.info.ident.clone())));
            match slot.phase() {
                Phase::Stopped => {
                    info!(instance_id = %id, service_id = %wanted.info.ident.service_id,
                        subject_id = %wanted.info.ident.subject_id,
                        index = wanted.info.ident.index, "starting instance");
                    actions.extend(slot.start(blueprint, self.generation));
                    self.secrets.fresh(id);
                    wanted.progress = Progress::Started;
                    self.told_devices.remove(&id);
                }
                Phase::Acquiring
                | Phase::Running
                | Phase::Changing
                | Phase::Releasing
                | Phase::Paused => actions.extend(self.give_way(id, &blueprint)),
            }
        }
        // What stands in the way of a start and has to go itself goes now.
        for id in plan::in_the_way(&self.wanted, &self.slots) {
            let next = match self.wanted.get(id).map(|wanted| &wanted.progress) {
                Some(Progress::Ready(blueprint)) => blueprint.clone(),
                _ => continue,
            };
            actions.extend(self.give_way(id, &next));
        }

        actions
    }
}
