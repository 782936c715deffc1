//! Who gets a seat, and which operations a change of networks takes.

use super::Book;
use crate::model::{Chain, InstanceId, NetworkId, NetworkParameters};
use crate::networkmanager::existing::{Existing, Link};
use crate::networkmanager::handle::AttachRequest;
use crate::networkmanager::names;
use crate::networkmanager::plan::Seat;

fn network(id: &str, subnet: &str, gateway: &str) -> NetworkParameters {
    NetworkParameters {
        network_id: id.into(),
        subnet: subnet.into(),
        ip: gateway.into(),
        ..NetworkParameters::default()
    }
}

fn request(instance: u128, subnet: &str, address: &str) -> AttachRequest {
    AttachRequest {
        id: InstanceId::from_u128(instance),
        ident: Default::default(),
        network: network("", subnet, address),
        provider_id: "provider".into(),
        hostname: None,
        extra_hosts: Vec::new(),
        exposed_ports: Vec::new(),
        speeds: Default::default(),
        limits: Default::default(),
    }
}

fn book(list: Vec<NetworkParameters>) -> Book {
    let mut book = Book::default();
    book.update(list, &Existing::default());
    book
}

fn provider() -> Book {
    book(vec![network("provider", "10.1.0.0/24", "10.1.0.1")])
}

/// The links after all plans were carried out.
fn with_bridges(book: &Book) -> Existing {
    let links = book.stored().into_iter().zip(1..).map(|(stored, index)| {
        let id = &stored.parameters.network_id;
        let link = Link {
            index,
            bridge: true,
            up: true,
            forwarding: true,
            alias: names::network_alias(id),
            addresses: book.networks[id]
                .position
                .map(|position| position.subnet.interface(position.gateway))
                .into_iter()
                .collect(),
            ..Link::default()
        };
        (stored.bridge, link)
    });
    Existing {
        links: links.collect(),
        ..Existing::default()
    }
}

fn operations(book: &Book, existing: &Existing) -> Vec<String> {
    book.plans(existing)
        .iter()
        .flat_map(|plan| &plan.operations)
        .map(|operation| operation.to_string())
        .collect()
}

fn refusal(book: &mut Book, request: &AttachRequest) -> String {
    Chain(&book.take_seat(request, "veth1".into()).unwrap_err()).to_string()
}

#[test]
fn seat_has_the_mask_and_the_gateway_of_the_network() {
    let mut book = provider();

    let seat = book
        .take_seat(&request(1, "10.1.0.0/16", "10.1.0.2"), "veth1".into())
        .unwrap();

    assert_eq!(seat.address.to_string(), "10.1.0.2/24");
    assert_eq!(seat.gateway.to_string(), "10.1.0.1");
    assert_eq!(seat.bridge, "br-provider");
}

#[test]
fn network_that_the_instance_names_comes_before_its_provider() {
    let mut book = book(vec![
        network("provider", "10.1.0.0/24", "10.1.0.1"),
        network("other", "10.2.0.0/24", "10.2.0.1"),
    ]);
    let mut request = request(1, "10.2.0.0/24", "10.2.0.2");
    request.network.network_id = "other".into();

    let Seat { network, .. } = book.take_seat(&request, "veth1".into()).unwrap();

    assert_eq!(network, NetworkId::from("other"));
}

