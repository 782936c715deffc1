//! All instances of the node and the newest desired list, as a value.
//!
//! Each event changes what is known; `advance` then compares what is wanted with
//! what runs and says what to do next. It looks at the state alone, not at how it
//! came about, so a newer list needs no special care: it only changes what is
//! wanted.
//!
//! Invariant: every instance of the list ends active or failed, what is not in
//! the list ends up holding nothing, and with `keepOld` an instance that stays in
//! the list is not stopped before its successor can start.

mod conditions;
mod content;
mod devices;
mod ending;
mod networks;
mod overview;
mod secrets;
mod trials;
mod turns;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::info;

use self::content::Installs;
use self::secrets::SecretChecks;
pub(super) use self::wanted::{Progress, Wanted, WantedList};
use super::content::ContentBook;
use super::devices::Limits;
use super::event::{Action, Event, Outcome, Ticket};
use super::host::{Blueprint, Need};
use super::instance::Phase;
use super::offline::Cloud;
use super::overrides::Overrides;
use super::plan;
use super::report::report;
use super::slot::{Health, Slot};
use crate::config::UpdatePolicy;
use crate::model::{DesiredState, InstanceId, InstanceIdent, RunStatus};

/// The launcher's whole state.
#[derive(Debug, Default)]
pub(super) struct LauncherState {
    policy: UpdatePolicy,
    pub(super) generation: u64,
    pub(super) settled: bool,
    force: bool,
    list: DesiredState,
    content: ContentBook,
    installs: Installs,
    /// The content manager is being told what is in use. One at a time, or the
    /// older word might be the last.
    retaining: Option<Ticket>,
    /// It has been told since that last changed for good.
    retained: bool,
    pub(super) wanted: WantedList,
    pub(super) slots: BTreeMap<InstanceId, Slot>,
    overrides: Overrides,
    cloud: Cloud,
    secrets: SecretChecks,
    last_ticket: Ticket,
    /// Which device CM was told that an instance does without.
    told_devices: BTreeMap<InstanceId, String>,
    limits: Limits,
    /// All instances end, whatever the list says.
    ending: bool,
}

impl LauncherState {
    /// What was found on the machine at start.
    pub(super) fn new(policy: UpdatePolicy, slots: Vec<(InstanceId, Slot)>) -> Self {
        Self {
            policy,
            slots: slots.into_iter().collect(),
            ..Self::default()
        }
    }

    /// A new list replaces the one that is being worked on.
    pub(super) fn desired(
        &mut self,
        list: DesiredState,
        ids: &BTreeMap<InstanceIdent, InstanceId>,
    ) -> Vec<Action> {
        self.generation += 1;
        self.accept(list, ids)
    }

    /// The stored list comes back at start: the list of generation 0.
    pub(super) fn restore(
        &mut self,
        list: DesiredState,
        ids: &BTreeMap<InstanceIdent, InstanceId>,
    ) -> Vec<Action> {
        let mut actions: Vec<_> = self.slots.values_mut().flat_map(Slot::resume).collect();
        actions.extend(self.accept(list, ids));
        actions
    }

    fn accept(
        &mut self,
        list: DesiredState,
        ids: &BTreeMap<InstanceIdent, InstanceId>,
    ) -> Vec<Action> {
        self.settled = false;
        self.retained = false;
        self.force = list.force_restart;
        self.content = ContentBook::new(&list);
        self.installs = Installs::Held;
        self.wanted = plan::wanted(&list, ids);
        self.list = list;

        let mut actions = vec![Action::CancelInstalls];
        actions.extend(self.advance());
        actions
    }

    /// Something happened.
    pub(super) fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = match event {
            Event::ServiceInstalled {
                ticket,
                key,
                outcome,
            } => {
                self.content.service_done(ticket, &key, outcome);
                Vec::new()
            }
            Event::LayerInstalled {
                ticket,
                digest,
                outcome,
            } => {
                self.content.layer_done(ticket, &digest, outcome);
                Vec::new()
            }
            Event::Retained { ticket } => self.told_in_use(ticket),
            Event::Prepared {
                ticket,
                id,
                outcome,
            } => self.prepared(ticket, id, outcome),
            Event::Proven {
                ticket,
                id,
                outcome,
            } => {
                self.proven(ticket, id, outcome);
                Vec::new()
            }
            Event::Damaged(damage) => self.damaged(&damage),
            Event::StepDone { id, outcome } => self.slot_event(id, |slot| slot.step_done(outcome)),
            Event::NotStored { id, error } => {
                let mut actions = self.slot_event(id, |slot| slot.not_stored(error));
                let need = Need::Database;
                actions.push(Action::TryAgain { need });
                actions
            }
            Event::MayBeHad(need) => {
                self.may_be_had(need);
                Vec::new()
            }
            Event::Unchangeable { id, error } => {
                self.slot_event(id, |slot| slot.unchangeable(&error))
            }
            Event::NetworksChanged => self.networks_changed(),
            Event::DevicesChanged => {
                self.devices_changed();
                Vec::new()
            }
            Event::Overridden(overrides) => {
                self.overridden(overrides);
                Vec::new()
            }
            Event::Cloud(cloud) => self.cloud_is(cloud),
            Event::IamIsBack => self.iam_is_back(),
            Event::SecretChecked { ticket, id, known } => self.secret_checked(ticket, id, known),
            Event::Unit(change) => self.slot_event(change.id, |slot| slot.unit(change.event)),
            Event::Due { id, timer } => self.slot_event(id, |slot| slot.due(timer)),
            Event::ProbeDue { id, probe, round } => {
                self.slot_event(id, |slot| slot.probe_due(probe, round))
            }
            Event::Probed {
                id,
                probe,
                round,
                outcome,
            } => self.slot_event(id, |slot| slot.probed(probe, round, outcome)),
        };
        actions.extend(self.advance());

