//! Who has which name in which network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use aos_names::{InstanceNames, NetworkNames, is_name};

use crate::model::{InstanceId, NetworkId};
use crate::networkmanager::addresses::InterfaceAddress;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::handle::AttachRequest;

/// The names of the node's networks.
///
/// Invariant: no two instances of a network have a name in common, with the
/// network's suffix or without, whatever the case of its letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::networkmanager) struct NameDirectory {
    networks: BTreeMap<NetworkId, Network>,
}

/// Where a network's server listens, and whom it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) struct NetworkFacts {
    /// Name of the bridge.
    pub(in crate::networkmanager) bridge: String,
    /// Index of the bridge: one that was made anew has another.
    pub(in crate::networkmanager) bridge_index: u32,
    /// The bridge's address.
    pub(in crate::networkmanager) gateway: InterfaceAddress,
    /// As CM sent them; what is no address is left out.
    pub(in crate::networkmanager) dns_servers: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Network {
    facts: Option<NetworkFacts>,
    members: BTreeMap<InstanceId, Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    address: Ipv4Addr,
    names: Vec<String>,
    dns_servers: Vec<String>,
}

impl NameDirectory {
    /// The directory that an earlier SM wrote. What has gone since is to be
    /// taken out by [`NameDirectory::keep_only`].
    pub(in crate::networkmanager) fn inherited(files: Vec<NetworkNames>) -> Self {
        let networks = files.into_iter().map(|file| {
            let dns_servers: Vec<String> = file.dns_servers.iter().map(IpAddr::to_string).collect();
            let members = file.instances.into_iter();
            let network = Network {
                members: members
                    .filter_map(|instance| inherit(instance, &dns_servers))
                    .collect(),
                facts: Some(NetworkFacts {
                    bridge: file.bridge,
                    bridge_index: file.bridge_index,
                    gateway: InterfaceAddress {
                        address: file.gateway,
                        prefix: file.prefix,
                    },
                    dns_servers,
                }),
            };
            (NetworkId::new(file.network), network)
        });

        Self {
            networks: networks.collect(),
        }
    }

    /// Takes out all networks and instances but these.
    pub(in crate::networkmanager) fn keep_only(
        &mut self,
        networks: &BTreeSet<NetworkId>,
        instances: &BTreeSet<InstanceId>,
    ) {
        self.keep_networks(networks);
        for network in self.networks.values_mut() {
            network.members.retain(|id, _| instances.contains(id));
        }
    }

    /// Takes out all networks but these.
    pub(in crate::networkmanager) fn keep_networks(&mut self, networks: &BTreeSet<NetworkId>) {
        self.networks.retain(|id, _| networks.contains(id));
    }

    /// Says where a network is. Its instances stay.
    pub(in crate::networkmanager) fn set_network(
        &mut self,
        network: &NetworkId,
        facts: NetworkFacts,
    ) {
        self.networks.entry(network.clone()).or_default().facts = Some(facts);
    }

    /// Takes a network out, with all that are in it.
    pub(in crate::networkmanager) fn remove_network(&mut self, network: &NetworkId) {
        self.networks.remove(network);
    }

    /// Gives an instance its names in its network, in place of those that it
    /// has. On an error it has what it had before.
    pub(in crate::networkmanager) fn admit(
        &mut self,
        request: &AttachRequest,
        address: Ipv4Addr,
    ) -> Result<(), NetworkError> {
        let id = request.network_id();
        let names = names_of(request)?;
        if let Some(network) = self.networks.get(&id) {
            network.check_free(&id, request.id, &names)?;
        }

        self.dismiss(request.id);
        let member = Member {
            address,
            names,
            dns_servers: request.network.dns_servers.clone(),
        };
        let network = self.networks.entry(id).or_default();
        network.members.insert(request.id, member);
        Ok(())
    }