#[test]
fn addresses_that_an_instance_cannot_have_are_refused() {
    let instance = InstanceId::from_u128(2);
    let not_in = "is no host address of 10.1.0.0/24, network provider";
    for (subnet, address, reason) in [
        (
            "",
            "10.1.0.2",
            format!("instance {instance} has no address in network provider"),
        ),
        (
            "10.1.0.0/24",
            "",
            format!("instance {instance} has no address in network provider"),
        ),
        (
            "10.1.0.0",
            "10.1.0.2",
            format!("`10.1.0.0` of instance {instance} is not an IPv4 subnet"),
        ),
        (
            "10.1.0.0/24",
            "10.1.0.x",
            format!("`10.1.0.x` of instance {instance} is not an IPv4 address"),
        ),
        (
            "10.1.0.0/24",
            "fd00::2",
            format!("`fd00::2` of instance {instance} is not an IPv4 address"),
        ),
        (
            "10.1.0.0/24",
            "10.2.0.2",
            format!("address 10.2.0.2 of instance {instance} {not_in}"),
        ),
        (
            "10.1.0.0/24",
            "10.1.0.0",
            format!("address 10.1.0.0 of instance {instance} {not_in}"),
        ),
        (
            "10.1.0.0/24",
            "10.1.0.255",
            format!("address 10.1.0.255 of instance {instance} {not_in}"),
        ),
        (
            "10.1.0.0/24",
            "10.1.0.1",
            format!("address 10.1.0.1 of instance {instance} is the gateway of network provider"),
        ),
        (
            "10.1.0.0/24",
            "10.1.0.9",
            format!(
                "address 10.1.0.9 of instance {instance} is taken by instance {}",
                InstanceId::from_u128(1)
            ),
        ),
    ] {
        let mut book = provider();
        book.take_seat(&request(1, "10.1.0.0/24", "10.1.0.9"), "veth1".into())
            .unwrap();

        let refusal = refusal(&mut book, &request(2, subnet, address));

        assert_eq!(refusal, reason);
    }
}

#[test]
fn instance_of_an_unknown_network_is_refused() {
    let mut book = Book::default();

    let refusal = refusal(&mut book, &request(1, "10.1.0.0/24", "10.1.0.2"));

    assert_eq!(refusal, "network provider is not known");
}

#[test]
fn instance_has_one_seat_only() {
    let mut book = provider();
    book.take_seat(&request(1, "10.1.0.0/24", "10.1.0.2"), "veth1".into())
        .unwrap();

    let refusal = refusal(&mut book, &request(1, "10.1.0.0/24", "10.1.0.3"));

    let instance = InstanceId::from_u128(1);
    assert_eq!(
        refusal,
        format!("instance {instance} is already in network provider")
    );
}

#[test]
fn address_is_free_again_when_its_instance_has_left() {
    let mut book = provider();
    book.take_seat(&request(1, "10.1.0.0/24", "10.1.0.2"), "veth1".into())
        .unwrap();

    book.leave_seat(InstanceId::from_u128(1));

    book.take_seat(&request(2, "10.1.0.0/24", "10.1.0.2"), "veth1".into())
        .unwrap();
}

#[test]
fn what_is_wrong_with_a_network_is_told_to_its_instances() {
    let long = "n".repeat(names::LONGEST_ID + 1);
    for (id, subnet, gateway, reason) in [
        (
            "provider",
            "",
            "",
            "subnet `` of network provider is not an IPv4 subnet such as 172.17.0.0/16",
        ),
        (
            "provider",
            "10.1.0.0/33",
            "10.1.0.1",
            "subnet `10.1.0.0/33` of network provider is not an IPv4 subnet such as 172.17.0.0/16",
        ),
        (
            "provider",
            "fd00::/64",
            "fd00::1",
            "subnet `fd00::/64` of network provider is not an IPv4 subnet such as 172.17.0.0/16",
        ),
        (
            "provider",
            "10.1.0.0/24",
            "",
            "gateway `` of network provider is not an IPv4 address",
        ),
        (
            "provider",
            "10.1.0.0/24",
            "10.9.0.1",
            "gateway 10.9.0.1 of network provider is no host address of its subnet 10.1.0.0/24",
        ),
        (
            "provider",
            "10.1.0.0/24",
            "10.1.0.255",
            "gateway 10.1.0.255 of network provider is no host address of its subnet 10.1.0.0/24",
        ),
        (
            &long,
            "10.1.0.0/24",
            "10.1.0.1",
            &format!("id of network {long} is longer than 200 bytes"),
        ),
    ] {
        let mut book = book(vec![network(id, subnet, gateway)]);
        let mut request = request(1, "10.1.0.0/24", "10.1.0.2");
        request.provider_id = id.into();

        let refusal = refusal(&mut book, &request);

        assert_eq!(refusal, format!("network {id} cannot be used: {reason}"));
    }
}

