//! 802.1q links: they connect networks with those of other nodes.
//!
//! Such a link lies on the uplink, the interface of the default route, and
//! moves with it. A network whose link cannot be had stays inside the node. An
//! uplink that is gone for a while takes nothing away: its links wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Book, Network, NetworkPlan};
use crate::model::NetworkId;
use crate::networkmanager::existing::{Existing, Link, Vlan};
use crate::networkmanager::names;
use crate::networkmanager::plan::Operation;

/// What makes the 802.1q links those that are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::networkmanager) struct VlanPlan {
    /// What goes first, and makes room.
    pub(in crate::networkmanager) leaving: Vec<Operation>,
    /// What comes, or is mended, when the bridges are there.
    pub(in crate::networkmanager) networks: Vec<NetworkPlan>,
    /// Networks that stay inside the node though they should not.
    pub(in crate::networkmanager) disconnected: Vec<(NetworkId, Disconnected)>,
    /// The 802.1q link that each bridge has then, by its name.
    pub(in crate::networkmanager) ports: BTreeMap<String, String>,
}

/// Why a network has no VLAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) enum Disconnected {
    /// No VLAN can have this id.
    BadId(u64),
    /// There is no default route.
    NoUplink(u16),
    /// The id is taken on the uplink.
    InUse { id: u16, uplink: String, by: String },
}

impl Disconnected {
    /// Whether it may well pass without anybody's help.
    pub(in crate::networkmanager) fn may_pass(&self) -> bool {
        !matches!(self, Self::BadId(_))
    }
}

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadId(id) => write!(f, "VLAN id {id} is not one of 1 to 4094"),
            Self::NoUplink(id) => {
                write!(f, "VLAN {id} has no interface: there is no default route")
            }
            Self::InUse { id, uplink, by } => write!(f, "VLAN {id} on {uplink} is used by {by}"),
        }
    }
}

/// The 802.1q links of a network: ours, and ports of its bridge that release
/// 7.2.3 made.
pub(super) fn links_of<'a>(
    network: &NetworkId,
    bridge: &str,
    existing: &'a Existing,
) -> impl Iterator<Item = (&'a String, &'a Link)> {
    let alias = names::vlan_alias(network);
    let bridge = existing.links.get(bridge).map(|link| link.index);
    existing.links.iter().filter(move |(name, link)| {
        let inherited =
            link.alias.is_empty() && names::is_vlan(name) && bridge.is_some_and(is_master_of(link));
        link.vlan.is_some() && (link.alias == alias || inherited)
    })
}

fn is_master_of(link: &Link) -> impl Fn(u32) -> bool {
    let master = link.master;
    move |index| master == Some(index)
}

impl Book {
    /// What makes the 802.1q links in `existing` those that are wanted. To be
    /// carried out after [`Book::plans`] of the same `existing`.
    pub(in crate::networkmanager) fn vlans(&self, existing: &Existing) -> VlanPlan {
        let mut plan = VlanPlan::default();
        let mut gone = self.gone_with_bridges(existing);
        let mut claims = BTreeMap::new();
        let mut missing = Vec::new();

        for (id, network) in self
            .networks
            .iter()
            .filter(|(id, network)| network.position.is_some() && !self.is_deserted(id))
        {
            let wish = match self.wish(network) {
                Ok(wish) => wish,
                Err(fault) => {
                    plan.disconnected.push((id.clone(), fault));
                    None
                }
            };
            let kept = wish.and_then(|wish| self.fitting(id, network, wish, existing));
            for (name, _) in self.own_links(id, network, existing) {
                if kept.is_none_or(|(kept, _)| kept != name) && gone.insert(name) {
                    plan.leaving
                        .push(Operation::DeleteVlan { vlan: name.clone() });
                }
            }
            match (wish, kept) {
                (Some(_), Some((name, link))) => {
                    let bridge = network.wanted.bridge.clone();
                    plan.ports.insert(bridge, name.clone());
                    claims.extend(link.vlan.map(|vlan| (vlan, format!("network {id}"))));
                    plan.networks
                        .extend(self.repair(id, network, (name, link), existing));
                }
                (Some(wish), None) => missing.push((id, network, wish)),
                (None, _) => {}
            }
        }
        for (name, _) in self.leftovers(existing) {
            if gone.insert(name) {
                plan.leaving
                    .push(Operation::DeleteVlan { vlan: name.clone() });
            }
        }
        for (name, link) in &existing.links {
            if let Some(vlan) = link.vlan.filter(|_| !gone.contains(name)) {
                claims.entry(vlan).or_insert_with(|| format!("link {name}"));
            }
        }

        let mut taken = BTreeSet::new();
        for (id, network, wish) in missing {
            let Some((uplink, lower)) = existing.uplink() else {
                let fault = Disconnected::NoUplink(wish);
                plan.disconnected.push((id.clone(), fault));
                continue;
            };
            let vlan = Vlan {
                id: wish,
                lower: lower.index,
            };
            if let Some(by) = claims.get(&vlan) {
                let fault = Disconnected::InUse {
                    id: wish,
                    uplink: uplink.to_owned(),
                    by: by.clone(),
                };
                plan.disconnected.push((id.clone(), fault));
                continue;
            }
            claims.insert(vlan, format!("network {id}"));
            let name = names::vlan(id, |name| {
                taken.contains(name)
                    || existing
                        .links
                        .get_key_value(name)
                        .is_some_and(|(name, _)| !gone.contains(name))
            });
            taken.insert(name.clone());
            let bridge = network.wanted.bridge.clone();
            plan.ports.insert(bridge, name.clone());
            plan.networks.push(NetworkPlan {
                network: id.clone(),
                operations: vec![Operation::CreateVlan {
                    vlan: name,
                    network: id.clone(),
                    bridge: network.wanted.bridge.clone(),
                    uplink: uplink.to_owned(),
                    id: wish,
                }],
            });
        }

        plan
    }

