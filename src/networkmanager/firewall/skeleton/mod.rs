//! Chains and rules, as values: the part of the tables that is the same on
//! every unit.
//!
//! Each rule has a comment that says what it is for, and ends with a hash of the
//! rule. An operator reads it with `nft list ruleset`; we recognise by it the
//! rules that we would make ourselves.

mod bridge;
mod inet;

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::sets::{Family, SetId};

/// The name of both tables.
pub(in crate::networkmanager) const TABLE: &str = "aos";
/// Counter of what the node receives.
const NODE_IN: &str = "in-node";
/// Counter of what the node sends.
const NODE_OUT: &str = "out-node";

/// A chain with its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) struct Chain {
    pub(in crate::networkmanager) family: Family,
    pub(in crate::networkmanager) name: &'static str,
    /// `None`: other chains lead to it.
    pub(in crate::networkmanager) hook: Option<Hook>,
    pub(in crate::networkmanager) rules: Vec<Rule>,
}

/// Where packets enter a chain. Those that reach its end are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) struct Hook {
    pub(in crate::networkmanager) kind: &'static str,
    pub(in crate::networkmanager) number: u32,
    pub(in crate::networkmanager) priority: i32,
}

/// A rule: each expression decides whether the next one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) struct Rule {
    pub(in crate::networkmanager) purpose: &'static str,
    pub(in crate::networkmanager) expressions: Vec<Expression>,
}

/// Registers of four bytes each.
pub(in crate::networkmanager) type Register = u32;

/// One expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) enum Expression {
    Meta(Meta, Register),
    Payload {
        base: Base,
        offset: u32,
        length: u32,
        to: Register,
    },
    Conntrack(Conntrack, Register),
    /// Keeps the bits of `mask`.
    Mask(Register, Vec<u8>),
    Compare(Compare, Register, Vec<u8>),
    Lookup {
        set: SetId,
        from: Register,
        absent: bool,
    },
    /// Passes the packet to the object that its key leads to.
    Object {
        map: SetId,
        from: Register,
    },
    /// Counts the packet with a counter of this name.
    Counter(&'static str),
    Masquerade,
    Verdict(Verdict),
}

/// What the kernel knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) enum Meta {
    InputName,
    OutputName,
    Family,
    Protocol,
}

/// What it knows of the packet's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) enum Conntrack {
    State,
    Direction,
}

/// The header that an offset begins at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) enum Base {
    Link,
    Network,
    Transport,
}

/// How a register and a value are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) enum Compare {
    Equal,
    Unequal,
    Less,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) enum Verdict {
    Accept,
    Drop,
    Goto(&'static str),
}

/// All chains, in the order in which they can be made: a chain that others lead
/// to is before them.
pub(in crate::networkmanager) fn chains() -> Vec<Chain> {
    [bridge::chains(), inet::chains()].concat()
}

impl Rule {
    /// Says what the rule is for, and which one it is.
    pub(in crate::networkmanager) fn comment(&self) -> String {
        // The text of a value has all of it.
        let digest = Sha256::digest(format!("{:?}", self.expressions));
        let mut comment = format!("{} #", self.purpose);
        for byte in digest.iter().take(6) {
            write!(comment, "{byte:02x}").expect("writing to a String cannot fail");
        }

        comment
    }
}

fn chain(family: Family, name: &'static str, hook: Option<Hook>, rules: Vec<Rule>) -> Chain {
    Chain {
        family,
        name,
        hook,
        rules,
    }
}

/// A rule of some conditions and a verdict.
fn rule(
    purpose: &'static str,
    conditions: impl IntoIterator<Item = Vec<Expression>>,
    verdict: Verdict,
) -> Rule {
    let mut expressions: Vec<Expression> = conditions.into_iter().flatten().collect();
    expressions.push(Expression::Verdict(verdict));

    Rule {
        purpose,
        expressions,
    }
}

fn load(base: Base, offset: u32, length: u32, to: Register) -> Expression {
    Expression::Payload {
        base,
        offset,
        length,
        to,
    }
}

fn equal(load: Expression, value: &[u8]) -> Vec<Expression> {
    vec![load, Expression::Compare(Compare::Equal, 0, value.to_vec())]
}

fn unequal(load: Expression, value: &[u8]) -> Vec<Expression> {
    vec![
        load,
        Expression::Compare(Compare::Unequal, 0, value.to_vec()),
    ]
}

/// The link that a packet came in by.
fn input() -> Expression {
    Expression::Meta(Meta::InputName, 0)
}

/// Its IPv4 source.
fn source(to: Register) -> Expression {
    load(Base::Network, 12, 4, to)
}

/// What `loads` put side by side from register 0 on is in the set.
fn is_in(set: SetId, loads: impl IntoIterator<Item = Expression>) -> Vec<Expression> {
    looked_up(set, false, loads)
}

/// It is not in the set.
fn is_not_in(set: SetId, loads: impl IntoIterator<Item = Expression>) -> Vec<Expression> {
    looked_up(set, true, loads)
}

fn looked_up(
    set: SetId,
    absent: bool,
    loads: impl IntoIterator<Item = Expression>,
) -> Vec<Expression> {
    let mut expressions: Vec<Expression> = loads.into_iter().collect();
    expressions.push(Expression::Lookup {
        set,
        from: 0,
        absent,
    });

    expressions
}
