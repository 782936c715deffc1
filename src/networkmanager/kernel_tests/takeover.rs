//! A new network manager finds what an earlier one made.

use super::machine::{Machine, id, network, on_own_machine, request};
use crate::networkmanager::plan::Operation;

const A: [u8; 4] = [10, 1, 0, 2];
const B: [u8; 4] = [10, 1, 0, 3];

/// A machine with two instances whose manager has ended.
async fn left_running(machine: &Machine) {
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
    manager.stop().await;
}

async fn refusal(machine: &Machine) -> String {
    let manager = machine.start().await;
    let refused = manager.networks.adopt(request(id(1), "provider", A)).await;
    refused.unwrap_err().to_string()
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn connections_survive_the_change_of_the_manager() {
    on_own_machine(async |machine| {
        left_running(&machine).await;
        let mut connection = machine.connect(id(1), id(2), B.into()).unwrap();
        let before = machine.links();

        let manager = machine.start().await;
        connection.talk().unwrap();
        let found = manager.networks.found().await.unwrap();
        let attachment = manager
            .networks
            .adopt(request(id(1), "provider", A))
            .await
            .unwrap();
        manager
            .networks
            .adopt(request(id(2), "provider", B))
            .await
            .unwrap();

        assert_eq!(found, [id(1), id(2)]);
        assert!(attachment.hosts.contains("10.1.0.2\tprovider web-2"));
        connection.talk().unwrap();
        assert_eq!(machine.links(), before);
        let taken = manager.networks.attach(request(id(3), "provider", A)).await;
        assert!(
            taken
                .unwrap_err()
                .to_string()
                .contains("is taken by instance")
        );
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn networks_come_back_after_a_reboot() {
    on_own_machine(async |machine| {
        left_running(&machine).await;
        let before = machine.links().links["br-provider"].addresses.clone();
        machine.apply(Operation::DeleteBridge {
            bridge: "br-provider".into(),
        });

        machine.start().await;

        let link = &machine.links().links["br-provider"];
        assert_eq!(link.addresses, before);
        assert!(link.up && link.forwarding);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_without_link_is_not_taken_over() {
    on_own_machine(async |machine| {
        left_running(&machine).await;
        machine.apply(Operation::ReleasePair {
            instance: id(1),
            host_end: machine.host_end(id(1)).unwrap(),
        });

        let refusal = refusal(&machine).await;

        assert!(refusal.ends_with("is gone"), "{refusal}");
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_that_is_not_connected_to_its_bridge_is_not_taken_over() {
    on_own_machine(async |machine| {
        left_running(&machine).await;
        machine.apply(Operation::DeleteBridge {
            bridge: "br-provider".into(),
        });

        let refusal = refusal(&machine).await;

        assert!(
            refusal.ends_with("is not connected to bridge br-provider"),
            "{refusal}"
        );
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_with_another_address_is_not_taken_over() {
    on_own_machine(async |machine| {
        left_running(&machine).await;
        let manager = machine.start().await;

        let refused = manager
            .networks
            .adopt(request(id(1), "provider", [10, 1, 0, 9]))
            .await;

        let refusal = refused.unwrap_err().to_string();
        assert!(
            refusal.ends_with("it has not address 10.1.0.9/24"),
            "{refusal}"
        );
        // Nothing is booked for it.
        manager
            .networks
            .attach(request(id(9), "provider", [10, 1, 0, 9]))
            .await
            .unwrap();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_without_namespace_is_not_taken_over() {
    on_own_machine(async |machine| {
        left_running(&machine).await;
        let _process = machine
            .inside(id(1), || std::net::UdpSocket::bind("127.0.0.1:0"))
            .unwrap();
        machine.apply(Operation::DeleteNamespace { instance: id(1) });
        let without_file = refusal(&machine).await;
        std::fs::write(machine.namespaces().join(id(1).to_string()), "").unwrap();
        let without_mount = refusal(&machine).await;

        for refusal in [without_file, without_mount] {
            assert!(
                refusal.ends_with("its network namespace is gone"),
                "{refusal}"
            );
        }
    });
}
