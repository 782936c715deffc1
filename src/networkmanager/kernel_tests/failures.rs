//! What cannot be given is the error of its instance, and leaves nothing.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::cases::{Party, Table, allow, expose, instance};
use super::machine::{Machine, Manager, id, network, on_own_machine};
use super::places::Place;
use super::probes::Knock::{Tcp, Udp};
use crate::networkmanager::AttachRequest;

const ALICE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const CAROL: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);

async fn start(machine: &Machine) -> Manager {
    let manager = machine.start().await;
    let list = vec![network("one", [10, 1, 0]), network("two", [10, 2, 0])];
    manager.networks.update(list).await;
    manager.networks.adopted().await.unwrap();
    manager
}

/// All that must not change by what fails.
fn everything(machine: &Machine) -> BTreeSet<String> {
    let mut everything = machine.inventory();
    let shaping = Place::here().sh("tc qdisc show");
    everything.extend(machine.rules());
    everything.extend(shaping.lines().map(str::to_owned));
    everything.extend(machine.published());
    everything
}

fn assert_unchanged(machine: &Machine, before: &BTreeSet<String>, after_what: &str) {
    let now = everything(machine);
    let new: Vec<_> = now.difference(before).collect();
    let gone: Vec<_> = before.difference(&now).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "{after_what}: new {new:#?}, gone {gone:#?}"
    );
}

/// Requests that cannot be met, and a word of the reason.
fn bad_requests(n: u8, address: Ipv4Addr) -> Vec<(AttachRequest, &'static str)> {
    let good = || instance(n, "one", address);
    let mut bad = Vec::new();
    for (to, ports, proto, word) in [
        ("10.2.0.2", "http", "tcp", "http"),
        ("10.2.0.2", "70000", "tcp", "70000"),
        ("10.2.0.2", "90:80", "tcp", "90:80"),
        ("10.2.0.2", "80", "sctp", "sctp"),
        ("carol", "80", "tcp", "carol"),
    ] {
        let mut request = good();
        allow(&mut request, &[(CAROL, ports, proto)]);
        request.network.rules[0].dst_ip = to.into();
        bad.push((request, word));
    }
    for port in ["http", "80/sctp", "0", "70000", "80/tcp/udp"] {
        let mut request = good();
        expose(&mut request, &["81", port]);
        bad.push((request, port));
    }
    let mut request = good();
    request.hostname = Some("not a name".into());
    bad.push((request, "not a name"));
    bad
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn attach_that_cannot_be_met_says_why_and_leaves_nothing() {
    on_own_machine(async |machine| {
        let manager = start(&machine).await;
        let before = everything(&machine);

        for (request, word) in bad_requests(1, ALICE) {
            let refused = manager.networks.attach(request).await.unwrap_err();

            let reason = crate::model::Chain(&refused).to_string();
            assert!(reason.contains(word), "{word}: {reason}");
            assert_unchanged(&machine, &before, word);
        }

        let good = instance(1, "one", ALICE);
        manager.networks.attach(good).await.unwrap();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn change_that_cannot_be_met_leaves_what_was() {
    on_own_machine(async |machine| {
        let manager = start(&machine).await;
        let mut request = instance(1, "one", ALICE);
        allow(&mut request, &[(CAROL, "80", "tcp")]);
        request.speeds.download = Some(100_000);
        request.limits.upload = Some(1 << 30);
        manager.networks.attach(request).await.unwrap();
        manager
            .networks
            .attach(instance(2, "two", CAROL))
            .await
            .unwrap();
        let before = everything(&machine);

        for (request, word) in bad_requests(1, ALICE) {
            manager.networks.change(request).await.unwrap_err();

            assert_unchanged(&machine, &before, word);
        }

        let places = [1, 2].map(|n| Place::of(&machine, id(n)));
        let [alice, carol] =
            [("alice", ALICE, 0), ("carol", CAROL, 1)].map(|(name, address, n)| Party {
                name,
                place: &places[n],
                address,
            });
        let mut table = Table::default();
        table.pass(&alice, &carol, &[Tcp(80)]);
        table.refuse(&alice, &carol, &[Udp(80)]);
        table.try_out();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn what_is_left_of_instances_that_nobody_wants_goes_with_detach() {
    on_own_machine(async |machine| {
        let manager = start(&machine).await;
        let before = everything(&machine);
        for n in 1..=3 {
            let mut request = instance(n, "one", Ipv4Addr::new(10, 1, 0, n + 1));
            expose(&mut request, &["80"]);
            request.limits.download = Some(1 << 30);
            request.speeds.upload = Some(1000);
            manager.networks.attach(request).await.unwrap();
        }
        manager.stop().await;
        // One lost its link while nobody looked.
        let host_end = machine.host_end(id(2)).unwrap();
        Place::here().sh(&format!("ip link delete {host_end}"));

        let manager = start(&machine).await;
        let found = manager.networks.found().await.unwrap();
        for instance in &found {
            manager.networks.detach(*instance).await.unwrap();
        }

        assert_eq!(found, [id(1), id(2), id(3)]);
        assert_unchanged(&machine, &before, "detach");
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn attach_right_after_a_flush_has_all_rules_in_the_end() {
    on_own_machine(async |machine| {
        let manager = start(&machine).await;
        let networks = &manager.networks;
        networks.attach(instance(2, "two", CAROL)).await.unwrap();

        for n in 3..8_u8 {
            Place::here().sh("nft flush ruleset");
            let mut request = instance(n, "one", Ipv4Addr::new(10, 1, 0, n));
            allow(&mut request, &[(CAROL, "80", "tcp")]);
            networks.attach(request).await.unwrap();

            let place = Place::of(&machine, id(n.into()));
            let carol = Place::of(&machine, id(2));
            let party = |name, place, address| Party {
                name,
                place,
                address,
            };
            let (newest, carol) = (
                party("newest", &place, Ipv4Addr::new(10, 1, 0, n)),
                party("carol", &carol, CAROL),
            );
            let mut table = Table::default();
            table.pass(&newest, &carol, &[Tcp(80)]);
            table.refuse(&newest, &carol, &[Tcp(81), Udp(80)]);
            table.refuse(&carol, &newest, &[Tcp(80)]);
            table.try_out();
        }
    });
}
