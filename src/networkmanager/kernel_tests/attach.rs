//! Instances come and go.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::machine::{dial, id, network, on_own_machine, request};
use crate::networkmanager::NetworkError;
use crate::networkmanager::addresses::InterfaceAddress;
use crate::networkmanager::apply::Kernel;
use crate::networkmanager::names;
use crate::networkmanager::plan::{self, Operation, Seat};

const A: [u8; 4] = [10, 1, 0, 2];
const B: [u8; 4] = [10, 1, 0, 3];

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instances_of_a_network_reach_each_other_and_the_gateway() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.update(vec![network("provider", [10, 1, 0])]).await;

        let attachment = networks
            .attach(request(id(1), "provider", A))
            .await
            .unwrap();
        networks
            .attach(request(id(2), "provider", B))
            .await
            .unwrap();

        assert_eq!(
            attachment.netns,
            machine.namespaces().join(id(1).to_string())
        );
        assert!(attachment.hosts.contains("10.1.0.2\tprovider web\n"));
        machine
            .connect(id(1), id(2), B.into())
            .unwrap()
            .talk()
            .unwrap();
        machine
            .connect(id(2), id(1), A.into())
            .unwrap()
            .talk()
            .unwrap();
        let gateway = TcpListener::bind((Ipv4Addr::new(10, 1, 0, 1), 0)).unwrap();
        let address = gateway.local_addr().unwrap();
        machine.inside(id(1), || dial(address)).unwrap();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn packets_to_elsewhere_are_forwarded_by_the_gateway() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks
            .update(vec![
                network("one", [10, 1, 0]),
                network("other", [10, 2, 0]),
            ])
            .await;

        networks.attach(request(id(1), "one", A)).await.unwrap();
        networks
            .attach(request(id(2), "other", [10, 2, 0, 2]))
            .await
            .unwrap();

        machine
            .connect(id(1), id(2), Ipv4Addr::new(10, 2, 0, 2))
            .unwrap()
            .talk()
            .unwrap();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_sees_itself_at_its_own_address() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        manager
            .networks
            .update(vec![network("provider", [10, 1, 0])])
            .await;

        manager
            .networks
            .attach(request(id(1), "provider", A))
            .await
            .unwrap();

        machine
            .connect(id(1), id(1), A.into())
            .unwrap()
            .talk()
            .unwrap();
        machine
            .connect(id(1), id(1), Ipv4Addr::LOCALHOST)
            .unwrap()
            .talk()
            .unwrap();
        let source = machine
            .inside(id(1), || {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
                socket.connect((Ipv4Addr::new(8, 8, 8, 8), 53))?;
                socket.local_addr()
            })
            .unwrap();
        assert_eq!(source.ip(), Ipv4Addr::from(A));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_has_no_ipv6_but_on_loopback() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        manager
            .networks
            .update(vec![network("provider", [10, 1, 0])])
            .await;

        manager
            .networks
            .attach(request(id(1), "provider", A))
            .await
            .unwrap();

        let inside = || fs::read_to_string("/proc/thread-self/net/if_inet6");
        let addresses = machine.inside(id(1), inside).unwrap();
        assert!(
            addresses.lines().all(|line| line.ends_with(" lo")),
            "{addresses}"
        );
        let outside = inside().unwrap();
        assert!(
            outside.lines().all(|line| line.ends_with(" lo")),
            "{outside}"
        );
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn detach_leaves_nothing() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.update(vec![network("provider", [10, 1, 0])]).await;
        networks.alive().await.unwrap();
        let before = machine.inventory();
        networks
            .attach(request(id(1), "provider", A))
            .await
            .unwrap();
        assert_eq!(machine.inventory().len(), before.len() + 2);

        networks.detach(id(1)).await.unwrap();

        assert_eq!(machine.inventory(), before);
        assert_eq!(networks.found().await.unwrap(), []);
        networks.detach(id(1)).await.unwrap();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_can_come_back_at_once_after_it_left() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.update(vec![network("provider", [10, 1, 0])]).await;
        networks
            .attach(request(id(2), "provider", B))
            .await
            .unwrap();

        for _ in 0..5 {
            networks
                .attach(request(id(1), "provider", A))
                .await
                .unwrap();
            machine
                .connect(id(1), id(2), B.into())
                .unwrap()
                .talk()
                .unwrap();
            networks.detach(id(1)).await.unwrap();
        }
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn commands_for_one_instance_keep_their_order() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.update(vec![network("provider", [10, 1, 0])]).await;

        let (first, second, third, fourth) = tokio::join!(
            networks.attach(request(id(1), "provider", A)),
            networks.detach(id(1)),
            networks.attach(request(id(1), "provider", B)),
            networks.attach(request(id(1), "provider", B)),
        );

        first.unwrap();
        second.unwrap();
        third.unwrap();
        assert!(matches!(fourth, Err(NetworkError::AlreadyAttached { .. })));
        machine
            .inside(id(1), || TcpListener::bind((Ipv4Addr::from(B), 0)))
            .unwrap();
    });
}

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
        let kernel = Kernel::open(&machine.namespaces()).unwrap();
        let refused = kernel
            .apply(&plan::attach(&Seat {
                instance: id(1),
                network: "provider".into(),
                bridge: "br-provider".into(),
                address: InterfaceAddress {
                    address: A.into(),
                    prefix: 24,
                },
                gateway: Ipv4Addr::new(192, 168, 9, 1),
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
        assert!(machine.links().links.contains_key(&names::host_end(id(1))));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn many_instances_come_and_go_at_the_same_time() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = Arc::new(manager.networks.clone());
        networks.update(vec![network("provider", [10, 1, 0])]).await;
        networks.alive().await.unwrap();
        let before = machine.inventory();

        let mut jobs = JoinSet::new();
        for n in 2..34 {
            let networks = Arc::clone(&networks);
            jobs.spawn(async move {
                networks
                    .attach(request(id(n.into()), "provider", [10, 1, 0, n]))
                    .await
                    .unwrap();
            });
        }
        while let Some(done) = jobs.join_next().await {
            done.unwrap();
        }

        machine
            .connect(id(2), id(33), Ipv4Addr::new(10, 1, 0, 33))
            .unwrap()
            .talk()
            .unwrap();
        assert_eq!(networks.found().await.unwrap().len(), 32);
        for n in 2..34 {
            let networks = Arc::clone(&networks);
            jobs.spawn(async move { networks.detach(id(n)).await.unwrap() });
        }
        while let Some(done) = jobs.join_next().await {
            done.unwrap();
        }
        assert_eq!(machine.inventory(), before);
    });
}
