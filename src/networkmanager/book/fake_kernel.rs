//! A kernel that is a few maps.

use std::collections::BTreeMap;

use crate::model::InstanceId;
use crate::networkmanager::addresses::InterfaceAddress;
use crate::networkmanager::existing::{Existing, Link, Vlan};
use crate::networkmanager::names;
use crate::networkmanager::plan::Operation;

/// What a kernel does with operations.
#[derive(Default)]
pub(super) struct FakeKernel {
    pub(super) links: BTreeMap<String, Link>,
    pub(super) namespaces: BTreeMap<InstanceId, Option<InterfaceAddress>>,
    /// Names of links with a default route, the best first.
    pub(super) uplinks: Vec<String>,
    /// It has no 802.1q.
    pub(super) without_vlans: bool,
    next_index: u32,
    /// Whether the next operations fail; when it is used up, none does.
    pub(super) failures: Vec<bool>,
}

impl FakeKernel {
    /// As the real one: all operations of a batch are tried.
    pub(super) fn perform(&mut self, batch: &[Operation]) -> Result<(), String> {
        let mut outcome = Ok(());
        for operation in batch {
            let result = if self.failures.pop().unwrap_or_default() {
                Err(format!("no luck: {operation}"))
            } else {
                self.perform_one(operation)
            };
            outcome = outcome.and(result);
        }

        outcome
    }

    fn perform_one(&mut self, operation: &Operation) -> Result<(), String> {
        let refuse = || Err(format!("impossible: {operation}"));
        match operation {
            Operation::CreateBridge { bridge, network } => {
                let link = Link {
                    bridge: true,
                    up: true,
                    forwarding: true,
                    alias: names::network_alias(network),
                    ..self.new_link()
                };
                match self.links.insert(bridge.clone(), link) {
                    None => Ok(()),
                    Some(_) => refuse(),
                }
            }
            Operation::RepairBridge { bridge, network } => match self.links.get_mut(bridge) {
                Some(link) => {
                    link.up = true;
                    link.forwarding = true;
                    link.alias = names::network_alias(network);
                    Ok(())
                }
                None => refuse(),
            },
            Operation::AddAddress { bridge, address } => {
                match self.links.get_mut(bridge) {
                    Some(link) => link.addresses.insert(*address),
                    None => return refuse(),
                };
                Ok(())
            }
            Operation::RemoveAddress { bridge, address } => {
                let link = self.links.get_mut(bridge);
                link.map(|link| link.addresses.remove(address));
                Ok(())
            }
            Operation::CreateNamespace { instance } => {
                match self.namespaces.insert(*instance, None) {
                    None => Ok(()),
                    Some(_) => refuse(),
                }
            }
            Operation::CreatePair {
                instance, host_end, ..
            } => {
                if !self.namespaces.contains_key(instance) || self.links.contains_key(host_end) {
                    return refuse();
                }
                let mut link = self.new_link();
                // Said at once, so that the fake knows whose it is.
                link.alias = names::instance_alias(*instance);
                self.links.insert(host_end.clone(), link);
                Ok(())
            }
            Operation::SetAddress {
                instance, address, ..
            } => {
                let has_link = self.has_link(*instance);
                match self.namespaces.get_mut(instance) {
                    Some(inside) if has_link => {
                        *inside = Some(*address);
                        Ok(())
                    }
                    _ => refuse(),
                }
            }
            Operation::JoinBridge {
                host_end, bridge, ..
            } => self.join(host_end, bridge).map_or_else(refuse, Ok),
            Operation::CreateVlan { .. }
            | Operation::RepairVlan { .. }
            | Operation::DeleteVlan { .. }
            | Operation::EnableForwarding { .. } => {
                if self.perform_uplink(operation) {
                    Ok(())
                } else {
                    refuse()
                }
            }
            // Limits have a fake kernel of their own.
            Operation::Shape(_) | Operation::DeleteIfb { .. } => Ok(()),
            Operation::ReleasePair { host_end, .. } => {
                self.links.remove(host_end);
                Ok(())
            }
            Operation::DeleteBridge { bridge } => {
                self.delete_bridge(bridge);
                Ok(())
            }
            Operation::DeleteNamespace { instance } => {
                if self.namespaces.remove(instance).is_some() {
                    let alias = names::instance_alias(*instance);
                    self.links.retain(|_, link| link.alias != alias);
                }
                Ok(())
            }
        }
    }

    /// `None` when one of the two is not there.
    fn join(&mut self, host_end: &str, bridge: &str) -> Option<()> {
        let master = self.links.get(bridge)?.index;
        let link = self.links.get_mut(host_end)?;
        link.master = Some(master);
        link.up = true;
        Some(())
    }

    fn delete_bridge(&mut self, name: &str) {
        if let Some(bridge) = self.links.remove(name) {
            for port in self.links.values_mut() {
                port.master = port.master.filter(|master| *master != bridge.index);
            }
        }
    }

    pub(super) fn has_link(&self, instance: InstanceId) -> bool {
        let alias = names::instance_alias(instance);
        self.links.values().any(|link| link.alias == alias)
    }

    /// Whether the kernel does it.
    fn perform_uplink(&mut self, operation: &Operation) -> bool {
        let index_of = |name: &String| self.links.get(name).map(|link| link.index);
        match operation {
            Operation::CreateVlan {
                vlan: name,
                network,
                bridge,
                uplink,
                id,
            } => {
                let (Some(master), Some(lower)) = (index_of(bridge), index_of(uplink)) else {
                    return false;
                };
                let vlan = Some(Vlan { id: *id, lower });
                let in_use = self.links.values().any(|link| link.vlan == vlan);
                if in_use || self.without_vlans || self.links.contains_key(name) {
                    return false;
                }
                let link = Link {
                    vlan,
                    master: Some(master),
                    up: true,
                    alias: names::vlan_alias(network),
                    ..self.new_link()
                };
                self.links.insert(name.clone(), link);
                true
            }
            Operation::RepairVlan {
                vlan,
                network,
                bridge,
            } => {
                let master = index_of(bridge);
                let link = self.links.get_mut(vlan).filter(|_| master.is_some());
                link.map(|link| {
                    link.master = master;
                    link.up = true;
                    link.alias = names::vlan_alias(network);
                })
                .is_some()
            }
            Operation::EnableForwarding { link } => self
                .links
                .get_mut(link)
                .map(|link| link.forwarding = true)
                .is_some(),
            Operation::DeleteVlan { vlan } => {
                self.links.remove(vlan);
                true
            }
            _ => unreachable!("an operation for another place"),
        }
    }

    /// Adds a link to the outside that has no default route yet.
    pub(super) fn add_interface(&mut self, name: &str) {
        let link = Link {
            up: true,
            ..self.new_link()
        };
        self.links.insert(name.to_owned(), link);
    }

    fn new_link(&mut self) -> Link {
        self.next_index += 1;
        Link {
            index: self.next_index,
            ..Link::default()
        }
    }

    pub(super) fn existing(&self) -> Existing {
        Existing {
            links: self.links.clone(),
            uplinks: self
                .uplinks
                .iter()
                .filter_map(|name| Some(self.links.get(name)?.index))
                .collect(),
        }
    }
}
