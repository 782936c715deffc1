//! What is wanted of the firewall.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::contents::Contents;
use super::permissions::{Allowed, Exposed};
use crate::model::{Flow, InstanceId};
use crate::networkmanager::addresses::{Mac, Subnet};
use crate::networkmanager::handle::TrafficLimits;

/// All that the firewall is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::networkmanager) struct Rules {
    /// Provider networks, by the names of their bridges.
    pub(in crate::networkmanager) bridges: BTreeMap<String, BridgeRules>,
    /// Instances that have a seat.
    pub(in crate::networkmanager) instances: BTreeMap<InstanceId, InstanceRules>,
    /// What the node's counters begin with.
    pub(in crate::networkmanager) node: Flow,
    /// Instances reach nothing of the host but its name server, and echo.
    pub(in crate::networkmanager) restrict_host: bool,
}

/// One provider network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) struct BridgeRules {
    pub(in crate::networkmanager) subnet: Subnet,
    pub(in crate::networkmanager) gateway: Ipv4Addr,
    /// The port that leads to the same network on other nodes.
    pub(in crate::networkmanager) vlan_port: Option<String>,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) struct InstanceRules {
    pub(in crate::networkmanager) bridge: String,
    pub(in crate::networkmanager) host_end: String,
    pub(in crate::networkmanager) mac: Mac,
    pub(in crate::networkmanager) address: Ipv4Addr,
    /// What others outside the unit may reach.
    pub(in crate::networkmanager) exposed: Vec<Exposed>,
    /// What it may reach in other networks.
    pub(in crate::networkmanager) allowed: Vec<Allowed>,
    /// What its counters begin with, when they are made.
    pub(in crate::networkmanager) start: Flow,
    pub(in crate::networkmanager) limits: TrafficLimits,
}

/// A change of [`Rules`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) enum Change {
    SetBridge(String, BridgeRules),
    RemoveBridge(String),
    SetInstance(InstanceId, InstanceRules),
    RemoveInstance(InstanceId),
}

impl Rules {
    /// Makes one change.
    pub(in crate::networkmanager) fn apply(&mut self, change: Change) {
        match change {
            Change::SetBridge(name, rules) => drop(self.bridges.insert(name, rules)),
            Change::RemoveBridge(name) => drop(self.bridges.remove(&name)),
            Change::SetInstance(id, rules) => drop(self.instances.insert(id, rules)),
            Change::RemoveInstance(id) => drop(self.instances.remove(&id)),
        }
    }

    /// Makes changes, in their order.
    pub(in crate::networkmanager) fn apply_all(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
    ) {
        for change in changes {
            self.apply(change);
        }
    }

    /// Counters that are made from now on begin with zero.
    pub(in crate::networkmanager) fn begin_day(&mut self) {
        self.node = Flow::default();
        for instance in self.instances.values_mut() {
            instance.start = Flow::default();
        }
    }

    /// What the sets hold then, and the objects.
    pub(in crate::networkmanager) fn contents(&self) -> Contents {
        let mut contents = Contents::fixed(self.node);
        for (name, bridge) in &self.bridges {
            contents.add_bridge(name, bridge, self.restrict_host);
        }
        for (id, instance) in &self.instances {
            contents.add_instance(*id, instance);
        }

        contents
    }

    /// The part of the contents that these changes are about.
    pub(in crate::networkmanager) fn contents_of(&self, changes: &[Change]) -> Contents {
        let mut bridges = BTreeSet::new();
        let mut instances = BTreeSet::new();
        for change in changes {
            match change {
                Change::SetBridge(name, _) | Change::RemoveBridge(name) => {
                    bridges.insert(name);
                }
                Change::SetInstance(id, _) | Change::RemoveInstance(id) => {
                    instances.insert(*id);
                }
            }
        }

        let mut contents = Contents::default();
        for name in bridges {
            if let Some(bridge) = self.bridges.get(name) {
                contents.add_bridge(name, bridge, self.restrict_host);
            }
        }
        for id in instances {
            if let Some(instance) = self.instances.get(&id) {
                contents.add_instance(id, instance);
            }
        }

        contents
    }
}
