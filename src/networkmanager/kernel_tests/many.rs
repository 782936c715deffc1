//! Many instances, and long sequences of what can happen to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::mpsc;

use tokio::task::JoinSet;

use super::cases::{allow, expose, instance};
use super::machine::{Machine, Manager, id, network, on_own_machine};
use super::places::Place;
use super::probes::{Knock, PATIENCE};
use crate::networkmanager::names;
use crate::networkmanager::{AttachRequest, Speeds, TrafficLimits};

/// Of the random sequence.
const STEPS: usize = 60;
const INSTANCES: u8 = 8;

async fn start(machine: &Machine, running: impl IntoIterator<Item = AttachRequest>) -> Manager {
    let manager = machine.start().await;
    let list = vec![network("one", [10, 1, 0]), network("two", [10, 2, 0])];
    manager.networks.update(list).await;
    for request in running {
        manager.networks.adopt(request).await.unwrap();
    }
    manager.networks.adopted().await.unwrap();
    manager
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn two_hundred_come_with_all_they_have_and_leave_nothing() {
    on_own_machine(async |machine| {
        let manager = start(&machine, []).await;
        let before = (machine.inventory(), machine.rules());
        let address = |n| Ipv4Addr::new(10, 1, 0, n + 10);

        let mut jobs = JoinSet::new();
        for n in 0..200 {
            let networks = manager.networks.clone();
            let mut request = instance(n, "one", address(n));
            allow(&mut request, &[([10, 2, 0, n].into(), "80,443", "tcp")]);
            expose(&mut request, &["8080", "53/udp"]);
            request.limits.download = Some(1 << 30);
            jobs.spawn(async move { networks.attach(request).await.unwrap() });
        }
        jobs.join_all().await;
        let [first, last] = [0, 199].map(|n| Place::of(&machine, id(n)));
        Knock::Tcp(80)
            .at(&first, &last, address(199), PATIENCE)
            .unwrap();
        let mut jobs = JoinSet::new();
        for n in 0..200 {
            let networks = manager.networks.clone();
            jobs.spawn(async move { networks.detach(id(n)).await.unwrap() });
        }
        jobs.join_all().await;

        assert_eq!((machine.inventory(), machine.rules()), before);
    });
}

/// An instance as it may be wished at some time: always in the same place, with
/// other rights each time.
fn any_wish(random: &mut fastrand::Rng, n: u8) -> AttachRequest {
    let (provider, third) = [("one", 1), ("two", 2)][usize::from(n % 2)];
    let mut request = instance(n, provider, Ipv4Addr::new(10, third, 0, n + 10));
    let other = Ipv4Addr::new(10, 3 - third, 0, random.u8(10..20));
    for (ports, proto) in [
        ("80", "tcp"),
        ("80,443", "udp"),
        ("1:9", "tcp"),
        ("", "icmp"),
    ] {
        if random.bool() {
            allow(&mut request, &[(other, ports, proto)]);
        }
    }
    for ports in [["80"], ["81/tcp"], ["53/udp"]] {
        if random.bool() {
            expose(&mut request, &ports);
        }
    }
    let mut some = |amount| random.bool().then_some(amount);
    request.speeds = Speeds {
        download: some(100_000),
        upload: some(50_000),
    };
    request.limits = TrafficLimits {
        download: some(1 << 30),
        upload: some(1 << 20),
    };
    request
}

/// All that the machine has of networks, without what differs from one machine
/// to another that has the same: numbers, and names of chance.
fn state(machine: &Machine) -> BTreeSet<String> {
    let links = machine.links().links;
    let mut lines = machine.rules();
    lines.extend(
        Place::here()
            .sh("tc qdisc show")
            .lines()
            .map(without_handle),
    );
    for link in links.values() {
        let master = links.iter().find(|(_, of)| Some(of.index) == link.master);
        let addresses: Vec<_> = link.addresses.iter().map(ToString::to_string).collect();
        lines.insert(format!(
            "link {} port of {:?} up {} {addresses:?}",
            link.alias,
            master.map(|(name, _)| name),
            link.up
        ));
    }

    let (released, kept): (Vec<_>, Vec<_>) = links
        .iter()
        .partition(|(_, link)| link.alias == names::RELEASED);
    lines
        .into_iter()
        .filter(|line| !line.contains(names::RELEASED))
        .filter(|line| {
            !released
                .iter()
                .any(|(name, _)| line.contains(name.as_str()))
        })
        .map(|line| {
            kept.iter()
                .filter(|(_, link)| names::instance_of(&link.alias).is_some())
                .fold(line, |line, (name, link)| {
                    line.replace(name.as_str(), &link.alias)
                })
        })
        .collect()
}

/// A line of `tc`: kind, and what comes after the handle.
fn without_handle(line: &str) -> String {
    let words = line.split(' ').enumerate();
    let words = words.filter(|(n, _)| *n != 2).map(|(_, word)| word);
    words.collect::<Vec<_>>().join(" ")
}

/// What is there of these instances on a machine that had nothing else.
fn fresh_state(wishes: &BTreeMap<u8, AttachRequest>) -> BTreeSet<String> {
    let (sender, receiver) = mpsc::channel();
    on_own_machine(async |machine| {
        let manager = start(&machine, []).await;
        for request in wishes.values() {
            manager.networks.attach(request.clone()).await.unwrap();
        }
        sender.send(state(&machine)).unwrap();
    });
    receiver.recv().unwrap()
}

/// Runs a random sequence and gives what it has made, and what was wished last.
fn random_sequence(seed: u64) -> (BTreeSet<String>, BTreeMap<u8, AttachRequest>) {
    let (sender, receiver) = mpsc::channel();
    on_own_machine(async |machine| {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut wishes = BTreeMap::new();
        let mut manager = start(&machine, []).await;
        for _ in 0..STEPS {
            let n = random.u8(1..=INSTANCES);
            match random.u8(0..10) {
                0 => {
                    manager.stop().await;
                    manager = start(&machine, wishes.values().cloned()).await;
                }
                1 => {
                    // What cannot be leaves all as it was.
                    let mut bad = any_wish(&mut random, n + INSTANCES);
                    allow(&mut bad, &[([10, 9, 0, 1].into(), "none", "tcp")]);
                    manager.networks.attach(bad).await.unwrap_err();
                }
                2..=4 if wishes.contains_key(&n) => {
                    wishes.remove(&n);
                    manager.networks.detach(id(n.into())).await.unwrap();
                }
                _ => {
                    let wish = any_wish(&mut random, n);
                    let networks = &manager.networks;
                    match wishes.insert(n, wish.clone()) {
                        Some(_) => networks.change(wish).await.unwrap(),
                        None => networks.attach(wish).await.unwrap(),
                    };
                }
            }
        }
        sender.send((state(&machine), wishes)).unwrap();
    });
    receiver.recv().unwrap()
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn after_any_sequence_there_is_exactly_what_is_wished() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");

    let (state, wishes) = random_sequence(seed);

    let expected = fresh_state(&wishes);
    let missing: Vec<_> = expected.difference(&state).collect();
    let left: Vec<_> = state.difference(&expected).collect();
    assert!(
        missing.is_empty() && left.is_empty(),
        "seed {seed}: missing {missing:#?}, left {left:#?}"
    );
}
