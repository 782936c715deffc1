//! The place of an instance in a network, as plans need it.

use std::net::Ipv4Addr;

use super::addresses::InterfaceAddress;
use super::handle::Speeds;
use crate::model::{InstanceId, NetworkId};

/// An instance's place in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) instance: InstanceId,
    pub(super) network: NetworkId,
    pub(super) bridge: String,
    /// Name of the host's end of its veth pair.
    pub(super) host_end: String,
    pub(super) address: InterfaceAddress,
    pub(super) gateway: Ipv4Addr,
    pub(super) speeds: Speeds,
}
