//! Which 802.1q links are made, kept, moved and deleted.

mod mending;

use super::fake_kernel::FakeKernel;
use super::{Book, Disconnected, VlanPlan};
use crate::model::NetworkParameters;
use crate::networkmanager::existing::{Link, Vlan};
use crate::networkmanager::names;

fn network(id: &str, subnet: u8, vlan_id: u64) -> NetworkParameters {
    NetworkParameters {
        network_id: id.into(),
        subnet: format!("10.{subnet}.0.0/24"),
        ip: format!("10.{subnet}.0.1"),
        vlan_id,
        ..NetworkParameters::default()
    }
}

/// A kernel with two interfaces; the default route leads over the first.
fn kernel() -> FakeKernel {
    let mut kernel = FakeKernel::default();
    kernel.add_interface("eth0");
    kernel.add_interface("eth1");
    kernel.uplinks = vec!["eth0".into()];
    kernel
}

/// Carries out all that is to do, and says what of it concerns VLANs.
fn settle(book: &mut Book, kernel: &mut FakeKernel) -> Vec<String> {
    let existing = kernel.existing();
    let plans = book.plans(&existing);
    let VlanPlan {
        leaving, networks, ..
    } = book.vlans(&existing);
    let mut done = Vec::new();
    for plan in plans {
        kernel.perform(&plan.operations).unwrap();
        book.planned(&plan, Ok(()));
        done.extend(plan.operations);
    }
    let networks = networks.into_iter().flat_map(|plan| plan.operations);
    for operation in leaving.into_iter().chain(networks) {
        kernel.perform(std::slice::from_ref(&operation)).unwrap();
        done.push(operation);
    }
    done.iter()
        .map(ToString::to_string)
        .filter(|text| text.contains("VLAN"))
        .collect()
}

fn updated(book: &mut Book, list: Vec<NetworkParameters>, kernel: &mut FakeKernel) -> Vec<String> {
    book.update(list, &kernel.existing());
    settle(book, kernel)
}

fn faults(book: &Book, kernel: &FakeKernel) -> Vec<Disconnected> {
    let plan = book.vlans(&kernel.existing());
    plan.disconnected
        .into_iter()
        .map(|(_, fault)| fault)
        .collect()
}

fn name(id: &str) -> String {
    names::vlan(&id.into(), |_| false)
}

/// Id and lower link of each 802.1q link, and whether its master is the bridge
/// of the network.
fn vlans(kernel: &FakeKernel, id: &str) -> Vec<(u16, String, bool)> {
    let bridge = kernel.links.get(&format!("br-{id}"));
    let ours = |link: &&Link| link.alias == names::vlan_alias(&id.into());
    kernel
        .links
        .values()
        .filter(ours)
        .filter_map(|link| {
            let vlan = link.vlan?;
            let lower = kernel.links.iter().find(|(_, l)| l.index == vlan.lower)?.0;
            let joined = link.master == bridge.map(|bridge| bridge.index);
            Some((vlan.id, lower.clone(), joined && link.up))
        })
        .collect()
}

fn seven_on(uplink: &str) -> Vec<(u16, String, bool)> {
    vec![(7, uplink.to_owned(), true)]
}

#[test]
fn network_with_vlan_gets_a_link_on_the_uplink() {
    let (mut book, mut kernel) = (Book::default(), kernel());

    let done = updated(&mut book, vec![network("a", 1, 7)], &mut kernel);

    let name = name("a");
    assert_eq!(
        done,
        [format!(
            "create VLAN link {name} of network a, id 7 on eth0"
        )]
    );
    assert_eq!(vlans(&kernel, "a"), seven_on("eth0"));
    assert_eq!(settle(&mut book, &mut kernel), Vec::<String>::new());
    assert_eq!(faults(&book, &kernel), []);
}

#[test]
fn ids_that_no_vlan_can_have_leave_the_network_inside_the_node() {
    for id in [4095, 4096, 65_543, u64::MAX] {
        let (mut book, mut kernel) = (Book::default(), kernel());

        let done = updated(&mut book, vec![network("a", 1, id)], &mut kernel);

        assert_eq!(done, Vec::<String>::new());
        assert!(kernel.links.contains_key("br-a"));
        assert_eq!(faults(&book, &kernel), [Disconnected::BadId(id)]);
        let text = Disconnected::BadId(id).to_string();
        assert_eq!(text, format!("VLAN id {id} is not one of 1 to 4094"));
    }
}

#[test]
fn first_and_last_id_are_good_and_none_is_none() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    let list = vec![
        network("a", 1, 1),
        network("b", 2, 4094),
        network("c", 3, 0),
    ];

    let done = updated(&mut book, list, &mut kernel);

    assert_eq!(done.len(), 2);
    assert_eq!(faults(&book, &kernel), []);
}

#[test]
fn of_repeated_networks_the_last_counts_and_those_without_id_do_not() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    let list = vec![network("a", 1, 4096), network("", 1, 9), network("a", 1, 7)];

    updated(&mut book, list, &mut kernel);

    assert_eq!(vlans(&kernel, "a"), seven_on("eth0"));
    assert_eq!(faults(&book, &kernel), []);
}

#[test]
fn network_without_place_or_gateway_gets_no_vlan_and_blocks_no_other() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    let mut no_subnet = network("a", 1, 8);
    no_subnet.subnet = String::new();
    let mut no_gateway = network("b", 2, 9);
    no_gateway.ip = String::new();

    let list = vec![no_subnet, no_gateway, network("c", 3, 7)];
    let done = updated(&mut book, list, &mut kernel);

    assert_eq!(done.len(), 1);
    assert_eq!(vlans(&kernel, "c"), seven_on("eth0"));
}

