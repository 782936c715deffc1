//! What a world looks like.

use std::collections::BTreeSet;

use super::{INSTANCES, World};
use crate::model::InstanceId;

impl World {
    /// What there would be to do now.
    pub(super) fn pending(&self) -> usize {
        let existing = self.kernel.existing();
        let vlans = self.book.vlans(&existing);
        let plans = self.book.plans(&existing);
        let operations = plans.iter().chain(&vlans.networks);
        operations.map(|plan| plan.operations.len()).sum::<usize>()
            + vlans.leaving.len()
            + self.book.forwarding(&existing).len()
            + self.book.rejoins(&existing).len()
    }

    /// All 802.1q links: id, uplink, and the alias of the bridge.
    pub(super) fn vlans(&self) -> BTreeSet<(u16, u32, Option<String>)> {
        let links = &self.kernel.links;
        let alias = |index| {
            let bridge = links.values().find(|link| Some(link.index) == index)?;
            Some(bridge.alias.clone())
        };
        links
            .values()
            .filter_map(|link| {
                let vlan = link.vlan?;
                Some((vlan.id, vlan.lower, alias(link.master)))
            })
            .collect()
    }

    /// Everything but bridges, by instance.
    pub(super) fn instances(&self) -> BTreeSet<InstanceId> {
        let links = (0..INSTANCES)
            .map(InstanceId::from_u128)
            .filter(|instance| self.kernel.has_link(*instance));
        self.kernel
            .namespaces
            .keys()
            .copied()
            .chain(links)
            .collect()
    }
}
