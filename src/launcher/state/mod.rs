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

mod content;
mod networks;
mod turns;
mod wanted;

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::info;

use self::content::Installs;
pub(super) use self::wanted::{Progress, Wanted};
use super::content::ContentBook;
use super::event::{Action, Event, Outcome, Ticket};
use super::host::Blueprint;
use super::instance::Phase;
use super::plan;
use super::slot::{Health, Slot, Verdict};
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
    pub(super) wanted: Vec<Wanted>,
    pub(super) slots: BTreeMap<InstanceId, Slot>,
    last_ticket: Ticket,
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
        self.accept(list, ids)
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
            Event::Unchangeable { id, error } => {
                self.slot_event(id, |slot| slot.unchangeable(&error))
            }
            Event::NetworksChanged => self.networks_changed(),
            Event::Unit(change) => self.slot_event(change.id, |slot| slot.unit(change.event)),
            Event::Due { id, timer } => self.slot_event(id, |slot| slot.due(timer)),
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
                .map(|wanted| super::report::report(wanted, self.slots.get(&wanted.id)))
                .collect(),
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.next();
        self.last_ticket
    }

    fn wanted(&self, id: InstanceId) -> Option<&Wanted> {
        self.wanted.iter().find(|wanted| wanted.id == id)
    }

    fn slot_event(
        &mut self,
        id: InstanceId,
        event: impl FnOnce(&mut Slot) -> (Verdict, Vec<Action>),
    ) -> Vec<Action> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Vec::new();
        };
        let (verdict, actions) = event(slot);

        if let Some(wanted) = self.wanted.iter_mut().find(|wanted| wanted.id == id) {
            wanted.hear(verdict, slot.is_stuck());
        }

        actions
    }

    fn prepared(
        &mut self,
        ticket: Ticket,
        id: InstanceId,
        outcome: Outcome<Arc<Blueprint>>,
    ) -> Vec<Action> {
        let (force, generation) = (self.force, self.generation);
        let proving = self.ticket();
        let Some(wanted) = self.wanted.iter_mut().find(|wanted| {
            wanted.id == id && matches!(wanted.progress, Progress::Preparing(own) if own == ticket)
        }) else {
            return Vec::new();
        };

        match outcome {
            Err(error) => wanted.fail(error),
            Ok(blueprint) => {
                let kept = self.slots.get_mut(&id).filter(|slot| {
                    slot.runs(&blueprint) && !(force && slot.started_in() < generation)
                });
                let Some(slot) = kept else {
                    wanted.progress = Progress::Proving(proving, blueprint.clone());
                    let ticket = proving;
                    return vec![Action::Prove { ticket, blueprint }];
                };
                wanted.progress = Progress::Started;
                return slot.change(blueprint);
            }
        }

        Vec::new()
    }

    fn proven(&mut self, ticket: Ticket, id: InstanceId, outcome: Outcome<()>) {
        let Some(wanted) = self.wanted.iter_mut().find(|wanted| wanted.id == id) else {
            return;
        };
        let blueprint = match &wanted.progress {
            Progress::Proving(own, blueprint) if *own == ticket => blueprint.clone(),
            _ => return,
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
        let mut actions = self.prepare_those_with_content();
        actions.extend(self.stop_those_not_wanted());
        actions.extend(self.install_once_there_is_room());
        actions.extend(self.start_those_whose_turn_it_is());

        if self.has_settled() {
            if !self.settled {
                self.settled = true;
                info!(generation = self.generation, "desired state has settled");
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
            | Progress::Ready(_) => false,
            Progress::Failed(_) | Progress::Waiting(..) | Progress::NotChanged(..) => true,
            Progress::Started => self.slots.get(&wanted.id).is_some_and(|slot| {
                slot.phase() == Phase::Running
                    && !matches!(slot.health(), Health::Confirming { .. })
            }),
        });
        let others_gone = self.slots.iter().all(|(id, slot)| {
            let is_wanted = self.wanted(*id).is_some();
            let is_leftover = slot.blueprint().is_none() && slot.phase() != Phase::Stopped;
            slot.is_stuck() || is_wanted && !is_leftover
        });

        wanted_settled && others_gone
    }
}
