//! What is wanted of networks, and who has which address.
//!
//! Networks come from CM and from the database; instances come and go with
//! attach and detach. A network that was removed stays in the book until its
//! last instance has gone.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::addresses::Subnet;
use super::error::NetworkError;
use super::existing::Existing;
use super::handle::AttachRequest;
use super::names;
use super::plan::{Operation, Seat};
use super::store::Stored;
use crate::model::{InstanceId, NetworkId, NetworkParameters};

/// Networks and the instances in them.
#[derive(Debug, Default)]
pub(super) struct Book {
    networks: BTreeMap<NetworkId, Network>,
    members: BTreeMap<InstanceId, Member>,
}

#[derive(Debug)]
struct Network {
    wanted: Stored,
    /// Where it lies: by its last parameters that were good.
    position: Option<Position>,
    /// What is wrong with its parameters, or why it could not be set up.
    fault: Option<Arc<NetworkError>>,
    /// The VLAN id that a warning told of.
    told_vlan: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    subnet: Subnet,
    gateway: Ipv4Addr,
}

#[derive(Debug)]
struct Member {
    network: NetworkId,
    address: Ipv4Addr,
}

/// What to do for one network.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NetworkPlan {
    pub(super) network: NetworkId,
    pub(super) operations: Vec<Operation>,
}

impl Book {
    /// The book as it was stored. `existing` says which names of bridges others
    /// have taken since.
    pub(super) fn restored(stored: Vec<Stored>, existing: &Existing) -> Self {
        let networks = stored
            .into_iter()
            .map(|wanted| {
                let network = Network {
                    wanted,
                    position: None,
                    fault: None,
                    told_vlan: 0,
                };
                (network.wanted.parameters.network_id.clone(), network)
            })
            .collect();
        let mut book = Self {
            networks,
            members: BTreeMap::new(),
        };

        let all: Vec<NetworkId> = book.networks.keys().cloned().collect();
        book.position(&all);
        book.name_bridges(existing);
        book
    }

    /// Takes the list of networks that CM wants now. Networks are repeated for
    /// each of their instances; the last one counts.
    pub(super) fn update(&mut self, list: Vec<NetworkParameters>, existing: &Existing) {
        let listed: BTreeMap<NetworkId, NetworkParameters> = list
            .into_iter()
            .filter(|parameters| !parameters.network_id.as_str().is_empty())
            .map(|parameters| (parameters.network_id.clone(), parameters))
            .collect();

        let mut changed = Vec::new();
        for (id, network) in &mut self.networks {
            let was_removed = network.wanted.removed;
            network.wanted.removed = !listed.contains_key(id);
            if was_removed && !network.wanted.removed {
                changed.push(id.clone());
            }
        }
        for (id, parameters) in listed {
            match self.networks.get_mut(&id) {
                Some(network) if network.wanted.parameters == parameters => {
                    if network.fault.is_some() {
                        changed.push(id);
                    }
                }
                Some(network) => {
                    network.wanted.parameters = parameters;
                    changed.push(id);
                }
                None => {
                    let network = Network {
                        wanted: Stored {
                            bridge: String::new(),
                            removed: false,
                            parameters,
                        },
                        position: None,
                        fault: None,
                        told_vlan: 0,
                    };
                    self.networks.insert(id.clone(), network);
                    changed.push(id);
                }
            }
        }

        self.position(&changed);
        self.name_bridges(existing);
    }

    /// What makes the bridges in `existing` those that are wanted.
    pub(super) fn plans(&self, existing: &Existing) -> Vec<NetworkPlan> {
        let mut plans: Vec<NetworkPlan> = self
            .networks
            .iter()
            .map(|(id, network)| NetworkPlan {
                network: id.clone(),
                operations: self.operations(id, network, existing),
            })
            .collect();
        plans.extend(self.orphans(existing));
        // What goes makes room for what comes.
        plans.sort_by_key(|plan| !matches!(plan.operations[..], [Operation::DeleteLink { .. }]));

        plans
    }

    /// Links of booked instances that are no longer ports of their bridge,
    /// because it was deleted behind our back.
    pub(super) fn rejoins(&self, existing: &Existing) -> Vec<Operation> {
        self.members
            .iter()
            .filter_map(|(&instance, member)| {
                let bridge = &self.networks.get(&member.network)?.wanted.bridge;
                let host_end = names::host_end(instance);
                let link = existing.links.get(&host_end)?;
                let wanted = existing.links.get(bridge)?.index;
                (link.master != Some(wanted)).then(|| Operation::JoinBridge {
                    instance,
                    host_end,
                    bridge: bridge.clone(),
                })
            })
            .collect()
    }

