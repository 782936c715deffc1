//! From networks to the operations that make their bridges.

use super::{Book, Network, Position, vlans};
use crate::model::NetworkId;
use crate::networkmanager::existing::Existing;
use crate::networkmanager::names;
use crate::networkmanager::plan::Operation;

/// What to do for one network.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::networkmanager) struct NetworkPlan {
    pub(in crate::networkmanager) network: NetworkId,
    pub(in crate::networkmanager) operations: Vec<Operation>,
}

impl NetworkPlan {
    /// Whether nothing is left of the network after it.
    pub(in crate::networkmanager) fn deletes(&self) -> bool {
        matches!(self.operations[..], [.., Operation::DeleteBridge { .. }])
    }

    /// Whether it makes a bridge that was not there.
    pub(in crate::networkmanager) fn creates(&self) -> bool {
        self.operations
            .iter()
            .any(|operation| matches!(operation, Operation::CreateBridge { .. }))
    }
}

impl Book {
    /// What makes the bridges in `existing` those that are wanted.
    pub(in crate::networkmanager) fn plans(&self, existing: &Existing) -> Vec<NetworkPlan> {
        let mut plans: Vec<NetworkPlan> = self
            .networks
            .keys()
            .filter_map(|network| self.plan(network, existing))
            .collect();
        plans.extend(self.orphans(existing));
        // What goes makes room for what comes.
        plans.sort_by_key(|plan| !plan.deletes());

        plans
    }

    /// Links of booked instances that are no longer ports of their bridge, or
    /// down: somebody has changed that behind our back.
    pub(in crate::networkmanager) fn rejoins(&self, existing: &Existing) -> Vec<Operation> {
        self.members
            .iter()
            .filter_map(|(&instance, member)| {
                let bridge = &self.networks.get(&member.network)?.wanted.bridge;
                let host_end = member.host_end.clone();
                let link = existing.links.get(&host_end)?;
                let wanted = existing.links.get(bridge)?.index;
                (link.master != Some(wanted) || !link.up).then(|| Operation::JoinBridge {
                    instance,
                    host_end,
                    bridge: bridge.clone(),
                })
            })
            .collect()
    }

    /// What makes the bridge of one network that which is wanted.
    pub(in crate::networkmanager) fn plan(
        &self,
        network: &NetworkId,
        existing: &Existing,
    ) -> Option<NetworkPlan> {
        let operations = self.operations(network, self.networks.get(network)?, existing);
        Some(NetworkPlan {
            network: network.clone(),
            operations,
        })
    }

    fn operations(&self, id: &NetworkId, network: &Network, existing: &Existing) -> Vec<Operation> {
        let bridge = &network.wanted.bridge;
        let link = existing.links.get(bridge);

        if self.is_deserted(id) {
            // Ports are instances that run and are not yet taken over.
            let kept = link
                .is_some_and(|link| !network.wanted.owns(link) || existing.has_ports(link.index));
            return if kept {
                Vec::new()
            } else {
                Self::deletion(id, bridge, existing)
            };
        }
        let Some(position) = network.position else {
            return Vec::new();
        };

        let mut operations = Vec::new();
        match link {
            None => operations.push(Operation::CreateBridge {
                bridge: bridge.clone(),
                network: id.clone(),
            }),
            Some(link)
                if !link.up || !link.forwarding || link.alias != names::network_alias(id) =>
            {
                operations.push(Operation::RepairBridge {
                    bridge: bridge.clone(),
                    network: id.clone(),
                });
            }
            Some(_) => {}
        }

        let gateway = position.subnet.interface(position.gateway);
        let wanted = (!self.is_replaced(network, position)).then_some(gateway);
        let present = link.map(|link| link.addresses.clone()).unwrap_or_default();
        // Old ones first: the kernel takes the other addresses of a subnet away
        // with its first one.
        let old = present.iter().filter(|address| Some(**address) != wanted);
        operations.extend(old.map(|address| Operation::RemoveAddress {
            bridge: bridge.clone(),
            address: *address,
        }));
        operations.extend(
            wanted
                .filter(|address| !present.contains(address))
                .map(|address| Operation::AddAddress {
                    bridge: bridge.clone(),
                    address,
                }),
        );

        operations
    }

    /// Empty bridges of networks that nobody knows any more.
    fn orphans(&self, existing: &Existing) -> Vec<NetworkPlan> {
        existing
            .links
            .iter()
            .filter(|(_, link)| link.bridge && !existing.has_ports(link.index))
            .filter_map(|(name, link)| Some((name, names::network_of(&link.alias)?)))
            .filter(|(_, network)| !self.networks.contains_key(network))
            .map(|(name, network)| NetworkPlan {
                operations: Self::deletion(&network, name, existing),
                network,
            })
            .collect()
    }

    /// What takes a bridge away, and the network's links to other nodes.
    fn deletion(network: &NetworkId, bridge: &str, existing: &Existing) -> Vec<Operation> {
        let mut operations: Vec<_> = vlans::links_of(network, bridge, existing)
            .map(|(vlan, _)| Operation::DeleteVlan { vlan: vlan.clone() })
            .collect();
        operations.push(Operation::DeleteBridge {
            bridge: bridge.to_owned(),
        });

        operations
    }

    /// Whether a removed network's addresses are those of another one by now.
    fn is_replaced(&self, network: &Network, position: Position) -> bool {
        network.wanted.removed
            && self.networks.values().any(|other| {
                !other.wanted.removed
                    && other
                        .position
                        .is_some_and(|other| other.subnet.overlaps(position.subnet))
            })
    }
}
