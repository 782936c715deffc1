//! What the kernel has, as far as plans need it.

use std::collections::{BTreeMap, BTreeSet};

use super::addresses::InterfaceAddress;
use super::names;
use crate::model::InstanceId;

/// The links of SM's own network namespace, by name, and where its default
/// routes lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Existing {
    pub(super) links: BTreeMap<String, Link>,
    /// Indices of the links of IPv4 default routes, that with the lowest metric
    /// first.
    pub(super) uplinks: Vec<u32>,
}

/// One link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) bridge: bool,
    pub(super) alias: String,
    /// Index of the bridge, or the like, that it is a port of.
    pub(super) master: Option<u32>,
    pub(super) up: bool,
    /// Whether IPv4 packets that come in here are forwarded.
    pub(super) forwarding: bool,
    pub(super) addresses: BTreeSet<InterfaceAddress>,
    /// Set when it is an 802.1q link.
    pub(super) vlan: Option<Vlan>,
}

/// What an 802.1q link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Vlan {
    pub(super) id: u16,
    /// Index of the link whose frames are tagged.
    pub(super) lower: u32,
}

impl Existing {
    /// The bridge with this alias, and its name.
    pub(super) fn bridge_with_alias(&self, alias: &str) -> Option<(&str, &Link)> {
        self.links
            .iter()
            .find(|(_, link)| link.bridge && link.alias == alias)
            .map(|(name, link)| (name.as_str(), link))
    }

    /// The instances that have a link, and its name.
    pub(super) fn host_ends(&self) -> impl Iterator<Item = (InstanceId, &str)> {
        self.links
            .iter()
            .filter_map(|(name, link)| Some((names::instance_of(&link.alias)?, name.as_str())))
            .filter(|(instance, name)| *name != names::ifb(*instance))
    }

    /// Whether some link is a port of the one with this index, and will stay it.
    /// Links to other nodes that are ours do not count: they go with their
    /// bridge.
    pub(super) fn has_ports(&self, index: u32) -> bool {
        self.links.values().any(|link| {
            link.master == Some(index) && link.alias != names::RELEASED && !link.is_our_vlan()
        })
    }

    /// The links of default routes, each once.
    pub(super) fn uplinks(&self) -> impl Iterator<Item = (&str, &Link)> {
        self.uplinks
            .iter()
            .enumerate()
            .filter(|(n, index)| !self.uplinks[..*n].contains(index))
            .filter_map(|(_, index)| self.with_index(*index))
    }

    /// The link of the default route that counts, and its name.
    pub(super) fn uplink(&self) -> Option<(&str, &Link)> {
        self.uplinks().next()
    }

    fn with_index(&self, index: u32) -> Option<(&str, &Link)> {
        self.links
            .iter()
            .find(|(_, link)| link.index == index)
            .map(|(name, link)| (name.as_str(), link))
    }
}

impl Link {
    /// Whether it is an 802.1q link that we made.
    pub(super) fn is_our_vlan(&self) -> bool {
        self.vlan.is_some() && names::vlan_network_of(&self.alias).is_some()
    }
}