    /// The networks whose VLAN nobody has been told of yet.
    pub(super) fn new_vlans(&mut self) -> Vec<NetworkId> {
        self.networks
            .iter_mut()
            .filter_map(|(id, network)| {
                let vlan = network.wanted.parameters.vlan_id;
                let told = std::mem::replace(&mut network.told_vlan, vlan);
                (vlan != 0 && vlan != told).then(|| id.clone())
            })
            .collect()
    }

    /// Notes how the plan of a network went.
    pub(super) fn planned(&mut self, network: &NetworkId, outcome: Result<(), Arc<NetworkError>>) {
        let gone = outcome.is_ok() && self.is_deserted(network);
        if gone {
            self.networks.remove(network);
        } else if let Some(network) = self.networks.get_mut(network)
            && let Err(fault) = outcome
        {
            network.fault = Some(fault);
        }
    }

    /// Books the seat that an instance asks for.
    pub(super) fn take_seat(&mut self, request: &AttachRequest) -> Result<Seat, NetworkError> {
        let seat = self.seat(request)?;

        self.members.insert(
            seat.instance,
            Member {
                network: seat.network.clone(),
                address: seat.address.address,
            },
        );
        Ok(seat)
    }

    /// Takes the instance out of the book. Returns what is to be done when it
    /// was the last one of a removed network.
    pub(super) fn leave_seat(&mut self, instance: InstanceId) -> Option<NetworkPlan> {
        let member = self.members.remove(&instance)?;
        let wanted = &self.networks.get(&member.network)?.wanted;
        if !self.is_deserted(&member.network) {
            return None;
        }

        Some(NetworkPlan {
            operations: vec![Operation::DeleteLink {
                link: wanted.bridge.clone(),
            }],
            network: member.network,
        })
    }

    /// All networks, as they are to be stored.
    pub(super) fn stored(&self) -> Vec<Stored> {
        self.networks
            .values()
            .map(|network| network.wanted.clone())
            .collect()
    }

    /// The networks that cannot be used, and why.
    pub(super) fn faults(&self) -> impl Iterator<Item = (&NetworkId, &Arc<NetworkError>)> {
        self.networks
            .iter()
            .filter_map(|(id, network)| Some((id, network.fault.as_ref()?)))
    }

    /// Finds the positions of changed networks anew. Where two overlap, the one
    /// that was there first stays.
    fn position(&mut self, changed: &[NetworkId]) {
        let mut occupied: Vec<(NetworkId, Position)> = self
            .networks
            .iter()
            .filter(|(id, network)| !network.wanted.removed && !changed.contains(id))
            .filter_map(|(id, network)| Some((id.clone(), network.position?)))
            .collect();

        for id in changed {
            let Some(network) = self.networks.get_mut(id) else {
                continue;
            };
            let position = position(&network.wanted.parameters).and_then(|position| match occupied
                .iter()
                .find(|(_, other)| position.subnet.overlaps(other.subnet))
            {
                Some((other, _)) if !network.wanted.removed => Err(NetworkError::Overlap {
                    network: id.clone(),
                    subnet: position.subnet.to_string(),
                    other: other.clone(),
                }),
                _ => Ok(position),
            });
            match position {
                Ok(position) => {
                    network.position = Some(position);
                    network.fault = None;
                }
                Err(fault) => network.fault = Some(Arc::new(fault)),
            }
            // A refused network keeps the position that it has.
            if let Some(position) = network.position
                && !network.wanted.removed
            {
                occupied.push((id.clone(), position));
            }
        }
    }

    /// Gives a name to each bridge that has none, and another to one whose name
    /// a foreign link has taken. A bridge that exists keeps its name.
    fn name_bridges(&mut self, existing: &Existing) {
        let ids: Vec<NetworkId> = self.networks.keys().cloned().collect();
        for id in ids {
            let alias = names::network_alias(&id);
            let in_use = |name: &str| {
                existing
                    .links
                    .get(name)
                    .is_some_and(|link| link.alias != alias)
                    || self
                        .networks
                        .iter()
                        .any(|(other, network)| *other != id && network.wanted.bridge == name)
            };

            let current = &self.networks[&id].wanted.bridge;
            let ours = existing
                .links
                .get(current)
                .is_some_and(|link| link.alias == alias);
            let name = match existing.bridge_with_alias(&alias) {
                Some((name, _)) if !ours => name.to_owned(),
                None if current.is_empty() || in_use(current) => names::bridge(&id, in_use),
                _ => continue,
            };
            if let Some(network) = self.networks.get_mut(&id) {
                network.wanted.bridge = name;
            }
        }
    }