        actions
    }

    /// The state as CM is told.
    pub(super) fn status(&self) -> RunStatus {
        RunStatus {
            generation: self.generation,
            settled: self.settled,
            instances: self
                .wanted
                .iter()
                .map(|wanted| report(wanted, self.slots.get(&wanted.id)))
                .collect(),
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.next();
        self.last_ticket
    }

    fn prepared(
        &mut self,
        ticket: Ticket,
        id: InstanceId,
        outcome: Outcome<Arc<Blueprint>>,
    ) -> Vec<Action> {
        let (force, generation) = (self.force, self.generation);
        let lacks_cloud = outcome
            .as_ref()
            .is_ok_and(|blueprint| self.lacks_cloud(id, blueprint));
        let proving = self.ticket();
        let is_asked =
            |wanted: &Wanted| matches!(wanted.progress, Progress::Preparing(own) if own == ticket);
        if let Ok(blueprint) = &outcome
            && self.wanted.get(id).is_some_and(is_asked)
            && let Some(actions) = self.stays_with_the_version_before(id, blueprint)
        {
            return actions;
        }
        let Some(wanted) = self.wanted.get_mut(id).filter(|own| is_asked(own)) else {
            return Vec::new();
        };

        match outcome {
            Err(error) => wanted.fail(error),
            Ok(_) if lacks_cloud => return self.wait_for_cloud(id),
            Ok(blueprint) => {
                self.limits.learn(&blueprint);
                let kept = self.slots.get_mut(&id).filter(|slot| {
                    slot.runs(&blueprint) && !(force && slot.started_in() < generation)
                });
                let Some(slot) = kept else {
                    if let Some(lack) = blueprint.lack() {
                        return self.lacks(id, lack, &blueprint);
                    }
                    wanted.progress = Progress::Proving(proving, blueprint.clone());
                    let ticket = proving;
                    return vec![Action::Prove { ticket, blueprint }];
                };
                wanted.progress = Progress::Started;
                self.told_devices.remove(&id);
                return slot.change(blueprint);
            }
        }

        Vec::new()
    }

    fn proven(&mut self, ticket: Ticket, id: InstanceId, outcome: Outcome<()>) {
        let Some(wanted) = self.wanted.get_mut(id) else {
            return;
        };
        let blueprint = match &wanted.progress {
            Progress::Proving(own, blueprint) if *own == ticket => blueprint.clone(),
            _ => return wanted.may_come_back(ticket, outcome),
        };

        match outcome {
            Err(error) => wanted.fail(error),
            Ok(()) => {
                self.content.proven(&blueprint.service.key);
                wanted.progress = Progress::Ready(blueprint);
            }
        }
    }

    /// Does whatever can be done now.
    fn advance(&mut self) -> Vec<Action> {
        if self.ending {
            return self.end_next();
        }

        let mut actions = self.share_devices();
        actions.extend(self.prepare_those_with_content());
        actions.extend(self.check_secrets());
        actions.extend(self.stop_those_not_wanted());
        actions.extend(self.install_once_there_is_room());
        actions.extend(self.start_those_whose_turn_it_is());

        if self.has_settled() {
            if !self.settled {
                self.settled = true;
                info!(generation = self.generation, "desired state has settled");
            }
            for wanted in &mut self.wanted {
                wanted.shown = None;
            }
            if !self.retained && self.retaining.is_none() {
                self.retained = true;
                actions.push(self.retain());
            }
        }

        actions
    }

    fn has_settled(&self) -> bool {
        let wanted_settled = self.wanted.iter().all(|wanted| match &wanted.progress {
            Progress::Content
            | Progress::Damaged(_)
            | Progress::Preparing(_)
            | Progress::Proving(..)
            | Progress::Ready(_)
            | Progress::Reverting { .. } => false,
            Progress::Failed(_) | Progress::Waiting(..) | Progress::NotChanged(..) => true,
            Progress::Started | Progress::Reverted(_) => {
                self.slots.get(&wanted.id).is_some_and(|slot| {
                    slot.phase() == Phase::Running
                        && !matches!(slot.health(), Health::Confirming { .. })
                })
            }
        });
        let others_gone = self.slots.iter().all(|(id, slot)| {
            let is_wanted = self.wanted.get(*id).is_some();
            let is_leftover = slot.blueprint().is_none() && slot.phase() != Phase::Stopped;
            slot.is_stuck() || is_wanted && !is_leftover
        });

        wanted_settled && others_gone
    }
}