#[test]
fn vlan_comes_with_the_default_route() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    kernel.uplinks.clear();
    updated(&mut book, vec![network("a", 1, 7)], &mut kernel);
    assert_eq!(faults(&book, &kernel), [Disconnected::NoUplink(7)]);

    kernel.uplinks = vec!["eth1".into()];
    settle(&mut book, &mut kernel);

    assert_eq!(vlans(&kernel, "a"), seven_on("eth1"));
    assert_eq!(faults(&book, &kernel), []);
}

#[test]
fn vlan_waits_for_a_default_route_that_is_gone_and_moves_with_it() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    updated(&mut book, vec![network("a", 1, 7)], &mut kernel);
    let bridge = kernel.links["br-a"].clone();

    kernel.uplinks.clear();
    let without = settle(&mut book, &mut kernel);
    kernel.uplinks = vec!["eth1".into(), "eth0".into()];
    let moved = settle(&mut book, &mut kernel);

    assert_eq!(without, Vec::<String>::new());
    assert_eq!(moved.len(), 2);
    assert_eq!(vlans(&kernel, "a"), seven_on("eth1"));
    assert_eq!(kernel.links["br-a"], bridge);
}

#[test]
fn changed_id_leaves_the_bridge_alone() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    updated(&mut book, vec![network("a", 1, 8)], &mut kernel);
    let bridge = kernel.links["br-a"].clone();

    updated(&mut book, vec![network("a", 1, 7)], &mut kernel);
    assert_eq!(vlans(&kernel, "a"), seven_on("eth0"));
    let done = updated(&mut book, vec![network("a", 1, 0)], &mut kernel);

    assert_eq!(done, [format!("delete VLAN link {}", name("a"))]);
    assert_eq!(kernel.links["br-a"], bridge);
}

#[test]
fn changed_subnet_and_gateway_leave_the_vlan_alone() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    updated(&mut book, vec![network("a", 1, 7)], &mut kernel);
    let vlan = kernel.links[&name("a")].clone();
    let bridge = kernel.links["br-a"].index;

    let done = updated(&mut book, vec![network("a", 9, 7)], &mut kernel);

    assert_eq!(done, Vec::<String>::new());
    assert_eq!(kernel.links[&name("a")], vlan);
    assert_eq!(kernel.links["br-a"].index, bridge);
}

#[test]
fn ids_can_be_swapped() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    let list = vec![network("a", 1, 8), network("b", 2, 7)];
    updated(&mut book, list, &mut kernel);

    let list = vec![network("a", 1, 7), network("b", 2, 8)];
    updated(&mut book, list, &mut kernel);

    assert_eq!(vlans(&kernel, "a"), seven_on("eth0"));
    assert_eq!(vlans(&kernel, "b"), [(8, "eth0".into(), true)]);
    assert_eq!(faults(&book, &kernel), []);
}

#[test]
fn id_in_use_on_the_uplink_is_left_to_its_owner() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    let foreign = Link {
        index: 99,
        vlan: Some(Vlan {
            id: 7,
            lower: kernel.links["eth0"].index,
        }),
        ..Link::default()
    };
    kernel.links.insert("eth0.7".into(), foreign.clone());

    let list = vec![network("a", 1, 7), network("b", 2, 8), network("c", 3, 8)];
    updated(&mut book, list, &mut kernel);

    let texts: Vec<_> = faults(&book, &kernel)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        [
            "VLAN 7 on eth0 is used by link eth0.7",
            "VLAN 8 on eth0 is used by network b"
        ]
    );
    assert_eq!(kernel.links["eth0.7"], foreign);
    assert_eq!(vlans(&kernel, "b"), [(8, "eth0".into(), true)]);
    // On another interface the id is free.
    kernel.uplinks = vec!["eth1".into()];
    settle(&mut book, &mut kernel);
    assert_eq!(vlans(&kernel, "a"), seven_on("eth1"));
}

#[test]
fn vlan_goes_with_its_network() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    let before = kernel.links.clone();
    updated(&mut book, vec![network("a", 1, 7)], &mut kernel);

    updated(&mut book, Vec::new(), &mut kernel);

    assert_eq!(kernel.links, before);
    assert!(book.networks.is_empty());
}

#[test]
fn id_of_a_removed_network_is_free_for_a_new_one_at_once() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    updated(&mut book, vec![network("a", 1, 7)], &mut kernel);

    updated(&mut book, vec![network("b", 2, 7)], &mut kernel);

    assert_eq!(vlans(&kernel, "a"), []);
    assert_eq!(vlans(&kernel, "b"), seven_on("eth0"));
}

#[test]
fn what_is_left_of_a_network_that_nobody_knows_is_removed() {
    let mut kernel = kernel();
    let before = kernel.links.clone();
    let mut book = Book::default();
    updated(
        &mut book,
        vec![network("a", 1, 7), network("b", 2, 8)],
        &mut kernel,
    );
    kernel.links.remove("br-b");

    settle(&mut Book::default(), &mut kernel);

    assert_eq!(kernel.links, before);
}

#[test]
fn packets_from_all_uplinks_are_forwarded_when_there_is_a_network() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    kernel.uplinks = vec!["eth1".into(), "eth0".into(), "eth1".into()];
    assert_eq!(book.forwarding(&kernel.existing()), []);
    book.update(vec![network("a", 1, 0)], &kernel.existing());

    let operations = book.forwarding(&kernel.existing());
    let texts: Vec<_> = operations.iter().map(ToString::to_string).collect();
    kernel.perform(&operations).unwrap();

    assert_eq!(
        texts,
        [
            "switch on IPv4 forwarding of eth1",
            "switch on IPv4 forwarding of eth0"
        ]
    );
    assert_eq!(book.forwarding(&kernel.existing()), []);
}
