//! A kernel that is a few maps.

use std::collections::BTreeMap;

use crate::model::InstanceId;
use crate::networkmanager::addresses::InterfaceAddress;
use crate::networkmanager::existing::{Existing, Link};
use crate::networkmanager::names;
use crate::networkmanager::plan::Operation;

/// What a kernel does with operations.
#[derive(Default)]
pub(super) struct FakeKernel {
    pub(super) links: BTreeMap<String, Link>,
    pub(super) namespaces: BTreeMap<InstanceId, Option<InterfaceAddress>>,
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
            Operation::RepairBridge { bridge, .. } => match self.links.get_mut(bridge) {
                Some(link) => {
                    link.up = true;
                    link.forwarding = true;
                    Ok(())
                }
                None => refuse(),
            },
            Operation::AddAddress { bridge, address } => match self.links.get_mut(bridge) {
                Some(link) => {
                    link.addresses.insert(*address);
                    Ok(())
                }
                None => refuse(),
            },
            Operation::RemoveAddress { bridge, address } => {
                if let Some(link) = self.links.get_mut(bridge) {
                    link.addresses.remove(address);
                }
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
            } => {
                let Some(index) = self.links.get(bridge).map(|link| link.index) else {
                    return refuse();
                };
                match self.links.get_mut(host_end) {
                    Some(link) => {
                        link.master = Some(index);
                        Ok(())
                    }
                    None => refuse(),
                }
            }
            Operation::ReleasePair { host_end, .. } => {
                self.links.remove(host_end);
                Ok(())
            }
            Operation::DeleteBridge { bridge } => {
                self.links.remove(bridge);
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

    pub(super) fn has_link(&self, instance: InstanceId) -> bool {
        let alias = names::instance_alias(instance);
        self.links.values().any(|link| link.alias == alias)
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
        }
    }
}
