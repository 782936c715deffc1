//! Who may reach whom.

use std::fs;
use std::net::Ipv4Addr;

use super::cases::{Party, Table, allow, expose, instance};
use super::machine::{Machine, Manager, id, network, on_own_machine};
use super::places::{Outside, Place};
use super::probes::Knock::{self, Icmp, Tcp, Udp};
use super::steady::Ping;
use crate::networkmanager::NetworkSettings;

const ALICE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const BOB: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
const CAROL: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 2);
const DAVE: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 2);
/// The gateways of Alice's and of Carol's network.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);

const ANYTHING: &[Knock] = &[Tcp(1000), Udp(1000), Icmp];

/// Alice and Bob are in one network, Carol and Dave each in one of their own;
/// the networks follow one another without a gap, as CM chooses them.
/// Alice may call Carol, in several ways; Carol is exposed. Dave is nobody's
/// friend.
async fn four_instances(machine: &Machine) -> Manager {
    four_instances_with(machine, NetworkSettings::default()).await
}

async fn four_instances_with(machine: &Machine, settings: NetworkSettings) -> Manager {
    let manager = machine.start_with(settings).await;
    let networks = &manager.networks;
    networks
        .update(vec![
            network("one", [10, 1, 0]),
            network("two", [10, 1, 1]),
            network("three", [10, 1, 2]),
        ])
        .await;
    let mut alice = instance(1, "one", ALICE);
    allow(
        &mut alice,
        &[
            (CAROL, "80", "tcp"),
            (CAROL, "443,8443", "tcp"),
            (CAROL, "5000:5010", "udp"),
            (CAROL, "", "icmp"),
        ],
    );
    let bob = instance(2, "one", BOB);
    let mut carol = instance(3, "two", CAROL);
    expose(&mut carol, &["90", "91/tcp", "53/udp"]);
    let dave = instance(4, "three", DAVE);
    for request in [alice, bob, carol, dave] {
        networks.attach(request).await.unwrap();
    }
    manager
}

/// Bridged packets pass the IP hooks too, or they do not.
fn set_bridge_netfilter(value: &str) {
    let path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    match fs::write(path, value) {
        // This kernel does not do it at all.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        outcome => outcome.unwrap(),
    }
}

fn party<'a>(name: &'static str, place: &'a Place, address: Ipv4Addr) -> Party<'a> {
    Party {
        name,
        place,
        address,
    }
}

