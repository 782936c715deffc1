//! Instances come and go.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;

use tokio::task::JoinSet;

use super::cases::allow;
use super::machine::{dial, id, network, on_own_machine, request};
use crate::networkmanager::NetworkError;

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
        assert!(attachment.hosts.contains("10.1.0.2\tprovider web-2\n"));
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

        let mut caller = request(id(1), "one", A);
        allow(&mut caller, &[([10, 2, 0, 2].into(), "1:65535", "tcp")]);
        networks.attach(caller).await.unwrap();
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

        let (attach, refused, detach, again) = tokio::join!(
            networks.attach(request(id(1), "provider", A)),
            networks.attach(request(id(1), "provider", A)),
            networks.detach(id(1)),
            networks.attach(request(id(1), "provider", B)),
        );

        attach.unwrap();
        assert!(matches!(refused, Err(NetworkError::AlreadyAttached { .. })));
        detach.unwrap();
        again.unwrap();
        machine
            .inside(id(1), || TcpListener::bind((Ipv4Addr::from(B), 0)))
            .unwrap();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn hundreds_can_leave_at_the_same_time() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;

        let mut jobs = JoinSet::new();
        for n in 0..600 {
            let networks = manager.networks.clone();
            jobs.spawn(async move { networks.detach(id(n)).await });
        }

        for outcome in jobs.join_all().await {
            outcome.unwrap();
        }
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
