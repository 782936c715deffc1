//! Frames: an instance sends only as itself.
//!
//! The kernel takes a VLAN tag out of a frame before bridges see it, so what the
//! kernel calls the frame's protocol may be that inside the tag. The type is
//! therefore read where it was in the frame: a tagged frame is of type 0x8100
//! there, and none that passes.

use super::Verdict::{Accept, Drop, Goto};
use super::{
    Base, Chain, Compare, Expression, Hook, Meta, Register, Rule, chain, equal, input, is_in, load,
    rule, source, unequal,
};
use crate::networkmanager::firewall::sets::{Family, SetId};
use crate::networkmanager::names;

/// Before filters of others, as they may look at what they should not see.
const PREROUTING: Hook = Hook {
    kind: "filter",
    number: 0,
    priority: -250,
};
/// What leaves by a port, also what the host itself sends.
const POSTROUTING: Hook = Hook {
    kind: "filter",
    number: 4,
    priority: 250,
};

const IPV4: &[u8] = &[0x08, 0x00];
const ARP: &[u8] = &[0x08, 0x06];
/// ARP for IPv4 over Ethernet: types and lengths of both kinds of addresses.
const ARP_FOR_IPV4: &[u8] = &[0, 1, 0x08, 0x00, 6, 4];

/// Registers behind the name of a link, and behind a link-layer address.
const AFTER_NAME: Register = 4;
const AFTER_MAC: Register = 6;

pub(super) fn chains() -> Vec<Chain> {
    let table = |name, hook, rules| chain(Family::Bridge, name, hook, rules);

    vec![
        table("from_instance", None, from_instance()),
        table("from_vlan", None, from_vlan()),
        table(
            "prerouting",
            Some(PREROUTING),
            vec![
                rule(
                    "ports of instances",
                    [of_an_instance()],
                    Goto("from_instance"),
                ),
                rule(
                    "ports to other nodes",
                    [is_in(SetId::VlanPorts, [input()])],
                    Goto("from_vlan"),
                ),
            ],
        ),
        table("postrouting", Some(POSTROUTING), postrouting()),
    ]
}

/// A port that has no seat passes nothing.
fn from_instance() -> Vec<Rule> {
    let sent_as = |ether, address| is_in(SetId::Seats, [input(), ether, address]);

    vec![
        rule(
            "IPv4 of the seat",
            [is(IPV4), sent_as(source_mac(AFTER_NAME), source(AFTER_MAC))],
            Accept,
        ),
        rule(
            "ARP of the seat",
            [
                is(ARP),
                equal(load(Base::Network, 0, 6, 0), ARP_FOR_IPV4),
                sent_as(source_mac(AFTER_NAME), arp_sender(AFTER_MAC)),
                sent_as(load(Base::Network, 8, 6, AFTER_NAME), arp_sender(AFTER_MAC)),
            ],
            Accept,
        ),
        rule("all else of instances", [], Drop),
    ]
}

/// Other nodes have the same gateway, and none of the instances that are here.
/// An instance that moves is heard from there as soon as it has gone here.
fn from_vlan() -> Vec<Rule> {
    vec![
        rule(
            "our own instances from elsewhere",
            [is_in(SetId::SeatMacs, [source_mac(0)])],
            Drop,
        ),
        rule(
            "our own addresses from elsewhere",
            [is(IPV4), is_in(SetId::SeatAddresses, [source(0)])],
            Drop,
        ),
        rule(
            "other gateways as sender",
            [is(IPV4), of_gateway(input(), source(AFTER_NAME))],
            Drop,
        ),
        rule("IPv4 of other nodes", [is(IPV4)], Accept),
        rule("no IPv4", [not_arp()], Drop),
        rule(
            "our own addresses in ARP",
            [is_in(SetId::SeatAddresses, [arp_sender(0)])],
            Drop,
        ),
        rule(
            "ARP of gateways",
            [of_gateway(input(), arp_sender(AFTER_NAME))],
            Drop,
        ),
        rule(
            "ARP for gateways",
            [of_gateway(input(), arp_target(AFTER_NAME))],
            Drop,
        ),
    ]
}

fn postrouting() -> Vec<Rule> {
    let output = || Expression::Meta(Meta::OutputName, 0);

    vec![
        rule("no ARP", [not_arp()], Accept),
        rule(
            "ARP of gateways",
            [of_gateway(output(), arp_sender(AFTER_NAME))],
            Drop,
        ),
        rule(
            "ARP for gateways",
            [of_gateway(output(), arp_target(AFTER_NAME))],
            Drop,
        ),
    ]
}

fn of_gateway(port: Expression, address: Expression) -> Vec<Expression> {
    is_in(SetId::VlanGateways, [port, address])
}

/// The name is that of an instance's port: it begins like one and is as long as
/// a name can be. Ports of other programs have shorter ones. So a port of ours
/// is recognised also when nothing is known of it.
fn of_an_instance() -> Vec<Expression> {
    let begin = names::HOST_END.as_bytes().to_vec();

    vec![
        input(),
        Expression::Compare(Compare::Equal, 0, begin),
        // The last four bytes: the third is the last of the name.
        Expression::Mask(3, vec![0, 0, 0xff, 0]),
        Expression::Compare(Compare::Unequal, 3, vec![0, 0, 0, 0]),
    ]
}

fn is(kind: &[u8]) -> Vec<Expression> {
    equal(load(Base::Link, 12, 2, 0), kind)
}

fn not_arp() -> Vec<Expression> {
    unequal(load(Base::Link, 12, 2, 0), ARP)
}

fn source_mac(to: Register) -> Expression {
    load(Base::Link, 6, 6, to)
}

fn arp_sender(to: Register) -> Expression {
    load(Base::Network, 14, 4, to)
}

fn arp_target(to: Register) -> Expression {
    load(Base::Network, 24, 4, to)
}