async fn try_all(machine: &Machine) {
    let public = Outside::public();
    let private = public.private_neighbour();
    for outside in [&public, &private] {
        outside.learn_way_to("10.0.0.0/8");
    }
    let _manager = four_instances(machine).await;
    let host = Place::here();
    let places = [1, 2, 3, 4].map(|n| Place::of(machine, id(n)));
    let alice = party("alice", &places[0], ALICE);
    let bob = party("bob", &places[1], BOB);
    let carol = party("carol", &places[2], CAROL);
    let dave = party("dave", &places[3], DAVE);
    let near = party("own gateway", &host, NEAR);
    let far = party("other gateway", &host, FAR);
    let machine_outside = party("machine", &host, public.machine);
    let internet = party("internet", &public.place, public.address);
    let lan = party("lan", &private.place, private.address);
    let mut table = Table::default();

    // One network.
    table.pass(&alice, &bob, ANYTHING);
    table.pass(&bob, &alice, ANYTHING);

    // Other networks: what the caller's rules say, one way.
    let allowed = [
        Tcp(80),
        Tcp(443),
        Tcp(8443),
        Udp(5000),
        Udp(5005),
        Udp(5010),
        Icmp,
    ];
    table.pass(&alice, &carol, &allowed);
    table.refuse(
        &alice,
        &carol,
        &[Tcp(81), Tcp(444), Tcp(5000), Udp(80), Udp(4999), Udp(5011)],
    );
    table.refuse(&bob, &carol, &[Tcp(80), Udp(5000), Icmp]);
    table.refuse(&carol, &alice, &[Tcp(80), Udp(5000), Icmp]);
    table.refuse(&dave, &carol, &[Tcp(80), Udp(5000), Icmp]);
    table.refuse(&alice, &dave, &[Tcp(80), Udp(5000), Icmp]);

    // The host.
    for instance in [&alice, &carol] {
        for gateway in [&near, &far, &machine_outside] {
            table.pass(instance, gateway, ANYTHING);
        }
    }
    table.pass(&near, &alice, ANYTHING);
    table.pass(&far, &carol, ANYTHING);

    // Out of the unit.
    for instance in [&alice, &dave] {
        table.pass_as(instance, &internet, public.machine, ANYTHING);
        table.pass_as(instance, &lan, private.machine, ANYTHING);
    }

    // Into the unit.
    for outside in [&internet, &lan] {
        table.pass(outside, &carol, &[Tcp(90), Tcp(91), Udp(53)]);
        table.refuse(outside, &carol, &[Tcp(92), Tcp(53), Udp(90), Icmp]);
        table.refuse(outside, &alice, &[Tcp(90), Udp(53), Icmp]);
    }

    table.try_out();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn everybody_reaches_exactly_whom_they_may() {
    on_own_machine(async |machine| {
        set_bridge_netfilter("0");
        try_all(&machine).await;
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn bridge_netfilter_changes_nothing_of_who_reaches_whom() {
    on_own_machine(async |machine| {
        set_bridge_netfilter("1");
        try_all(&machine).await;
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn outside_needs_no_way_back_to_the_instances() {
    on_own_machine(async |machine| {
        let public = Outside::public();
        let _manager = four_instances(&machine).await;
        let bob = Place::of(&machine, id(2));
        let (bob, internet) = (
            party("bob", &bob, BOB),
            party("internet", &public.place, public.address),
        );
        let mut table = Table::default();

        table.pass_as(&bob, &internet, public.machine, ANYTHING);

        table.try_out();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn restricted_host_answers_names_and_echoes_only() {
    on_own_machine(async |machine| {
        let public = Outside::public();
        let settings = NetworkSettings {
            restrict_host: true,
            ..NetworkSettings::default()
        };
        let _manager = four_instances_with(&machine, settings).await;
        let host = Place::here();
        let places = [1, 2].map(|n| Place::of(&machine, id(n)));
        let alice = party("alice", &places[0], ALICE);
        let bob = party("bob", &places[1], BOB);
        let near = party("own gateway", &host, NEAR);
        let far = party("other gateway", &host, FAR);
        let machine_outside = party("machine", &host, public.machine);
        let internet = party("internet", &public.place, public.address);
        let mut table = Table::default();

        table.pass(&alice, &near, &[Udp(53), Tcp(53), Icmp]);
        table.refuse(&alice, &near, &[Udp(80), Tcp(80)]);
        for other in [&far, &machine_outside] {
            table.pass(&alice, other, &[Icmp]);
            table.refuse(&alice, other, &[Udp(53), Tcp(53), Tcp(80)]);
        }
        table.pass(&near, &alice, ANYTHING);
        table.pass(&alice, &bob, ANYTHING);
        table.pass_as(&alice, &internet, public.machine, ANYTHING);

        table.try_out();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn changed_rules_and_ports_hold_at_once_and_harm_nobody() {
    on_own_machine(async |machine| {
        let public = Outside::public();
        public.learn_way_to("10.0.0.0/8");
        let manager = four_instances(&machine).await;
        let places = [1, 2, 3].map(|n| Place::of(&machine, id(n)));
        let alice = party("alice", &places[0], ALICE);
        let bob = party("bob", &places[1], BOB);
        let carol = party("carol", &places[2], CAROL);
        let internet = party("internet", &public.place, public.address);
        let ping = Ping::start(&places[0], public.address);
        let neighbours = Ping::start(&places[0], BOB);

        let mut changed = instance(1, "one", ALICE);
        allow(&mut changed, &[(CAROL, "81", "tcp")]);
        expose(&mut changed, &["92"]);
        manager.networks.change(changed).await.unwrap();
        manager
            .networks
            .change(instance(3, "two", CAROL))
            .await
            .unwrap();

        let mut table = Table::default();
        table.pass(&alice, &carol, &[Tcp(81)]);
        table.refuse(&alice, &carol, &[Tcp(80), Udp(5000), Icmp]);
        table.pass(&internet, &alice, &[Tcp(92)]);
        table.refuse(&internet, &carol, &[Tcp(90), Udp(53)]);
        table.pass(&alice, &bob, ANYTHING);
        table.try_out();
        ping.stop_unharmed();
        neighbours.stop_unharmed();
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn address_of_an_instance_that_left_has_none_of_its_rights() {
    on_own_machine(async |machine| {
        let public = Outside::public();
        public.learn_way_to("10.0.0.0/8");
        let manager = four_instances(&machine).await;
        let networks = &manager.networks;
        networks.detach(id(1)).await.unwrap();
        networks.detach(id(3)).await.unwrap();

        networks.attach(instance(5, "one", ALICE)).await.unwrap();
        networks.attach(instance(6, "two", CAROL)).await.unwrap();

        let places = [5, 6].map(|n| Place::of(&machine, id(n)));
        let alice = party("new alice", &places[0], ALICE);
        let carol = party("new carol", &places[1], CAROL);
        let internet = party("internet", &public.place, public.address);
        let mut table = Table::default();
        table.refuse(&alice, &carol, &[Tcp(80), Udp(5000), Icmp]);
        table.refuse(&internet, &carol, &[Tcp(90), Udp(53)]);
        table.pass_as(&alice, &internet, public.machine, ANYTHING);
        table.try_out();
    });
}
