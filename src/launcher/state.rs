//! All instances of the node and the newest desired list, as a value.
//!
//! Each event changes what is known; [`LauncherState::advance`] then compares
//! what is wanted with what runs and says what to do next. It looks at the
//! state alone, not at how it came about, so a newer list needs no special
//! care: it only changes what is wanted.
//!
//! Invariant: every instance of the list ends active or failed, and what is not
//! in the list ends up holding nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::{info, warn};

use super::content::{ContentBook, Readiness};
use super::event::{Action, Event, Outcome};
use super::host::Blueprint;
use super::instance::Phase;
use super::plan;
use super::slot::{Health, Slot, Verdict};
use crate::model::{
    DesiredState, ErrorInfo, InstanceId, InstanceIdent, InstanceInfo, RunStatus, ServiceInfo,
    ServiceKey,
};

/// How far a wanted instance has come.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    /// Its content is being installed.
    Content,
    /// Its plan is being made.
    Preparing,
    /// It waits for its turn to start.
    Ready(Arc<Blueprint>),
    /// Its slot runs, or is on the way to it.
    Started,
    /// It will not run.
    Failed(ErrorInfo),
}

/// One instance of the list.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) id: InstanceId,
    pub(super) info: InstanceInfo,
    pub(super) service: Option<ServiceKey>,
    pub(super) progress: Progress,
}

/// The launcher's whole state.
#[derive(Debug, Default)]
pub(super) struct LauncherState {
    pub(super) generation: u64,
    pub(super) settled: bool,
    force: bool,
    list: DesiredState,
    content: ContentBook,
    pub(super) wanted: Vec<Wanted>,
    pub(super) slots: BTreeMap<InstanceId, Slot>,
}

