//! Provider networks come, change and go.

use std::net::Ipv4Addr;

use super::machine::{id, network, on_own_machine, request};
use crate::model::{NetworkId, NetworkParameters};
use crate::networkmanager::NetworkError;
use crate::networkmanager::addresses::InterfaceAddress;
use crate::networkmanager::existing::Link;
use crate::networkmanager::names;
use crate::networkmanager::plan::Operation;

const A: [u8; 4] = [10, 1, 0, 2];
const B: [u8; 4] = [10, 1, 0, 3];

fn addresses(link: &Link) -> Vec<String> {
    link.addresses
        .iter()
        .map(InterfaceAddress::to_string)
        .collect()
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn network_is_a_forwarding_bridge_with_the_gateway_address() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let long = NetworkId::from("provider-with-a-long-name");

        manager
            .networks
            .update(vec![
                network("short", [10, 1, 0]),
                network("short", [10, 1, 0]),
                network(long.as_str(), [10, 2, 0]),
                NetworkParameters::default(),
            ])
            .await;
        manager.networks.alive().await.unwrap();

        let links = machine.links();
        let short = &links.links["br-short"];
        assert_eq!(addresses(short), ["10.1.0.1/24"]);
        assert!(short.up && short.forwarding && short.bridge);
        assert_eq!(short.alias, "aos network short");
        let (name, link) = links
            .bridge_with_alias(&names::network_alias(&long))
            .unwrap();
        assert!(name.len() <= 15);
        assert_eq!(addresses(link), ["10.2.0.1/24"]);
        assert_eq!(links.links.values().filter(|link| link.bridge).count(), 2);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn changed_network_keeps_its_bridge_and_running_instances() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.update(vec![network("provider", [10, 1, 0])]).await;
        networks
            .attach(request(id(1), "provider", A))
            .await
            .unwrap();
        networks
            .attach(request(id(2), "provider", B))
            .await
            .unwrap();
        let bridge = machine.links().links["br-provider"].index;
        let mut connection = machine.connect(id(1), id(2), B.into()).unwrap();

        networks.update(vec![network("provider", [10, 9, 0])]).await;
        networks.alive().await.unwrap();

        let link = &machine.links().links["br-provider"];
        assert_eq!(link.index, bridge);
        assert_eq!(addresses(link), ["10.9.0.1/24"]);
        connection.talk().unwrap();
        networks
            .attach(request(id(3), "provider", [10, 9, 0, 2]))
            .await
            .unwrap();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn gateway_can_move_inside_its_subnet() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let mut parameters = network("provider", [10, 1, 0]);
        manager.networks.update(vec![parameters.clone()]).await;

        parameters.ip = "10.1.0.254".into();
        manager.networks.update(vec![parameters]).await;
        manager.networks.alive().await.unwrap();

        assert_eq!(
            addresses(&machine.links().links["br-provider"]),
            ["10.1.0.254/24"]
        );
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn networks_without_a_gap_between_them_come_and_go_in_any_order() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        manager.networks.adopted().await.unwrap();

        for wanted in [
            &[2][..],
            &[1, 2],
            &[1, 2, 3],
            &[1, 3],
            &[1, 2, 3],
            &[3],
            &[1, 2],
            &[],
            &[1, 2, 3],
        ] {
            let list = wanted.iter().map(|n| network(&n.to_string(), [10, 1, *n]));
            manager.networks.update(list.collect()).await;
            manager.networks.alive().await.unwrap();

            let rules = machine.rules();
            for n in 1..=3 {
                let subnet = format!("10.1.{n}.0/24");
                let is_wanted = wanted.contains(&n);
                assert_eq!(rules.contains(&subnet), is_wanted, "{wanted:?}: {subnet}");
            }
        }
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn removed_network_goes_with_its_last_instance() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        let before = machine.inventory();
        networks
            .update(vec![
                network("used", [10, 1, 0]),
                network("empty", [10, 2, 0]),
            ])
            .await;
        networks.attach(request(id(1), "used", A)).await.unwrap();
        networks.attach(request(id(2), "used", B)).await.unwrap();

        networks.update(Vec::new()).await;
        networks.detach(id(1)).await.unwrap();

        assert!(!machine.links().links.contains_key("br-empty"));
        assert!(machine.links().links.contains_key("br-used"));
        networks.detach(id(2)).await.unwrap();
        networks.alive().await.unwrap();
        assert_eq!(machine.inventory(), before);
        let refused = networks.attach(request(id(1), "used", A)).await;
        assert!(matches!(refused, Err(NetworkError::NotKnown { .. })));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn removed_network_goes_with_its_last_instance_after_a_restart() {
    on_own_machine(async |machine| {
        let first = machine.start().await;
        first
            .networks
            .update(vec![network("used", [10, 1, 0])])
            .await;
        first
            .networks
            .attach(request(id(1), "used", A))
            .await
            .unwrap();
        first.networks.update(Vec::new()).await;
        first.stop().await;

        let manager = machine.start().await;
        manager
            .networks
            .adopt(request(id(1), "used", A))
            .await
            .unwrap();
        manager.networks.detach(id(1)).await.unwrap();
        manager.networks.alive().await.unwrap();

        assert!(!machine.links().links.contains_key("br-used"));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn bad_network_is_an_error_of_its_instances_and_blocks_nothing() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        let bad = NetworkParameters {
            subnet: "10.2.0.0".into(),
            ..network("bad", [10, 2, 0])
        };

        networks
            .update(vec![bad, network("good", [10, 1, 0])])
            .await;

        let refused = networks.attach(request(id(1), "bad", [10, 2, 0, 2])).await;
        assert!(matches!(refused, Err(NetworkError::NotUsable { .. })));
        networks.attach(request(id(2), "good", A)).await.unwrap();
        networks
            .update(vec![
                network("bad", [10, 2, 0]),
                network("good", [10, 1, 0]),
            ])
            .await;
        networks
            .attach(request(id(1), "bad", [10, 2, 0, 2]))
            .await
            .unwrap();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn link_of_others_with_the_name_of_a_bridge_is_left_alone() {
    on_own_machine(async |machine| {
        machine.foreign_bridge("br-lan").await;
        let manager = machine.start().await;
        let before = machine.links().links["br-lan"].clone();

        manager
            .networks
            .update(vec![network("lan", [10, 1, 0])])
            .await;
        manager
            .networks
            .attach(request(id(1), "lan", A))
            .await
            .unwrap();

        let links = machine.links();
        assert_eq!(links.links["br-lan"], before);
        let (name, _) = links.bridge_with_alias("aos network lan").unwrap();
        assert_ne!(name, "br-lan");
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn bridge_that_somebody_deleted_comes_back_with_its_instances() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        let list = vec![network("provider", [10, 1, 0])];
        networks.update(list.clone()).await;
        networks
            .attach(request(id(1), "provider", A))
            .await
            .unwrap();
        networks
            .attach(request(id(2), "provider", B))
            .await
            .unwrap();
        machine.apply(Operation::DeleteBridge {
            bridge: "br-provider".into(),
        });

        networks.update(list).await;
        networks.alive().await.unwrap();

        machine
            .connect(id(1), id(2), Ipv4Addr::from(B))
            .unwrap()
            .talk()
            .unwrap();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn bridge_without_network_and_ports_is_removed() {
    on_own_machine(async |machine| {
        machine.apply(Operation::CreateBridge {
            bridge: "br-old".into(),
            network: "old".into(),
        });

        machine.start().await;

        assert!(!machine.links().links.contains_key("br-old"));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn only_what_can_be_used_otherwise_than_before_is_told() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        let mut changes = networks.changes();
        let good = network("provider", [10, 1, 0]);
        let bad = NetworkParameters {
            subnet: "none".into(),
            ..network("other", [10, 2, 0])
        };

        let mut told = Vec::new();
        for list in [
            vec![good.clone()],
            vec![good.clone(), good.clone()],
            vec![good.clone(), bad],
            vec![good.clone(), network("other", [10, 2, 0])],
            vec![
                network("provider", [10, 3, 0]),
                network("other", [10, 2, 0]),
            ],
            Vec::new(),
            vec![good],
        ] {
            networks.update(list).await;
            networks.alive().await.unwrap();
            told.push(changes.has_changed().unwrap());
            changes.mark_unchanged();
        }

        assert_eq!(told, [true, false, false, true, true, true, true]);
    });
}