#[test]
fn of_two_networks_that_overlap_the_first_one_stays() {
    let mut book = book(vec![network("provider", "10.1.0.0/24", "10.1.0.1")]);

    let list = vec![
        network("a-later-one", "10.1.0.0/16", "10.1.0.1"),
        network("provider", "10.1.0.0/24", "10.1.0.1"),
    ];
    book.update(list, &Existing::default());

    let faults: Vec<_> = book.faults().map(|(_, fault)| fault.to_string()).collect();
    assert_eq!(
        faults,
        ["subnet 10.1.0.0/16 of network a-later-one overlaps with that of network provider"]
    );
}

#[test]
fn subnets_can_be_swapped() {
    let mut book = book(vec![
        network("a", "10.1.0.0/24", "10.1.0.1"),
        network("b", "10.2.0.0/24", "10.2.0.1"),
    ]);

    let list = vec![
        network("a", "10.2.0.0/24", "10.2.0.1"),
        network("b", "10.1.0.0/24", "10.1.0.1"),
    ];
    book.update(list, &Existing::default());

    assert_eq!(book.faults().count(), 0);
}

#[test]
fn network_that_nobody_changed_takes_no_operation() {
    let list = vec![
        network("a", "10.1.0.0/24", "10.1.0.1"),
        network("b", "10.2.0.0/24", "10.2.0.1"),
        network("b", "10.2.0.0/24", "10.2.0.1"),
    ];
    let mut book = book(list.clone());
    let existing = with_bridges(&book);

    book.update(list, &existing);

    assert_eq!(operations(&book, &existing), Vec::<String>::new());
}

#[test]
fn bridge_that_is_down_or_does_not_forward_is_repaired() {
    let book = provider();
    let good = with_bridges(&book);
    let mut down = good.clone();
    down.links.get_mut("br-provider").unwrap().up = false;
    let mut closed = good;
    closed.links.get_mut("br-provider").unwrap().forwarding = false;

    for existing in [down, closed] {
        assert_eq!(
            operations(&book, &existing),
            ["repair bridge br-provider of network provider"]
        );
    }
}

#[test]
fn old_gateway_goes_before_the_new_one_comes() {
    let mut book = provider();
    let existing = with_bridges(&book);

    book.update(
        vec![network("provider", "10.1.0.0/24", "10.1.0.254")],
        &existing,
    );

    assert_eq!(
        operations(&book, &existing),
        [
            "take address 10.1.0.1/24 from bridge br-provider",
            "give address 10.1.0.254/24 to bridge br-provider",
        ]
    );
}

#[test]
fn removed_network_with_instances_yields_its_subnet_to_a_new_one() {
    let mut book = provider();
    book.take_seat(&request(1, "10.1.0.0/24", "10.1.0.2"), "veth1".into())
        .unwrap();
    let existing = with_bridges(&book);

    book.update(vec![network("new", "10.1.0.0/24", "10.1.0.1")], &existing);

    assert_eq!(book.faults().count(), 0);
    assert_eq!(
        operations(&book, &existing),
        [
            "create bridge br-new of network new",
            "give address 10.1.0.1/24 to bridge br-new",
            "take address 10.1.0.1/24 from bridge br-provider",
        ]
    );
}

#[test]
fn network_that_turned_bad_keeps_its_bridge() {
    let mut book = provider();
    let existing = with_bridges(&book);

    book.update(vec![network("provider", "nonsense", "10.1.0.1")], &existing);

    assert_eq!(operations(&book, &existing), Vec::<String>::new());
    assert_eq!(book.faults().count(), 1);
}
