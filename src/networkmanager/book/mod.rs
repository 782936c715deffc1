//! What is wanted of networks, and who has which address.
//!
//! Networks come from CM and from the database; instances come and go with
//! attach and detach. A network that was removed stays in the book until its
//! last instance has gone.

mod bridges;
#[cfg(test)]
mod fake_kernel;
#[cfg(test)]
mod inherited_tests;
mod overview;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod retry_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vlan_tests;
mod vlans;
mod wanted;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::addresses::Subnet;
use super::error::NetworkError;
use super::existing::Existing;
use super::firewall::BridgeRules;
use super::handle::AttachRequest;
use super::nameservice::NetworkFacts;
use super::plan::Seat;
use super::store::Stored;
use crate::model::{InstanceId, NetworkId, NetworkParameters};

pub(super) use self::bridges::NetworkPlan;
pub(super) use self::vlans::{Disconnected, VlanPlan};

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    subnet: Subnet,
    gateway: Ipv4Addr,
}

#[derive(Debug)]
struct Member {
    network: NetworkId,
    host_end: String,
    address: Ipv4Addr,
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

    /// Notes how a plan went.
    pub(super) fn planned(&mut self, plan: &NetworkPlan, outcome: Result<(), Arc<NetworkError>>) {
        let network = &plan.network;
        if outcome.is_ok() && plan.deletes() {
            self.networks.remove(network);
        } else if let Some(network) = self.networks.get_mut(network) {
            match outcome {
                // Its bridge has our alias now.
                Ok(()) => network.wanted.inherited = false,
                Err(fault) => network.fault = Some(fault),
            }
        }
    }

    /// Books the seat that an instance asks for. `host_end` names the host's end
    /// of its veth pair.
    pub(super) fn take_seat(
        &mut self,
        request: &AttachRequest,
        host_end: String,
    ) -> Result<Seat, NetworkError> {
        let seat = self.seat(request, host_end)?;

        self.members.insert(
            seat.instance,
            Member {
                network: seat.network.clone(),
                host_end: seat.host_end.clone(),
                address: seat.address.address,
            },
        );
        Ok(seat)
    }

    /// The seat that an attached instance has, if it is the one it asks for.
    pub(super) fn seat_of(&mut self, request: &AttachRequest) -> Result<Seat, NetworkError> {
        let instance = request.id;
        let not_whole = |reason: &str| NetworkError::NotWhole {
            instance,
            reason: reason.to_owned(),
        };
        let member = self
            .members
            .remove(&instance)
            .ok_or_else(|| not_whole("it is not attached"))?;
        let seat = self.seat(request, member.host_end.clone());
        let seat = seat.and_then(|seat| {
            let same = seat.network == member.network && seat.address.address == member.address;
            if same {
                Ok(seat)
            } else {
                Err(not_whole("it has another address"))
            }
        });
        self.members.insert(instance, member);

        seat
    }

    /// Name of the host's end of an instance's veth pair.
    pub(super) fn host_end(&self, instance: InstanceId) -> Option<&str> {
        Some(&self.members.get(&instance)?.host_end)
    }

    /// Takes the instance out of the book. It may not be in it.
    pub(super) fn leave_seat(&mut self, instance: InstanceId) {
        self.members.remove(&instance);
    }

    /// All networks, also those that are about to go.
    pub(super) fn networks(&self) -> impl Iterator<Item = &NetworkId> {
        self.networks.keys()
    }

    /// What the firewall has to know of the networks, by their bridges. `ports`
    /// are their 802.1q links, by their bridges as well.
    pub(super) fn bridge_rules(
        &self,
        ports: &BTreeMap<String, String>,
    ) -> BTreeMap<String, BridgeRules> {
        let networks = self.networks.values();
        networks
            .filter_map(|network| {
                let position = network.position?;
                let bridge = &network.wanted.bridge;
                let rules = BridgeRules {
                    subnet: position.subnet,
                    gateway: position.gateway,
                    vlan_port: ports.get(bridge).cloned(),
                };
                Some((bridge.clone(), rules))
            })
            .collect()
    }

    /// What the name server has to know of each network; nothing while it has
    /// no bridge.
    pub(super) fn facts(&self, existing: &Existing) -> Vec<(NetworkId, Option<NetworkFacts>)> {
        let networks = self.networks.iter();
        networks
            .map(|(id, network)| {
                let wanted = &network.wanted;
                let link = existing.links.get(&wanted.bridge);
                let facts = link
                    .zip(network.position)
                    .map(|(link, position)| NetworkFacts {
                        bridge: wanted.bridge.clone(),
                        bridge_index: link.index,
                        gateway: position.subnet.interface(position.gateway),
                        dns_servers: wanted.parameters.dns_servers.clone(),
                    });
                (id.clone(), facts)
            })
            .collect()
    }

    /// The networks that CM no longer wants and that have no instance any more.
    pub(super) fn deserted(&self) -> Vec<NetworkId> {
        self.networks
            .keys()
            .filter(|network| self.is_deserted(network))
            .cloned()
            .collect()
    }

    /// All networks, as they are to be stored.
    pub(super) fn stored(&self) -> Vec<Stored> {
        self.networks
            .values()
            .map(|network| network.wanted.clone())
            .collect()
    }

    /// The networks that CM wants, as it sent them.
    pub(super) fn wanted(&self) -> Vec<NetworkParameters> {
        let stored = self.stored().into_iter();
        stored
            .filter(|network| !network.removed)
            .map(|network| network.parameters)
            .collect()
    }

    /// The networks that instances can be in, each with its addresses.
    pub(super) fn usable(&self) -> Vec<(NetworkId, Subnet, Ipv4Addr)> {
        self.networks
            .iter()
            .filter(|(_, network)| network.fault.is_none())
            .filter_map(|(id, network)| {
                let Position { subnet, gateway } = network.position?;
                Some((id.clone(), subnet, gateway))
            })
            .collect()
    }

    /// The networks that cannot be used, and why.
    pub(super) fn faults(&self) -> impl Iterator<Item = (&NetworkId, &Arc<NetworkError>)> {
        self.networks
            .iter()
            .filter_map(|(id, network)| Some((id, network.fault.as_ref()?)))
    }

    /// Whether a network was removed and nobody is in it.
    fn is_deserted(&self, id: &NetworkId) -> bool {
        self.networks
            .get(id)
            .is_some_and(|network| network.wanted.removed)
            && !self.members.values().any(|member| member.network == *id)
    }

    fn seat(&self, request: &AttachRequest, host_end: String) -> Result<Seat, NetworkError> {
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
            host_end,
            address: position.subnet.interface(address),
            gateway: position.gateway,
            speeds: request.speeds,
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