    fn operations(&self, id: &NetworkId, network: &Network, existing: &Existing) -> Vec<Operation> {
        let bridge = &network.wanted.bridge;
        let link = existing.links.get(bridge);

        if self.is_deserted(id) {
            return link
                .map(|_| Operation::DeleteLink {
                    link: bridge.clone(),
                })
                .into_iter()
                .collect();
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
            Some(link) if !link.up || !link.forwarding => {
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
                network,
                operations: vec![Operation::DeleteLink { link: name.clone() }],
            })
            .collect()
    }

    /// Whether a network was removed and nobody is in it.
    fn is_deserted(&self, id: &NetworkId) -> bool {
        self.networks
            .get(id)
            .is_some_and(|network| network.wanted.removed)
            && !self.members.values().any(|member| member.network == *id)
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

    fn seat(&self, request: &AttachRequest) -> Result<Seat, NetworkError> {
        let instance = request.id;
        if let Some(member) = self.members.get(&instance) {
            return Err(NetworkError::AlreadyAttached {
                instance,
                network: member.network.clone(),
            });
        }

        let id = request.network_id();
        if request.network.ip.is_empty() || request.network.subnet.is_empty() {
            return Err(NetworkError::NoAddress {
                instance,
                network: id,
            });
        }
        let network = self
            .networks
            .get(&id)
            .ok_or_else(|| NetworkError::NotKnown {
                network: id.clone(),
            })?;
        if let Some(fault) = &network.fault {
            return Err(NetworkError::NotUsable {
                network: id,
                fault: Arc::clone(fault),
            });
        }
        let position = network
            .position
            .expect("a network without a position has a fault");

        let bad = |what, text: &str| NetworkError::BadAddress {
            instance,
            what,
            text: text.to_owned(),
        };
        let text = &request.network.subnet;
        text.parse::<Subnet>().map_err(|_| bad("subnet", text))?;
        let text = &request.network.ip;
        let address: Ipv4Addr = text.parse().map_err(|_| bad("address", text))?;
        self.check_free(instance, &id, position, address)?;

        Ok(Seat {
            instance,
            network: id,
            bridge: network.wanted.bridge.clone(),
            address: position.subnet.interface(address),
            gateway: position.gateway,
        })
    }

    fn check_free(
        &self,
        instance: InstanceId,
        id: &NetworkId,
        position: Position,
        address: Ipv4Addr,
    ) -> Result<(), NetworkError> {
        if !position.subnet.has_host(address) {
            return Err(NetworkError::AddressOutside {
                instance,
                address,
                subnet: position.subnet.to_string(),
                network: id.clone(),
            });
        }
        if address == position.gateway {
            return Err(NetworkError::AddressOfGateway {
                instance,
                address,
                network: id.clone(),
            });
        }
        let holder = self
            .members
            .iter()
            .find(|(_, member)| member.network == *id && member.address == address);
        match holder {
            Some((&other, _)) => Err(NetworkError::AddressTaken {
                instance,
                address,
                other,
            }),
            None => Ok(()),
        }
    }
}

/// Where a network with these parameters lies.
fn position(parameters: &NetworkParameters) -> Result<Position, NetworkError> {
    let network = || parameters.network_id.clone();
    if parameters.network_id.as_str().len() > names::LONGEST_ID {
        return Err(NetworkError::LongId { network: network() });
    }
    let subnet: Subnet = parameters
        .subnet
        .parse()
        .map_err(|_| NetworkError::BadSubnet {
            network: network(),
            text: parameters.subnet.clone(),
        })?;
    let gateway: Ipv4Addr = parameters
        .ip
        .parse()
        .map_err(|_| NetworkError::BadGateway {
            network: network(),
            text: parameters.ip.clone(),
        })?;
    if !subnet.has_host(gateway) {
        return Err(NetworkError::GatewayOutside {
            network: network(),
            gateway,
            subnet: parameters.subnet.clone(),
        });
    }

    Ok(Position { subnet, gateway })
}
