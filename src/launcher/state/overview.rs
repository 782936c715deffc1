//! The instances as an operator is shown them.

use std::time::SystemTime;

use super::{LauncherState, Progress, Wanted};
use crate::launcher::instance::Phase;
use crate::launcher::slot::{Health, Slot};
use crate::model::{
    InstanceId, InstanceOverview, InstanceState, LauncherOverview, NetworkId, ServiceId,
};

impl LauncherState {
    /// Everything. `stored`: whether the list is; `since` tells when an instance
    /// came to its state.
    pub(in crate::launcher) fn overview(
        &self,
        stored: bool,
        since: impl Fn(InstanceId) -> SystemTime,
    ) -> LauncherOverview {
        let wanted = self.wanted.iter().map(|wanted| self.shown(wanted, &since));
        let leaving = self.leaving().map(|slot| leaving(slot, &since));

        LauncherOverview {
            generation: self.generation,
            settled: self.settled,
            stored,
            instances: wanted.chain(leaving).collect(),
        }
    }

    /// What each instance does.
    pub(in crate::launcher) fn activities(
        &self,
    ) -> impl Iterator<Item = (InstanceId, InstanceState)> {
        let wanted = self.wanted.iter().map(|wanted| {
            let state = state(wanted, self.slots.get(&wanted.id));
            (wanted.id, state)
        });
        wanted.chain(
            self.leaving()
                .map(|slot| (slot.id(), InstanceState::Stopping)),
        )
    }

    /// What is not wanted and still holds something.
    fn leaving(&self) -> impl Iterator<Item = &Slot> {
        self.slots
            .values()
            .filter(|slot| slot.phase() != Phase::Stopped && self.wanted.get(slot.id()).is_none())
    }

    fn shown(&self, wanted: &Wanted, since: impl Fn(InstanceId) -> SystemTime) -> InstanceOverview {
        let slot = self.slots.get(&wanted.id);
        let version = wanted.service.as_ref().map(|service| service.version);
        let running = slot
            .filter(|slot| slot.phase().is_up())
            .and_then(Slot::blueprint)
            .map(|blueprint| blueprint.service.key.version);

        InstanceOverview {
            id: wanted.id,
            ident: Some(wanted.info.ident.clone()),
            version,
            state: state(wanted, slot),
            since: since(wanted.id),
            running_version: running.filter(|running| Some(*running) != version),
            network: self.network(wanted),
            last_fault: slot
                .and_then(Slot::last_fault)
                .map(|fault| (fault.number, fault.error.clone())),
        }
    }

    fn network(&self, wanted: &Wanted) -> Option<(NetworkId, String)> {
        let network = &wanted.info.network;
        let id = match network.network_id.as_str() {
            "" => self.provider(&wanted.info.ident.service_id)?,
            id => NetworkId::from(id),
        };
        (!network.ip.is_empty()).then(|| (id, network.ip.clone()))
    }

    /// The network that instances of a service belong to when CM names none.
    fn provider(&self, service: &ServiceId) -> Option<NetworkId> {
        let mut services = self.list.services.iter();
        let service = services.find(|info| info.id == *service)?;
        Some(NetworkId::from(service.provider_id.as_str()))
    }
}

fn state(wanted: &Wanted, slot: Option<&Slot>) -> InstanceState {
    match &wanted.progress {
        Progress::Failed(error)
        | Progress::Damaged(error)
        | Progress::Waiting(_, error)
        | Progress::Reverting { error, .. }
        | Progress::Reverted(error)
        | Progress::NotChanged(error, _) => InstanceState::Failed(error.clone()),
        Progress::Started => {
            let running = slot.filter(|slot| slot.phase().is_up());
            match running.map(Slot::health) {
                Some(Health::Up) => InstanceState::Active,
                Some(Health::Down(error)) => InstanceState::Failed(error.clone()),
                Some(Health::Confirming { .. }) | None => InstanceState::Starting,
            }
        }
        Progress::Content | Progress::Preparing(_) | Progress::Proving(..) | Progress::Ready(_) => {
            InstanceState::Starting
        }
    }
}

fn leaving(slot: &Slot, since: impl Fn(InstanceId) -> SystemTime) -> InstanceOverview {
    let blueprint = slot.blueprint();

    InstanceOverview {
        id: slot.id(),
        ident: slot.ident().cloned(),
        version: blueprint.map(|own| own.service.key.version),
        state: InstanceState::Stopping,
        since: since(slot.id()),
        running_version: None,
        network: blueprint.map(|own| {
            let network = NetworkId::from(own.network_id());
            (network, own.info.network.ip.clone())
        }),
        last_fault: None,
    }
}