    /// Takes an instance's names away. It may have none.
    pub(in crate::networkmanager) fn dismiss(&mut self, instance: InstanceId) {
        for network in self.networks.values_mut() {
            network.members.remove(&instance);
        }
    }

    /// The content of each network's file. A network of which it is not known
    /// where it lies has none.
    pub(in crate::networkmanager) fn files(&self) -> Vec<NetworkNames> {
        self.networks
            .iter()
            .filter_map(|(id, network)| network.file(id))
            .collect()
    }
}

impl Network {
    fn check_free(
        &self,
        id: &NetworkId,
        instance: InstanceId,
        names: &[String],
    ) -> Result<(), NetworkError> {
        let wanted: BTreeSet<String> = with_suffix(id, names).collect();
        for (&other, member) in self.members.iter().filter(|(other, _)| **other != instance) {
            if let Some(name) = with_suffix(id, &member.names).find(|name| wanted.contains(name)) {
                return Err(NetworkError::NameTaken {
                    instance,
                    name,
                    network: id.clone(),
                    other,
                });
            }
        }

        Ok(())
    }

    fn file(&self, id: &NetworkId) -> Option<NetworkNames> {
        let facts = self.facts.as_ref()?;
        // CM sends the servers with the network and with each instance.
        let mut dns_servers: Vec<IpAddr> = Vec::new();
        let of_members = self.members.values().flat_map(|member| &member.dns_servers);
        for server in facts.dns_servers.iter().chain(of_members) {
            if let Ok(server) = server.trim().parse()
                && !dns_servers.contains(&server)
            {
                dns_servers.push(server);
            }
        }

        Some(NetworkNames {
            network: id.as_str().to_owned(),
            bridge: facts.bridge.clone(),
            bridge_index: facts.bridge_index,
            gateway: facts.gateway.address,
            prefix: facts.gateway.prefix,
            dns_servers,
            instances: self
                .members
                .iter()
                .map(|(id, member)| InstanceNames {
                    id: id.to_string(),
                    address: member.address,
                    names: member.names.clone(),
                })
                .collect(),
        })
    }
}

/// The names of an instance without the network's suffix, the main one first.
///
/// A host name that nobody could look up is the fault of the service. The
/// other names are made of ids, which are chosen without a thought of DNS: one
/// that does not fit is left out.
fn names_of(request: &AttachRequest) -> Result<Vec<String>, NetworkError> {
    let host_name = request.hostname.as_deref().filter(|name| !name.is_empty());
    if let Some(name) = host_name
        && !is_name(name)
    {
        return Err(NetworkError::BadHostName {
            instance: request.id,
            name: name.to_owned(),
        });
    }

    let ident = &request.ident;
    let short = format!("{}.{}", ident.subject_id, ident.service_id);
    let derived = [
        Some(format!("{}.{short}", ident.index)),
        (ident.index == 0).then_some(short),
        Some(request.id.to_string()),
    ];
    let mut names: Vec<String> = Vec::new();
    for name in host_name
        .map(str::to_owned)
        .into_iter()
        .chain(derived.into_iter().flatten().filter(|name| is_name(name)))
    {
        // A service may well ask for a name that it has anyway.
        if !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
            names.push(name);
        }
    }

    Ok(names)
}

/// The names as they are compared, each without and with the network's suffix.
fn with_suffix(network: &NetworkId, names: &[String]) -> impl Iterator<Item = String> {
    names.iter().flat_map(move |name| {
        let plain = name.to_ascii_lowercase();
        let full = format!("{name}.{network}").to_ascii_lowercase();
        [plain, full]
    })
}

/// Whose the servers of a network were is not known: they stay until each
/// instance has been admitted again.
fn inherit(instance: InstanceNames, dns_servers: &[String]) -> Option<(InstanceId, Member)> {
    let member = Member {
        address: instance.address,
        names: instance.names,
        dns_servers: dns_servers.to_vec(),
    };

    Some((instance.id.parse().ok()?, member))
}