impl LauncherState {
    /// What was found on the machine at start.
    pub(super) fn new(slots: Vec<(InstanceId, Slot)>) -> Self {
        Self {
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
        self.force = list.force_restart;
        self.content = ContentBook::new(&list);
        self.wanted = plan::wanted(&list, ids);
        self.list = list;

        let generation = self.generation;
        let mut actions = vec![Action::CancelInstalls];
        actions.extend(
            self.list
                .services
                .iter()
                .cloned()
                .map(|service| Action::InstallService {
                    generation,
                    service,
                }),
        );
        actions.extend(
            self.list
                .layers
                .iter()
                .cloned()
                .map(|layer| Action::InstallLayer { generation, layer }),
        );
        actions.extend(self.advance());

        actions
    }

    /// Something happened.
    pub(super) fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = match event {
            Event::ServiceInstalled {
                generation,
                key,
                outcome,
            } => {
                if generation == self.generation {
                    self.content.service_done(key, outcome);
                }
                Vec::new()
            }
            Event::LayerInstalled {
                generation,
                digest,
                outcome,
            } => {
                if generation == self.generation {
                    self.content.layer_done(digest, outcome);
                }
                Vec::new()
            }
            Event::Prepared {
                generation,
                id,
                outcome,
            } => {
                if generation == self.generation {
                    self.prepared(id, outcome);
                }
                Vec::new()
            }
            Event::StepDone { id, outcome } => self.slot_event(id, |slot| slot.step_done(outcome)),
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

    fn slot_event(
        &mut self,
        id: InstanceId,
        event: impl FnOnce(&mut Slot) -> (Verdict, Vec<Action>),
    ) -> Vec<Action> {
        let Some(slot) = self.slots.get_mut(&id) else {
            return Vec::new();
        };
        let (verdict, actions) = event(slot);

        if let Verdict::Failed(error) = verdict
            && let Some(wanted) = self.wanted.iter_mut().find(|wanted| wanted.id == id)
            && (matches!(wanted.progress, Progress::Started)
                || matches!(wanted.progress, Progress::Ready(_)) && slot.is_stuck())
        {
            wanted.fail(error);
        }

        actions
    }

    fn prepared(&mut self, id: InstanceId, outcome: Outcome<Arc<Blueprint>>) {
        let (force, generation) = (self.force, self.generation);
        let Some(wanted) = self.wanted.iter_mut().find(|wanted| wanted.id == id) else {
            return;
        };

        match outcome {
            Err(error) => wanted.fail(error),
            Ok(blueprint) => {
                let kept = self.slots.get(&id).is_some_and(|slot| {
                    slot.runs(&blueprint) && !(force && slot.started_in() < generation)
                });
                wanted.progress = if kept {
                    Progress::Started
                } else {
                    Progress::Ready(blueprint)
                };
            }
        }
    }

    /// Does whatever can be done now.
    fn advance(&mut self) -> Vec<Action> {
        let mut actions = self.prepare_those_with_content();
        actions.extend(self.stop_those_not_wanted());
        actions.extend(self.start_those_whose_turn_it_is());

        if !self.settled && self.has_settled() {
            self.settled = true;
            info!(generation = self.generation, "desired state has settled");
            actions.extend(self.retain());
        }

        actions
    }

    fn prepare_those_with_content(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for wanted in &mut self.wanted {
            let (Progress::Content, Some(service)) = (&wanted.progress, &wanted.service) else {
                continue;
            };
            match self.content.readiness(service) {
                Readiness::Pending => {}
                Readiness::Failed(error) => wanted.fail(error),
                Readiness::Ready => {
                    actions.push(Action::Prepare {
                        generation: self.generation,
                        id: wanted.id,
                        info: wanted.info.clone(),
                        service: service.clone(),
                    });
                    wanted.progress = Progress::Preparing;
                }
            }
        }

        actions
    }

    fn stop_those_not_wanted(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut gone = Vec::new();
        for (id, slot) in &mut self.slots {
            let is_wanted = self.wanted.iter().any(|wanted| wanted.id == *id);
            // Without a blueprint it is a leftover, and goes in any case.
            if is_wanted && slot.blueprint().is_some() {
                continue;
            }
            actions.extend(slot.stop());
            if !is_wanted && slot.phase() == Phase::Stopped {
                gone.push(*id);
            }
        }
        for id in gone {
            self.slots.remove(&id);
            actions.push(Action::Forget { id });
        }

        actions
    }

    fn start_those_whose_turn_it_is(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for id in plan::turn(&self.wanted, &self.slots) {
            let Some(wanted) = self.wanted.iter_mut().find(|wanted| wanted.id == id) else {
                continue;
            };
            let Progress::Ready(blueprint) = wanted.progress.clone() else {
                continue;
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
                    wanted.progress = Progress::Started;
                }
                Phase::Acquiring | Phase::Running | Phase::Releasing | Phase::Paused => {
                    actions.extend(slot.stop());
                }
            }
        }
        // What stands in the way of a start and has to go itself goes now.
        for id in plan::in_the_way(&self.wanted, &self.slots) {
            if let Some(slot) = self.slots.get_mut(&id) {
                actions.extend(slot.stop());
            }
        }

        actions
    }

    fn has_settled(&self) -> bool {
        let wanted_settled = self.wanted.iter().all(|wanted| match &wanted.progress {
            Progress::Content | Progress::Preparing | Progress::Ready(_) => false,
            Progress::Failed(_) => true,
            Progress::Started => self.slots.get(&wanted.id).is_some_and(|slot| {
                slot.phase() == Phase::Running
                    && !matches!(slot.health(), Health::Confirming { .. })
            }),
        });
        let others_gone = self.slots.iter().all(|(id, slot)| {
            let is_wanted = self.wanted.iter().any(|wanted| wanted.id == *id);
            let is_leftover = slot.blueprint().is_none() && slot.phase() != Phase::Stopped;
            slot.is_stuck() || is_wanted && !is_leftover
        });

        wanted_settled && others_gone
    }

    /// What the list names and what instances run on is in use.
    ///
    /// Only said once the list has settled, and not while an instance runs on
    /// other content of its version than the list names: what is not in use may
    /// be removed.
    fn retain(&self) -> Option<Action> {
        let runs_on = |slot: &Slot| Some(slot.blueprint()?.service.key.clone());
        let outdated = self.wanted.iter().any(|wanted| {
            matches!(wanted.progress, Progress::Failed(_))
                && self
                    .slots
                    .get(&wanted.id)
                    .is_some_and(|slot| runs_on(slot) == wanted.service)
        });
        if outdated {
            return None;
        }

        let mut services: Vec<_> = self.list.services.iter().map(ServiceInfo::key).collect();
        services.extend(
            self.slots
                .values()
                .filter(|slot| slot.phase() != Phase::Stopped)
                .filter_map(runs_on),
        );
        services.sort();
        services.dedup();
        let of_list = self.list.layers.iter().map(|layer| layer.digest.clone());
        let of_slots = self.slots.values().filter_map(Slot::blueprint);
        let of_slots = of_slots.flat_map(|blueprint| blueprint.service.layer_digests.clone());
        let mut layers: Vec<_> = of_list.chain(of_slots).collect();
        layers.sort();
        layers.dedup();

        Some(Action::Retain { services, layers })
    }
}

impl Wanted {
    fn fail(&mut self, error: ErrorInfo) {
        let ident = &self.info.ident;
        warn!(instance_id = %self.id, service_id = %ident.service_id,
            subject_id = %ident.subject_id, index = ident.index, error = error.message,
            "instance failed");
        self.progress = Progress::Failed(error);
    }
}
