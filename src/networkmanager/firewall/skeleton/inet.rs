//! Packets: what instances, the host and the world may send each other.
//!
//! What passes neither from nor to a bridge of ours is left alone. In a
//! connection that may not go on, the side that began it is heard no longer: a
//! rule that is taken back ends what it had allowed.

use super::Verdict::{Accept, Drop, Goto};
use super::{
    Base, Chain, Compare, Conntrack, Expression, Hook, Meta, NODE_IN, NODE_OUT, Register, Rule,
    chain, equal, input, is_in, is_not_in, load, rule, source, unequal,
};
use crate::networkmanager::firewall::sets::{Family, SetId};

const fn filter(number: u32) -> Option<Hook> {
    Some(Hook {
        kind: "filter",
        number,
        priority: 0,
    })
}
const INPUT: Option<Hook> = filter(1);
const FORWARD: Option<Hook> = filter(2);
const OUTPUT: Option<Hook> = filter(3);
const POSTROUTING: Option<Hook> = Some(Hook {
    kind: "nat",
    number: 4,
    priority: 100,
});

const IPV4: u8 = 2;
const IPV6: u8 = 10;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ECHO_REQUEST: u8 = 8;
const DNS: [u8; 2] = [0, 53];
const LOOPBACK: &[u8] = b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Multicast addresses, and all behind them, are left as they are.
const FIRST_MULTICAST: [u8; 4] = [224, 0, 0, 0];

const INVALID: u32 = 1;
const ESTABLISHED: u32 = 2;
const RELATED: u32 = 4;
const REPLY: u8 = 1;

/// Registers behind the name of a link.
const AFTER_NAME: Register = 4;

pub(super) fn chains() -> Vec<Chain> {
    let table = |name, hook, rules| chain(Family::Inet, name, hook, rules);

    vec![
        table("upload", None, upload()),
        table("download", None, download()),
        table("between", None, between()),
        table("from_ours", None, from_ours()),
        table("to_ours", None, to_ours()),
        table(
            "forward",
            FORWARD,
            vec![
                rule("from instances", [ours(input())], Goto("from_ours")),
                rule("to instances", [ours(output())], Goto("to_ours")),
            ],
        ),
        table("to_host", None, to_host()),
        table("input", INPUT, host_input()),
        table("output", OUTPUT, host_output()),
        table("postrouting", POSTROUTING, vec![masquerade()]),
    ]
}

fn from_ours() -> Vec<Rule> {
    vec![
        rule("no IPv6", [not_ipv4()], Drop),
        rule("to instances", [ours(output())], Goto("between")),
        rule("no connection", [state(INVALID)], Drop),
        rule(
            "no instance of ours",
            [is_not_in(SetId::Subnets, [source(0)])],
            Drop,
        ),
        rule("to the world", [], Goto("upload")),
    ]
}

fn between() -> Vec<Rule> {
    let same = [input(), Expression::Meta(Meta::OutputName, AFTER_NAME)];

    vec![
        rule("one network", [is_in(SetId::SameBridge, same)], Accept),
        rule("no connection", [state(INVALID)], Drop),
        rule("errors", [state(RELATED)], Accept),
        rule("replies", [reply(), state(ESTABLISHED)], Accept),
        rule(
            "allowed ports",
            [
                ipv4(),
                is_in(
                    SetId::Allowed,
                    [source(0), destination(1), protocol(2), port(3)],
                ),
            ],
            Accept,
        ),
        rule(
            "allowed ICMP",
            [
                ipv4(),
                equal(protocol(0), &[ICMP]),
                is_in(SetId::AllowedIcmp, [source(0), destination(1)]),
            ],
            Accept,
        ),
        rule("all else between networks", [], Drop),
    ]
}

fn to_ours() -> Vec<Rule> {
    vec![
        rule("no IPv6", [not_ipv4()], Drop),
        rule(
            "instances from elsewhere",
            [is_in(SetId::Subnets, [source(0)])],
            Drop,
        ),
        rule("no connection", [state(INVALID)], Drop),
        rule("errors", [state(RELATED)], Goto("download")),
        rule("replies", [reply(), state(ESTABLISHED)], Goto("download")),
        rule(
            "exposed ports",
            [is_in(
                SetId::Exposed,
                [destination(0), protocol(1), port(2)],
            )],
            Goto("download"),
        ),
        rule("all else to instances", [], Drop),
    ]
}

/// Only what passes is counted.
fn upload() -> Vec<Rule> {
    traffic(destination, source, SetId::QuotasOut, SetId::CountersOut)
}

fn download() -> Vec<Rule> {
    traffic(source, destination, SetId::QuotasIn, SetId::CountersIn)
}

