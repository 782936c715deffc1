//! From the list that CM sends to networks with positions and names.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::{Book, Network, Position};
use crate::model::{NetworkId, NetworkParameters};
use crate::networkmanager::addresses::Subnet;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::existing::Existing;
use crate::networkmanager::names;
use crate::networkmanager::store::Stored;

impl Book {
    /// Takes the list of networks that CM wants now. Networks are repeated for
    /// each of their instances; the last one counts.
    pub(in crate::networkmanager) fn update(
        &mut self,
        list: Vec<NetworkParameters>,
        existing: &Existing,
    ) {
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
                            inherited: false,
                            parameters,
                        },
                        position: None,
                        fault: None,
                    };
                    self.networks.insert(id.clone(), network);
                    changed.push(id);
                }
            }
        }

        self.position(&changed);
        self.name_bridges(existing);
    }

    /// Finds the positions of changed networks anew. Where two overlap, the one
    /// that was there first stays.
    pub(super) fn position(&mut self, changed: &[NetworkId]) {
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
    pub(super) fn name_bridges(&mut self, existing: &Existing) {
        let ids: Vec<NetworkId> = self.networks.keys().cloned().collect();
        for id in ids {
            let alias = names::network_alias(&id);
            let wanted = &self.networks[&id].wanted;
            let in_use = |name: &str| {
                existing
                    .links
                    .get(name)
                    .is_some_and(|link| !(name == wanted.bridge && wanted.owns(link)))
                    || self
                        .networks
                        .iter()
                        .any(|(other, network)| *other != id && network.wanted.bridge == name)
            };

            let current = &wanted.bridge;
            let ours = existing
                .links
                .get(current)
                .is_some_and(|link| wanted.owns(link));
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
