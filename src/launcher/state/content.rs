//! What of the content is in use, when the list's is installed, and what becomes
//! of damaged content.

use std::collections::BTreeSet;

use tracing::info;

use super::wanted::instead;
use super::{LauncherState, Progress};
use crate::launcher::content::Healing;
use crate::launcher::event::{Action, Ticket};
use crate::launcher::instance::Phase;
use crate::launcher::plan;
use crate::launcher::slot::Slot;
use crate::model::{ContentItem, Damage, ErrorInfo, InUse, InstanceId, ServiceInfo};

/// How far the installs of the list are. They begin when what the list takes down
/// has stopped and its content may go: there may be no room before.
#[derive(Debug, Default)]
pub(super) enum Installs {
    /// What the list takes down still holds content.
    #[default]
    Held,
    /// The content manager is being told.
    Releasing(Ticket),
    /// They have begun.
    Begun,
}

impl LauncherState {
    pub(super) fn install_once_there_is_room(&mut self) -> Option<Action> {
        if !matches!(self.installs, Installs::Held) || self.retaining.is_some() {
            return None;
        }
        let held_up = self.slots.iter().any(|(id, slot)| {
            slot.phase() != Phase::Stopped && !slot.is_stuck() && self.gives_way(*id, slot)
        });
        if held_up {
            return None;
        }

        let action = self.retain();
        self.installs = Installs::Releasing(self.last_ticket);
        Some(action)
    }

    /// What was not in use then may go now.
    pub(super) fn told_in_use(&mut self, ticket: Ticket) -> Vec<Action> {
        self.retaining = self.retaining.filter(|own| *own != ticket);
        if !matches!(self.installs, Installs::Releasing(own) if own == ticket) {
            return Vec::new();
        }
        self.installs = Installs::Begun;

        let services = self.list.services.iter();
        let services = services.map(|service| ContentItem::Service(service.key()));
        let layers = self.list.layers.iter();
        let layers = layers.map(|layer| ContentItem::Layer(layer.digest.clone()));
        let items: BTreeSet<_> = services.chain(layers).collect();
        items
            .into_iter()
            .filter_map(|item| {
                let ticket = self.ticket();
                self.content.begin(&item, ticket);
                self.install(&item, ticket)
            })
            .collect()
    }

    fn install(&self, item: &ContentItem, ticket: Ticket) -> Option<Action> {
        match item {
            ContentItem::Service(key) => {
                let mut services = self.list.services.iter();
                let service = services.find(|service| service.key() == *key)?.clone();
                Some(Action::InstallService { ticket, service })
            }
            ContentItem::Layer(digest) => {
                let mut layers = self.list.layers.iter();
                let layer = layers.find(|layer| layer.digest == *digest)?.clone();
                Some(Action::InstallLayer { ticket, layer })
            }
        }
    }

    /// Tells what is in use.
    pub(super) fn retain(&mut self) -> Action {
        let ticket = self.ticket();
        self.retaining = Some(ticket);
        Action::Retain {
            ticket,
            in_use: self.in_use(),
        }
    }

    /// What the list names and needs, and what any slot holds.
    fn in_use(&self) -> InUse {
        let held: Vec<_> = self
            .slots
            .values()
            .filter(|slot| slot.phase() != Phase::Stopped)
            .filter_map(Slot::blueprint)
            .chain(self.slots.values().filter_map(Slot::before))
            .map(|blueprint| &blueprint.service)
            .collect();

        let of_list = self.list.services.iter().map(ServiceInfo::key);
        let services: BTreeSet<_> = of_list
            .chain(held.iter().map(|content| content.key.clone()))
            .collect();
        let of_list = self.list.layers.iter().map(|layer| &layer.digest);
        let layers: BTreeSet<_> = of_list
            .chain(self.content.layers())
            .chain(held.iter().flat_map(|content| &content.layer_digests))
            .cloned()
            .collect();
        let directories: BTreeSet<_> = held
            .iter()
            .flat_map(|content| std::iter::once(&content.root).chain(&content.layers))
            .cloned()
            .collect();

        InUse {
            services: services.into_iter().collect(),
            layers: layers.into_iter().collect(),
            directories: directories.into_iter().collect(),
        }
    }

    /// What runs on damaged content stops. What the list names is installed again,
    /// and then started again; it is not tried for ever.
    pub(super) fn damaged(&mut self, damage: &Damage) -> Vec<Action> {
        let error = ErrorInfo::new(damage.to_string());
        let ticket = self.ticket();
        let healing = self.content.damaged(&damage.item, ticket, &error);
        info!(item = %damage.item, ?healing, "damaged content");
        self.retained = false;

        let mut actions = vec![Action::Alert {
            message: error.message.clone(),
        }];
        if healing == Healing::Begins {
            actions.extend(self.install(&damage.item, ticket));
        }
        let mut stopped = BTreeSet::new();
        for (id, slot) in &mut self.slots {
            if slot.phase() != Phase::Stopped && holds(slot, damage) {
                actions.extend(slot.stop());
                stopped.insert(*id);
            }
        }
        self.tell_those_concerned(&damage.item, &error, healing, &stopped);

        actions
    }

    fn tell_those_concerned(
        &mut self,
        item: &ContentItem,
        error: &ErrorInfo,
        healing: Healing,
        stopped: &BTreeSet<InstanceId>,
    ) {
        for wanted in &mut self.wanted {
            let needs_it = wanted
                .service
                .as_ref()
                .is_some_and(|service| self.content.needs(service, item));
            let refused = plan::refusal(&wanted.info.ident, wanted.service.as_ref()).is_some();
            match &wanted.progress {
                // It waits for the install in any case.
                Progress::Content => {}
                Progress::Failed(_) if refused => {}
                // Its version has failed for another reason, and does not run.
                Progress::Reverting { .. } => {}
                Progress::Reverted(_) if !stopped.contains(&wanted.id) => {}
                Progress::Reverted(own) => {
                    let error = instead(own, &error.message);
                    wanted.fail(error);
                }
                _ if needs_it && healing == Healing::Begins => {
                    wanted.wait_for_healing(error.clone());
                }
                _ if needs_it => wanted.fail(error.clone()),
                // It was an old version that ran, since the wanted one cannot.
                Progress::Failed(own) if stopped.contains(&wanted.id) => {
                    let error = instead(own, &error.message);
                    wanted.fail(error);
                }
                Progress::Started | Progress::NotChanged(..) if stopped.contains(&wanted.id) => {
                    wanted.fail(error.clone());
                }
                _ => {}
            }
        }
    }
}

fn holds(slot: &Slot, damage: &Damage) -> bool {
    slot.blueprint().is_some_and(|blueprint| {
        let content = &blueprint.service;
        std::iter::once(&content.root)
            .chain(&content.layers)
            .any(|root| root.starts_with(&damage.directory))
    })
}
