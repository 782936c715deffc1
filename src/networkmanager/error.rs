//! What can go wrong with a network or an attachment.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use super::firewall::RuleFault;
use crate::model::{InstanceId, NetworkId};
use crate::storage::StorageError;

/// Why a network or an instance's place in it cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The task has ended.
    #[error("the network manager is closed")]
    Closed,
    /// The table of networks cannot be read or written.
    #[error("cannot read or write the stored networks")]
    Storage(#[from] StorageError),
    /// The directory of network namespaces cannot be set up or read.
    #[error("cannot use {path} for network namespaces")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Links and addresses cannot be listed.
    #[error("cannot list the links of the machine")]
    Survey(#[source] io::Error),
    /// The kernel refused one operation. Those before it have been undone.
    #[error("cannot {operation}")]
    Operation {
        /// What was tried, and for whom.
        operation: String,
        /// Why.
        #[source]
        source: io::Error,
    },

    /// A network's id does not fit the alias of a link.
    #[error("id of network {network} is longer than {limit} bytes", limit = super::names::LONGEST_ID)]
    LongId {
        /// The network.
        network: NetworkId,
    },
    /// A network's subnet cannot be read.
    #[error("subnet `{text}` of network {network} is not an IPv4 subnet such as 172.17.0.0/16")]
    BadSubnet {
        /// The network.
        network: NetworkId,
        /// As CM sent it.
        text: String,
    },
    /// A network's gateway cannot be read.
    #[error("gateway `{text}` of network {network} is not an IPv4 address")]
    BadGateway {
        /// The network.
        network: NetworkId,
        /// As CM sent it.
        text: String,
    },
    /// A network's gateway is not one of its usable addresses.
    #[error("gateway {gateway} of network {network} is no host address of its subnet {subnet}")]
    GatewayOutside {
        /// The network.
        network: NetworkId,
        /// As CM sent it.
        gateway: Ipv4Addr,
        /// As CM sent it.
        subnet: String,
    },
    /// Two networks cannot share addresses on one node.
    #[error("subnet {subnet} of network {network} overlaps with that of network {other}")]
    Overlap {
        /// The network that is refused.
        network: NetworkId,
        /// Its subnet.
        subnet: String,
        /// The network that has it.
        other: NetworkId,
    },

    /// CM has not sent the network.
    #[error("network {network} is not known")]
    NotKnown {
        /// The network.
        network: NetworkId,
    },
    /// The network was refused, or could not be set up.
    #[error("network {network} cannot be used")]
    NotUsable {
        /// The network.
        network: NetworkId,
        /// What is wrong with it.
        #[source]
        fault: Arc<NetworkError>,
    },
    /// The instance has no address or no subnet.
    #[error("instance {instance} has no address in network {network}")]
    NoAddress {
        /// The instance.
        instance: InstanceId,
        /// Its network.
        network: NetworkId,
    },
    /// The instance's address or subnet cannot be read.
    #[error("`{text}` of instance {instance} is not an IPv4 {what}")]
    BadAddress {
        /// The instance.
        instance: InstanceId,
        /// `address` or `subnet`.
        what: &'static str,
        /// As CM sent it.
        text: String,
    },
    /// The instance's address is none that a host of the network can have.
    #[error(
        "address {address} of instance {instance} is no host address of {subnet}, network {network}"
    )]
    AddressOutside {
        /// The instance.
        instance: InstanceId,
        /// The address.
        address: Ipv4Addr,
        /// The network's subnet.
        subnet: String,
        /// The network.
        network: NetworkId,
    },
    /// The instance's address is that of the gateway.
    #[error("address {address} of instance {instance} is the gateway of network {network}")]
    AddressOfGateway {
        /// The instance.
        instance: InstanceId,
        /// The address.
        address: Ipv4Addr,
        /// The network.
        network: NetworkId,
    },
    /// Another instance has the address.
    #[error("address {address} of instance {instance} is taken by instance {other}")]
    AddressTaken {
        /// The instance that is refused.
        instance: InstanceId,
        /// The address.
        address: Ipv4Addr,
        /// The instance that has it.
        other: InstanceId,
    },
    /// A rule of the instance cannot be read.
    #[error("rule `{rule}` of instance {instance} cannot be used")]
    BadRule {
        /// The instance.
        instance: InstanceId,
        /// As CM sent it.
        rule: String,
        /// What is wrong with it.
        #[source]
        fault: RuleFault,
    },
    /// A port that the instance's image exposes cannot be read.
    #[error("exposed port `{text}` of instance {instance} cannot be used")]
    BadExposedPort {
        /// The instance.
        instance: InstanceId,
        /// As the image has it.
        text: String,
        /// What is wrong with it.
        #[source]
        fault: RuleFault,
    },
    /// The kernel's firewall cannot be read or written.
    #[error("cannot {operation}")]
    Firewall {
        /// What was tried.
        operation: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The instance is attached.
    #[error("instance {instance} is already in network {network}")]
    AlreadyAttached {
        /// The instance.
        instance: InstanceId,
        /// The network that it is in.
        network: NetworkId,
    },
    /// What is there of a running instance is not what should be.
    #[error("network of instance {instance} cannot be taken over: {reason}")]
    NotWhole {
        /// The instance.
        instance: InstanceId,
        /// What is missing or different.
        reason: String,
    },
    /// The service wants a host name that nobody could look up.
    #[error(
        "host name `{name}` of instance {instance} is no DNS name: letters, digits, `-` and `_`, at most 63 between dots"
    )]
    BadHostName {
        /// The instance.
        instance: InstanceId,
        /// As the service's configuration has it.
        name: String,
    },
    /// Another instance of the network has the name.
    #[error("name {name} of instance {instance} is taken in network {network} by instance {other}")]
    NameTaken {
        /// The instance that is refused.
        instance: InstanceId,
        /// The name.
        name: String,
        /// The network.
        network: NetworkId,
        /// The instance that has it.
        other: InstanceId,
    },
    /// The names cannot be told to the name server.
    #[error("cannot {what} {path}, by which the name server learns names")]
    NameFiles {
        /// What was tried.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl NetworkError {
    /// Whether a running instance whose place cannot be taken over, or changed,
    /// has to be started anew: what it has is not what it needs. All else is no
    /// fault of the instance, or may pass.
    #[must_use]
    pub fn needs_restart(&self) -> bool {
        matches!(
            self,
            Self::NotWhole { .. }
                | Self::AddressTaken { .. }
                | Self::NoAddress { .. }
                | Self::BadAddress { .. }
        )
    }
}
