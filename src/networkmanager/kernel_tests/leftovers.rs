//! What failed, or what a crash has left.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use super::machine::{id, network, on_own_machine, request};
use crate::model::Flow;
use crate::networkmanager::addresses::InterfaceAddress;
use crate::networkmanager::apply::Kernel;
use crate::networkmanager::plan::{self, Operation, Seat};

const A: [u8; 4] = [10, 1, 0, 2];
const B: [u8; 4] = [10, 1, 0, 3];

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn attach_that_fails_at_its_last_operation_leaves_nothing() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.update(vec![network("provider", [10, 1, 0])]).await;
        networks.alive().await.unwrap();
        machine.apply(Operation::DeleteBridge {
            bridge: "br-provider".into(),
        });
        let before = machine.inventory();

        let refused = networks
            .attach(request(id(1), "provider", A))
            .await
            .unwrap_err();

        assert!(
            refused.to_string().starts_with("cannot connect instance"),
            "{refused}"
        );
        assert_eq!(machine.inventory(), before);
        // Its address is free again, and the network comes back.
        networks.update(vec![network("provider", [10, 1, 0])]).await;
        networks
            .attach(request(id(2), "provider", A))
            .await
            .unwrap();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn attach_that_fails_inside_the_namespace_leaves_nothing() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.update(vec![network("provider", [10, 1, 0])]).await;
        networks.alive().await.unwrap();
        let before = machine.inventory();

        // The gateway is in a subnet that the address is not in.
        let kernel = Kernel::open(&machine.namespaces(), false, Flow::default()).unwrap();
        let refused = kernel
            .apply(&plan::attach(&Seat {
                instance: id(1),
                network: "provider".into(),
                bridge: "br-provider".into(),
                host_end: "veth1".into(),
                address: InterfaceAddress {
                    address: A.into(),
                    prefix: 24,
                },
                gateway: Ipv4Addr::new(192, 168, 9, 1),
                speeds: Default::default(),
            }))
            .unwrap_err();

        assert!(
            refused.to_string().starts_with("cannot give address"),
            "{refused}"
        );
        assert_eq!(machine.inventory(), before);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn leftovers_of_a_crash_are_found_and_removed() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.update(vec![network("provider", [10, 1, 0])]).await;
        networks.alive().await.unwrap();
        let before = machine.inventory();
        // A namespace without a link, a file without a namespace, and a link
        // whose namespace has lost its name but is still in use.
        machine.apply(Operation::CreateNamespace { instance: id(1) });
        fs::write(machine.namespaces().join(id(2).to_string()), "").unwrap();
        networks
            .attach(request(id(3), "provider", A))
            .await
            .unwrap();
        let _process = machine
            .inside(id(3), || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        machine.apply(Operation::DeleteNamespace { instance: id(3) });
        fs::write(machine.namespaces().join("of-others"), "").unwrap();

        let found = networks.found().await.unwrap();
        for instance in &found {
            networks.detach(*instance).await.unwrap();
        }

        assert_eq!(found, [id(1), id(2), id(3)]);
        fs::remove_file(machine.namespaces().join("of-others")).unwrap();
        assert_eq!(machine.inventory(), before);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn attach_replaces_what_an_earlier_life_of_the_instance_left() {
    on_own_machine(async |machine| {
        let first = machine.start().await;
        first
            .networks
            .update(vec![network("provider", [10, 1, 0])])
            .await;
        first
            .networks
            .attach(request(id(1), "provider", A))
            .await
            .unwrap();
        first.stop().await;
        let manager = machine.start().await;

        manager
            .networks
            .attach(request(id(1), "provider", B))
            .await
            .unwrap();

        let old = machine.inside(id(1), || TcpListener::bind((Ipv4Addr::from(A), 0)));
        assert_eq!(old.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        assert!(machine.host_end(id(1)).is_some());
    });
}
