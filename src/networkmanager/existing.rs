//! What the kernel has, as far as plans need it.

use std::collections::{BTreeMap, BTreeSet};

use super::addresses::InterfaceAddress;
use super::names;
use crate::model::InstanceId;

/// The links of SM's own network namespace, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Existing {
    pub(super) links: BTreeMap<String, Link>,
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
}

impl Existing {
    /// The bridge with this alias, and its name.
    pub(super) fn bridge_with_alias(&self, alias: &str) -> Option<(&str, &Link)> {
        self.links
            .iter()
            .find(|(_, link)| link.bridge && link.alias == alias)
            .map(|(name, link)| (name.as_str(), link))
    }

    /// Whether some link is a port of the one with this index, and will stay it.
    pub(super) fn has_ports(&self, index: u32) -> bool {
        self.links
            .values()
            .any(|link| link.master == Some(index) && link.alias != names::RELEASED)
    }

    /// The instances that have a link, and its name.
    pub(super) fn host_ends(&self) -> impl Iterator<Item = (InstanceId, &str)> {
        self.links
            .iter()
            .filter_map(|(name, link)| Some((names::instance_of(&link.alias)?, name.as_str())))
    }
}