    /// Has packets forwarded that come in from outside, as soon as there is a
    /// network that they could be for.
    pub(in crate::networkmanager) fn forwarding(&self, existing: &Existing) -> Vec<Operation> {
        let needed = self
            .networks
            .values()
            .any(|network| network.position.is_some());

        existing
            .uplinks()
            .filter(|(_, link)| needed && !link.forwarding)
            .map(|(name, _)| Operation::EnableForwarding {
                link: name.to_owned(),
            })
            .collect()
    }

    /// The VLAN id that a network is to have.
    fn wish(&self, network: &Network) -> Result<Option<u16>, Disconnected> {
        let id = network.wanted.parameters.vlan_id;
        if id == 0 {
            return Ok(None);
        }
        let wish = u16::try_from(id)
            .ok()
            .filter(|id| *id <= LAST_ID)
            .ok_or(Disconnected::BadId(id))?;
        // A removed network yields its VLAN to a new one.
        let is_replaced = network.wanted.removed
            && self.networks.values().any(|other| {
                !other.wanted.removed
                    && other.position.is_some()
                    && other.wanted.parameters.vlan_id == id
            });

        Ok((!is_replaced).then_some(wish))
    }

    /// The link that a network has already and can keep.
    fn fitting<'a>(
        &self,
        id: &NetworkId,
        network: &Network,
        wish: u16,
        existing: &'a Existing,
    ) -> Option<(&'a String, &'a Link)> {
        let uplink = existing.uplink().map(|(_, link)| link.index);
        self.own_links(id, network, existing).find(|(_, link)| {
            link.vlan.is_some_and(|vlan| {
                vlan.id == wish && uplink.is_none_or(|uplink| vlan.lower == uplink)
            })
        })
    }

    /// The links of a network, also one that release 7.2.3 has left alone with
    /// the network's id, and one that we made before a crash.
    fn own_links<'a>(
        &self,
        id: &NetworkId,
        network: &Network,
        existing: &'a Existing,
    ) -> impl Iterator<Item = (&'a String, &'a Link)> {
        let inherited = network.wanted.inherited;
        let own_name = names::vlan(id, |_| false);
        let wanted = network.wanted.parameters.vlan_id;
        let alone = existing.links.iter().filter(move |(name, link)| {
            link.alias.is_empty()
                && link.master.is_none()
                && (inherited && names::is_vlan(name) || **name == own_name)
                && link.vlan.is_some_and(|vlan| u64::from(vlan.id) == wanted)
        });
        links_of(id, &network.wanted.bridge, existing).chain(alone)
    }

    fn repair(
        &self,
        id: &NetworkId,
        network: &Network,
        (name, link): (&String, &Link),
        existing: &Existing,
    ) -> Option<NetworkPlan> {
        let bridge = existing.links.get(&network.wanted.bridge);
        // It cannot be up while what it lies on is down, and comes up with it.
        let is_down = !link.up
            && existing
                .links
                .values()
                .any(|lower| lower.up && link.vlan.is_some_and(|vlan| vlan.lower == lower.index));
        let is_good = !is_down
            && link.alias == names::vlan_alias(id)
            && bridge.is_some_and(|bridge| link.master == Some(bridge.index));

        (!is_good).then(|| NetworkPlan {
            network: id.clone(),
            operations: vec![Operation::RepairVlan {
                vlan: name.clone(),
                network: id.clone(),
                bridge: network.wanted.bridge.clone(),
            }],
        })
    }

    /// Links that go with the bridge of a network that nobody wants.
    fn gone_with_bridges<'a>(&self, existing: &'a Existing) -> BTreeSet<&'a String> {
        self.plans(existing)
            .iter()
            .flat_map(|plan| &plan.operations)
            .filter_map(|operation| match operation {
                Operation::DeleteVlan { vlan } => existing.links.get_key_value(vlan),
                _ => None,
            })
            .map(|(name, _)| name)
            .collect()
    }

    /// Our links of networks that nobody knows any more, but where instances
    /// run that are not yet taken over.
    fn leftovers<'a>(
        &self,
        existing: &'a Existing,
    ) -> impl Iterator<Item = (&'a String, &'a Link)> {
        existing.links.iter().filter(|(_, link)| {
            let in_use = link.master.is_some_and(|bridge| existing.has_ports(bridge));
            !in_use
                && link.vlan.is_some()
                && names::vlan_network_of(&link.alias)
                    .is_some_and(|network| !self.networks.contains_key(&network))
        })
    }
}

/// The last id that a VLAN can have.
const LAST_ID: u16 = 4094;
