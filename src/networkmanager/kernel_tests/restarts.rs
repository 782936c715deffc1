//! What passes goes on passing, whatever happens to the manager and to others.

use std::net::Ipv4Addr;

use super::cases::{Party, Table, instance};
use super::machine::{Machine, Manager, id, network, on_own_machine};
use super::places::{Outside, Place};
use super::probes::{Knock, PATIENCE};
use super::steady::{Ping, Transfer};
use crate::networkmanager::AttachRequest;

const ALICE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const BOB: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
const CAROL: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);

fn three() -> [AttachRequest; 3] {
    [
        instance(1, "one", ALICE),
        instance(2, "one", BOB),
        instance(3, "two", CAROL),
    ]
}

async fn start(machine: &Machine) -> Manager {
    let manager = machine.start().await;
    let list = vec![network("one", [10, 1, 0]), network("two", [10, 2, 0])];
    manager.networks.update(list).await;
    manager
}

/// All that goes on: between neighbours, from a host and to one.
struct Traffic {
    alice: Place,
    public: Outside,
    /// Inside the unit.
    pings: [Ping; 2],
    out_ping: Ping,
    out: Transfer,
    near: Transfer,
}

impl Traffic {
    fn start(machine: &Machine, public: Outside) -> Self {
        let [alice, bob] = [1, 2].map(|n| Place::of(machine, id(n)));
        Self {
            pings: [Ping::start(&alice, BOB), Ping::start(&Place::here(), ALICE)],
            out_ping: Ping::start(&alice, public.address),
            out: Transfer::start(&alice, &public.place, public.address),
            near: Transfer::start(&alice, &bob, BOB),
            alice,
            public,
        }
    }

    fn stop_unharmed(self) -> Outside {
        for ping in self.pings {
            ping.stop_unharmed();
        }
        self.out_ping.stop_unharmed();
        self.out.stop_unharmed(&self.alice);
        self.near.stop_unharmed(&self.alice);
        self.public
    }

    /// Without any rule nobody changes addresses, so what goes out meanwhile is
    /// lost. It must not be long, and no harm for what goes on.
    fn stop_after_flushes(self, flushes: usize) -> Outside {
        for ping in self.pings {
            ping.stop_unharmed();
        }
        let tally = self.out_ping.stop();
        let last = tally.lost.last().is_some_and(|last| last + 1 == tally.sent);
        assert!(tally.lost.len() < 50 * flushes && !last, "{tally:?}");
        self.out.stop_whole(&self.alice);
        self.near.stop_whole(&self.alice);
        self.public
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn restart_of_the_manager_loses_no_packet() {
    on_own_machine(async |machine| {
        let public = Outside::public();
        let mut manager = start(&machine).await;
        for request in three() {
            manager.networks.attach(request).await.unwrap();
        }
        let traffic = Traffic::start(&machine, public);
        let before = machine.rules();

        for _ in 0..3 {
            manager.stop().await;
            manager = start(&machine).await;
            for request in three() {
                manager.networks.adopt(request).await.unwrap();
            }
            manager.networks.adopted().await.unwrap();
        }

        traffic.stop_unharmed();
        assert_eq!(machine.rules(), before);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn comings_and_goings_of_others_lose_no_packet() {
    on_own_machine(async |machine| {
        let public = Outside::public();
        let manager = start(&machine).await;
        let networks = &manager.networks;
        for request in three() {
            networks.attach(request).await.unwrap();
        }
        let traffic = Traffic::start(&machine, public);

        for n in 10..20 {
            let near = instance(n, "one", Ipv4Addr::new(10, 1, 0, n));
            let far = instance(n + 50, "two", Ipv4Addr::new(10, 2, 0, n));
            let (near, far) = tokio::join!(networks.attach(near), networks.attach(far));
            near.unwrap();
            far.unwrap();
        }
        networks
            .update(vec![
                network("one", [10, 1, 0]),
                network("two", [10, 2, 0]),
                network("new", [10, 3, 0]),
            ])
            .await;
        for n in 10..20_u8 {
            networks.detach(id(n.into())).await.unwrap();
        }

        traffic.stop_unharmed();
    });
}

/// Waits until a new connection is refused as it has to be.
fn wait_refused(alice: &Place, carol: &Place) {
    let end = std::time::Instant::now() + PATIENCE;
    let limit = super::probes::DOUBT;
    while Knock::Tcp(80).at(alice, carol, CAROL, limit).is_ok() {
        assert!(std::time::Instant::now() < end, "rules do not come back");
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn rules_that_somebody_flushed_come_back() {
    on_own_machine(async |machine| {
        let public = Outside::public();
        let manager = start(&machine).await;
        for request in three() {
            manager.networks.attach(request).await.unwrap();
        }
        let [alice, carol] = [1, 3].map(|n| Place::of(&machine, id(n)));
        let before = machine.rules();
        wait_refused(&alice, &carol);
        let traffic = Traffic::start(&machine, public);

        for _ in 0..2 {
            Place::here().sh("nft flush ruleset");
            wait_refused_aside(&alice, &carol).await;
        }

        let public = traffic.stop_after_flushes(2);
        assert_eq!(machine.rules(), before);
        let (alice, internet) = (
            Party {
                name: "alice",
                place: &alice,
                address: ALICE,
            },
            Party {
                name: "internet",
                place: &public.place,
                address: public.address,
            },
        );
        let mut table = Table::default();
        table.pass_as(
            &alice,
            &internet,
            public.machine,
            &[Knock::Tcp(80), Knock::Udp(80), Knock::Icmp],
        );
        table.try_out();
        drop(manager);
    });
}

/// The same, while the manager's loop goes on.
async fn wait_refused_aside(alice: &Place, carol: &Place) {
    let (alice, carol) = (alice.again(), carol.again());
    tokio::task::spawn_blocking(move || wait_refused(&alice, &carol))
        .await
        .unwrap();
}

const FOREIGN: &str = "
    table inet theirs {
        chain forward { type filter hook forward priority 0; policy accept; counter comment \"theirs\"; }
        set people { type ipv4_addr; elements = { 10.9.9.9 } }
    }
    table ip nat {
        chain POSTROUTING { type nat hook postrouting priority 100; oifname \"lan7\" masquerade; }
    }
    table bridge filter {
        chain FORWARD { type filter hook forward priority -200; policy accept; }
    }";

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn tables_and_links_of_others_stay_as_they_are() {
    on_own_machine(async |machine| {
        let host = Place::here();
        let _public = Outside::public();
        machine.foreign_bridge("br-lan7").await;
        let links = machine.links().links;
        let state = || {
            host.sh("nft -s list table inet theirs; nft -s list table ip nat; nft -s list table bridge filter; ip route; cat /proc/sys/net/ipv4/ip_forward")
        };
        host.sh(&format!("nft '{FOREIGN}'"));
        let before = state();

        let manager = start(&machine).await;
        for request in three() {
            manager.networks.attach(request).await.unwrap();
        }
        manager.stop().await;
        let manager = start(&machine).await;
        for n in 1..=3 {
            manager.networks.detach(id(n)).await.unwrap();
        }
        manager.networks.update(Vec::new()).await;
        manager.networks.alive().await.unwrap();

        assert_eq!(state(), before);
        for (name, link) in links {
            let mut now = machine.links().links[&name].clone();
            // Packets of the unit come and go there.
            now.forwarding = link.forwarding;
            assert_eq!(now, link, "{name}");
        }
    });
}
