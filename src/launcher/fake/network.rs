//! Places of instances in networks, as the fake machine has them.

use std::collections::{BTreeMap, BTreeSet};

use super::refused;
use crate::launcher::host::{Blueprint, HostError};
use crate::model::{FirewallRule, InstanceId};

/// A rule of this protocol cannot be read.
pub(in crate::launcher) const BAD_RULE: &str = "bad";

#[derive(Debug, Default)]
pub(in crate::launcher) struct FakeNetworks {
    /// The rules of each place, on the machine.
    pub(in crate::launcher) places: BTreeMap<InstanceId, Vec<FirewallRule>>,
    /// Places that this network manager knows of.
    booked: BTreeSet<InstanceId>,
    /// Networks that CM has not sent, or that cannot be used.
    pub(in crate::launcher) unknown: BTreeSet<String>,
    /// Changes that are refused so many times more.
    pub(in crate::launcher) refuse_changes: u32,
    /// Places that are not what they should be any more.
    pub(in crate::launcher) damaged: BTreeSet<InstanceId>,
    /// How many changes were asked for.
    pub(in crate::launcher) changes: u32,
}

impl FakeNetworks {
    pub(super) fn enter(&mut self, blueprint: &Blueprint) -> Result<(), HostError> {
        self.check(blueprint)?;
        self.take(blueprint);
        Ok(())
    }

    /// The network manager starts again, and knows of no place.
    pub(super) fn restarted(&mut self) {
        self.booked.clear();
    }

    pub(super) fn adopt(&mut self, blueprint: &Blueprint) -> Result<(), HostError> {
        if self.damaged.contains(&blueprint.id) {
            return Err(HostError::needing_restart("its link is gone"));
        }
        self.enter(blueprint)
    }

    pub(super) fn change(&mut self, blueprint: &Blueprint) -> Result<(), HostError> {
        self.changes += 1;
        if self.refuse_changes > 0 {
            self.refuse_changes -= 1;
            return Err(refused("change"));
        }
        if !self.booked.contains(&blueprint.id) {
            return self.adopt(blueprint);
        }
        self.enter(blueprint)
    }

    pub(super) fn leave(&mut self, id: InstanceId) {
        self.places.remove(&id);
        self.booked.remove(&id);
        self.damaged.remove(&id);
    }

    fn check(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let network = blueprint.network_id();
        if self.unknown.contains(network) {
            return Err(HostError::new(format!("network {network} is not known")));
        }
        let mut rules = blueprint.info.network.rules.iter();
        if rules.any(|rule| rule.proto == BAD_RULE) {
            return Err(HostError::new("a rule cannot be read"));
        }
        Ok(())
    }

    fn take(&mut self, blueprint: &Blueprint) {
        let rules = blueprint.info.network.rules.clone();
        self.places.insert(blueprint.id, rules);
        self.booked.insert(blueprint.id);
    }
}
