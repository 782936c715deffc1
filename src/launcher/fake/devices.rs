//! Devices of the machine.

use std::collections::{BTreeMap, BTreeSet};

use aos_package::ServiceConfig;

use super::FakeHost;
use crate::model::{Device, InstanceId, Lack, Provision};

#[derive(Debug, Default)]
pub(in crate::launcher) struct FakeDevices {
    /// How many may use each.
    pub(in crate::launcher) shared: BTreeMap<String, u64>,
    /// Those that are unplugged.
    unplugged: BTreeSet<String>,
    /// Who has which.
    users: BTreeMap<InstanceId, BTreeSet<String>>,
    /// Users that were there when SM started, and were not taken over: it does not
    /// know what they have.
    leftovers: BTreeSet<InstanceId>,
    /// Leftovers that could not be stopped. They hold up nobody.
    stuck: BTreeSet<InstanceId>,
}

impl FakeDevices {
    pub(super) fn provide(&self, config: &ServiceConfig) -> Provision {
        let mut provision = Provision::default();
        for device in config.devices.iter().flatten() {
            let name = device.name.clone();
            if !self.shared.contains_key(&name) || self.unplugged.contains(&name) {
                provision.lacks.push(Lack {
                    reason: format!("device {name} is not there"),
                    device: Some(name.clone()),
                });
            }
            if let Some(shared_count) = self.shared.get(&name).copied() {
                provision.devices.push(Device {
                    name,
                    shared_count,
                    ..Device::default()
                });
            }
        }
        provision
    }

    /// What was wrong about it.
    pub(super) fn take(&mut self, id: InstanceId, config: &ServiceConfig) -> Vec<String> {
        let names = config.devices.iter().flatten();
        let names: BTreeSet<_> = names.map(|device| device.name.clone()).collect();
        let too_many = names.iter().filter(|name| {
            let limit = self.shared.get(*name).copied().unwrap_or(0);
            let users = self
                .users
                .iter()
                .filter(|(user, names)| **user != id && names.contains(*name))
                .filter(|(user, _)| !self.stuck.contains(user));
            limit > 0 && users.count() as u64 >= limit
        });
        let faults = too_many
            .map(|name| format!("{id} takes {name}, which is in use"))
            .collect();
        self.users.insert(id, names);
        faults
    }

    pub(super) fn give_back(&mut self, id: InstanceId) {
        self.users.remove(&id);
        self.leftovers.remove(&id);
        self.stuck.remove(&id);
    }

    /// SM starts.
    pub(super) fn restarted(&mut self) {
        self.leftovers = self.users.keys().copied().collect();
    }

    pub(super) fn adopt(&mut self, id: InstanceId) {
        self.leftovers.remove(&id);
        self.stuck.remove(&id);
    }

    pub(super) fn release_is_refused(&mut self, id: InstanceId) {
        if self.leftovers.contains(&id) {
            self.stuck.insert(id);
        }
    }
}

impl FakeHost {
    /// The unit configuration names these devices from now on.
    pub(in crate::launcher) fn devices_are(&self, shared: &[(&str, u64)]) {
        let shared = shared.iter();
        self.book().devices.shared = shared.map(|(name, n)| ((*name).to_owned(), *n)).collect();
        self.devices.send_modify(|changes| *changes += 1);
    }

    /// These are unplugged, and no other ones.
    pub(in crate::launcher) fn unplugged_are(&self, names: &[&str]) {
        self.book().devices.unplugged = names.iter().map(|&name| name.to_owned()).collect();
        self.devices.send_modify(|changes| *changes += 1);
    }
}
