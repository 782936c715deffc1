//! The networks as an operator is shown them.

use super::{Book, Network};
use crate::model::{Chain, NetworkId, NetworkOverview};

impl Book {
    /// All networks, also those that are about to go.
    pub(in crate::networkmanager) fn overview(&self) -> Vec<NetworkOverview> {
        self.networks
            .iter()
            .map(|(id, network)| self.overview_of(id, network))
            .collect()
    }

    fn overview_of(&self, id: &NetworkId, network: &Network) -> NetworkOverview {
        let wanted = &network.wanted;
        let members = self.members.values();
        NetworkOverview {
            id: id.clone(),
            bridge: wanted.bridge.clone(),
            subnet: wanted.parameters.subnet.clone(),
            gateway: wanted.parameters.ip.clone(),
            vlan_id: wanted.parameters.vlan_id,
            instances: members.filter(|member| member.network == *id).count(),
            removed: wanted.removed,
            fault: network
                .fault
                .as_deref()
                .map(|fault| Chain(fault).to_string()),
        }
    }
}
