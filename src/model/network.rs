//! What CM says about networks.

use serde::{Deserialize, Serialize};

use super::NetworkId;

/// One network of `UpdateNetworks`, or the place of one instance in its
/// network. Addresses stay text until the network manager reads them, so that a
/// bad one is the error of its own instance or network alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkParameters {
    /// Empty in an instance: the provider of its service names the network.
    pub network_id: NetworkId,
    /// CIDR, such as `172.17.0.0/16`.
    pub subnet: String,
    /// The gateway's address in a network, the own address in an instance.
    pub ip: String,
    /// 0: none. CM can send 4095 and 4096, which no VLAN can have.
    pub vlan_id: u64,
    /// Addresses of the network's name servers.
    pub dns_servers: Vec<String>,
    /// What the instance may reach in other networks.
    pub rules: Vec<FirewallRule>,
}

/// One permission to send into another network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct FirewallRule {
    /// Where to.
    pub dst_ip: String,
    /// One port, a list `80,443` or a range `8000:8010`.
    pub dst_port: String,
    /// `tcp`, `udp` or `icmp`.
    pub proto: String,
    /// The instance itself.
    pub src_ip: String,
}