fn traffic(
    other: fn(Register) -> Expression,
    own: fn(Register) -> Expression,
    quotas: SetId,
    counters: SetId,
) -> Vec<Rule> {
    let object = |map| vec![own(0), Expression::Object { map, from: 0 }];

    vec![
        rule("private", [is_in(SetId::Private, [other(0)])], Accept),
        rule("above the limit", [object(quotas)], Drop),
        rule("counted", [object(counters)], Accept),
    ]
}

fn host_input() -> Vec<Rule> {
    let gateway = || is_in(SetId::GatewayAddresses, [destination(0)]);
    let other = || is_not_in(SetId::Gateways, [input(), destination(AFTER_NAME)]);

    let mut rules = vec![rule("the host itself", [equal(input(), LOOPBACK)], Accept)];
    rules.extend([TCP, UDP].map(|protocol| {
        rule(
            "name server of another network",
            [ipv4(), gateway(), dns(protocol), other()],
            Drop,
        )
    }));
    rules.push(rule("from instances", [ours(input())], Goto("to_host")));
    rules.extend(node_traffic(source, source6, NODE_IN));

    rules
}

fn to_host() -> Vec<Rule> {
    let echo = load(Base::Transport, 0, 1, 0);
    let own_gateway = || is_in(SetId::Gateways, [input(), destination(AFTER_NAME)]);

    let mut rules = vec![
        rule("no IPv6", [not_ipv4()], Drop),
        rule(
            "not restricted",
            [is_not_in(SetId::Restricted, [input()])],
            Accept,
        ),
        rule("replies", [state(ESTABLISHED | RELATED)], Accept),
        rule(
            "echo",
            [equal(protocol(0), &[ICMP]), equal(echo, &[ECHO_REQUEST])],
            Accept,
        ),
    ];
    rules.extend(
        [TCP, UDP].map(|protocol| rule("own name server", [dns(protocol), own_gateway()], Accept)),
    );
    rules.push(rule("all else to the host", [], Drop));

    rules
}

fn host_output() -> Vec<Rule> {
    let itself = equal(Expression::Meta(Meta::OutputName, 0), LOOPBACK);

    let mut rules = vec![
        rule("the host itself", [itself], Accept),
        rule("to instances", [ours(output())], Accept),
    ];
    rules.extend(node_traffic(destination, destination6, NODE_OUT));

    rules
}

fn node_traffic(
    other: fn(Register) -> Expression,
    other6: fn(Register) -> Expression,
    counter: &'static str,
) -> Vec<Rule> {
    let count = vec![Expression::Counter(counter)];

    vec![
        rule(
            "private",
            [ipv4(), is_in(SetId::Private, [other(0)])],
            Accept,
        ),
        rule(
            "private IPv6",
            [
                equal(Expression::Meta(Meta::Family, 0), &[IPV6]),
                is_in(SetId::Private6, [other6(0)]),
            ],
            Accept,
        ),
        rule("counted", [count], Accept),
    ]
}

fn masquerade() -> Rule {
    Rule {
        purpose: "to the world as the host",
        expressions: [
            ipv4(),
            is_in(SetId::Subnets, [source(0)]),
            is_not_in(SetId::Subnets, [destination(0)]),
            vec![
                destination(0),
                Expression::Compare(Compare::Less, 0, FIRST_MULTICAST.to_vec()),
            ],
            is_not_in(SetId::Bridges, [output()]),
            vec![Expression::Masquerade],
        ]
        .concat(),
    }
}

fn ours(interface: Expression) -> Vec<Expression> {
    is_in(SetId::Bridges, [interface])
}

fn output() -> Expression {
    Expression::Meta(Meta::OutputName, 0)
}

fn ipv4() -> Vec<Expression> {
    equal(Expression::Meta(Meta::Family, 0), &[IPV4])
}

fn not_ipv4() -> Vec<Expression> {
    unequal(Expression::Meta(Meta::Family, 0), &[IPV4])
}

fn destination(to: Register) -> Expression {
    load(Base::Network, 16, 4, to)
}

fn source6(to: Register) -> Expression {
    load(Base::Network, 8, 16, to)
}

fn destination6(to: Register) -> Expression {
    load(Base::Network, 24, 16, to)
}

fn protocol(to: Register) -> Expression {
    Expression::Meta(Meta::Protocol, to)
}

/// Where to, of what has ports.
fn port(to: Register) -> Expression {
    load(Base::Transport, 2, 2, to)
}

fn dns(protocol: u8) -> Vec<Expression> {
    [equal(self::protocol(0), &[protocol]), equal(port(0), &DNS)].concat()
}

/// A state is a bit in the kernel's byte order.
fn state(bits: u32) -> Vec<Expression> {
    vec![
        Expression::Conntrack(Conntrack::State, 0),
        Expression::Mask(0, bits.to_ne_bytes().to_vec()),
        Expression::Compare(Compare::Unequal, 0, vec![0; 4]),
    ]
}

fn reply() -> Vec<Expression> {
    equal(Expression::Conntrack(Conntrack::Direction, 0), &[REPLY])
}
