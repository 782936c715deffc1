//! Lists of the kernel as values. What cannot be read is left out, and so found
//! to be different from what it should be.

use std::collections::BTreeMap;

use super::numbers::{
    CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TYPE, COUNTER_BYTES, DATA_VALUE, ELEMENT_FLAGS,
    ELEMENT_IS_END, ELEMENT_KEY, ELEMENT_KEY_END, ELEMENT_OBJECT, ELEMENTS_LIST, EXPRESSION_NAME,
    HOOK_NUMBER, HOOK_PRIORITY, OBJECT_DATA, OBJECT_NAME, OBJECT_TYPE, QUOTA_BYTES, QUOTA_USED,
    RULE_CHAIN, RULE_EXPRESSIONS, RULE_USERDATA, SET_FLAGS, SET_KEY_LENGTH, SET_KEY_TYPE, SET_NAME,
    SET_OBJECT_TYPE, TABLE, TABLE_FLAGS, TYPE_COUNTER, TYPE_QUOTA, USERDATA_COMMENT,
};
use super::wire::{self, TableMessage};
use super::{encode, expressions};
use crate::networkmanager::firewall::skeleton::{self, Chain, Rule};
use crate::networkmanager::firewall::{Edge, Element, Family, Object, ObjectId, ObjectKind, SetId};

/// Chains, rules and sets of one table, as far as they can differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// Flags of the table: one of them makes it do nothing.
    pub(super) flags: u32,
    pub(super) chains: BTreeMap<String, Entry>,
    pub(super) rules: BTreeMap<String, Vec<RuleFrame>>,
    pub(super) sets: BTreeMap<String, SetFrame>,
}

/// Where packets enter a chain, and what becomes of them at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Option<String>,
    pub(super) hook: Option<u32>,
    pub(super) priority: Option<i32>,
    pub(super) policy: Option<u32>,
}

/// A rule. Its comment tells it from all others; its expressions have other names
/// when somebody wrote it again without understanding all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RuleFrame {
    comment: String,
    expressions: Vec<String>,
}

/// What the elements of a set look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SetFrame {
    pub(super) flags: u32,
    pub(super) key_type: u32,
    pub(super) key_length: u32,
    pub(super) objects: Option<u32>,
}

impl Frame {
    /// What a table of ours is like.
    pub(super) fn ours(family: Family) -> Self {
        let mut frame = Self::default();
        for chain in skeleton::chains() {
            if chain.family != family {
                continue;
            }
            let name = chain.name.to_owned();
            frame.rules.insert(
                name.clone(),
                chain.rules.iter().map(RuleFrame::of).collect(),
            );
            frame.chains.insert(name, Entry::of(&chain));
        }
        for set in SetId::ALL {
            if set.family() == family {
                frame.sets.insert(set.name().to_owned(), SetFrame::of(set));
            }
        }

        frame
    }

    /// Reads one entry of the list of chains.
    pub(super) fn add_chain(&mut self, message: &TableMessage<'_>) -> Option<()> {
        let name = wire::text(message.get(CHAIN_NAME)?)?.to_owned();
        self.chains.insert(name, Entry::read(message));
        Some(())
    }

    /// Reads one entry of the list of rules.
    pub(super) fn add_rule(&mut self, message: &TableMessage<'_>) -> Option<()> {
        let chain = wire::text(message.get(RULE_CHAIN)?)?.to_owned();
        let rule = RuleFrame::read(message);
        self.rules.entry(chain).or_default().push(rule);
        Some(())
    }

    /// Reads one entry of the list of sets.
    pub(super) fn add_set(&mut self, message: &TableMessage<'_>) -> Option<()> {
        let name = wire::text(message.get(SET_NAME)?)?.to_owned();
        let number = |kind| message.get(kind).and_then(wire::number);
        let frame = SetFrame {
            flags: number(SET_FLAGS).unwrap_or_default(),
            key_type: number(SET_KEY_TYPE).unwrap_or_default(),
            key_length: number(SET_KEY_LENGTH).unwrap_or_default(),
            objects: number(SET_OBJECT_TYPE),
        };
        self.sets.insert(name, frame);
        Some(())
    }
}

impl Entry {
    fn of(chain: &Chain) -> Self {
        const ACCEPT: u32 = 1;

        chain.hook.map_or_else(Self::default, |hook| Self {
            kind: Some(hook.kind.to_owned()),
            hook: Some(hook.number),
            priority: Some(hook.priority),
            policy: Some(ACCEPT),
        })
    }

    /// Reads it from an entry of the list of chains.
    pub(super) fn read(message: &TableMessage<'_>) -> Self {
        let hook = message.get(CHAIN_HOOK).unwrap_or_default();
        let priority = wire::get(hook, HOOK_PRIORITY).and_then(|value| value.first_chunk());

        Self {
            kind: message
                .get(CHAIN_TYPE)
                .and_then(wire::text)
                .map(str::to_owned),
            hook: wire::get(hook, HOOK_NUMBER).and_then(wire::number),
            priority: priority.map(|value| i32::from_be_bytes(*value)),
            policy: message.get(CHAIN_POLICY).and_then(wire::number),
        }
    }
}

impl RuleFrame {
    fn of(rule: &Rule) -> Self {
        let names = rule.expressions.iter().map(expressions::name);
        Self {
            comment: rule.comment(),
            expressions: names.map(str::to_owned).collect(),
        }
    }

    /// A rule of somebody else has no comment of ours.
    fn read(message: &TableMessage<'_>) -> Self {
        let list = message.get(RULE_EXPRESSIONS).unwrap_or_default();
        let name = |item| wire::get(item, EXPRESSION_NAME).and_then(wire::text);
        Self {
            comment: message
                .get(RULE_USERDATA)
                .and_then(comment)
                .unwrap_or_default(),
            expressions: wire::attributes(list)
                .map(|(_, item)| name(item).unwrap_or_default().to_owned())
                .collect(),
        }
    }
}

impl SetFrame {
    fn of(set: SetId) -> Self {
        let shape = set.shape();
        Self {
            flags: encode::set_flags(shape),
            key_type: shape.code(),
            key_length: shape.length(),
            objects: shape.objects.map(encode::object_type),
        }
    }
}

/// The name of the table that a message is about, if it is about one of ours'
/// families.
pub(super) fn table<'a>(message: &TableMessage<'a>) -> Option<(Family, &'a str)> {
    let family = Family::ALL
        .into_iter()
        .find(|family| encode::family(*family) == message.family)?;

    Some((family, wire::text(message.get(TABLE)?)?))
}

/// Flags of a table.
pub(super) fn table_flags(message: &TableMessage<'_>) -> u32 {
    let flags = message.get(TABLE_FLAGS).and_then(wire::number);
    flags.unwrap_or_default()
}

/// The elements of one part of the list of a set's elements.
pub(super) fn elements(message: &TableMessage<'_>) -> Vec<Element> {
    let list = message.get(ELEMENTS_LIST).unwrap_or_default();
    wire::attributes(list)
        .filter_map(|(_, item)| element(item))
        .collect()
}

/// An object.
pub(super) fn object(message: &TableMessage<'_>) -> Option<(ObjectId, Object)> {
    let name = wire::text(message.get(OBJECT_NAME)?)?.to_owned();
    let data = message.get(OBJECT_DATA)?;
    let long = |kind| wire::get(data, kind).and_then(wire::long);
    let (kind, object) = match wire::number(message.get(OBJECT_TYPE)?)? {
        TYPE_COUNTER => (
            ObjectKind::Counter,
            Object::Counter {
                bytes: long(COUNTER_BYTES)?,
            },
        ),
        TYPE_QUOTA => (
            ObjectKind::Quota,
            Object::Quota {
                limit: long(QUOTA_BYTES)?,
                used: long(QUOTA_USED)?,
            },
        ),
        _ => return None,
    };

    Some((ObjectId::new(kind, name), object))
}

fn element(item: &[u8]) -> Option<Element> {
    let value = |kind| wire::get(wire::get(item, kind)?, DATA_VALUE).map(<[u8]>::to_vec);
    let flags = wire::get(item, ELEMENT_FLAGS).and_then(wire::number);
    let edge = match value(ELEMENT_KEY_END) {
        Some(end) => Edge::To(end),
        None if flags.unwrap_or_default() & ELEMENT_IS_END != 0 => Edge::Behind,
        None => Edge::Start,
    };

    Some(Element {
        key: value(ELEMENT_KEY)?,
        edge,
        object: wire::get(item, ELEMENT_OBJECT)
            .and_then(wire::text)
            .map(str::to_owned),
    })
}

/// The comment in a rule's user data.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == USERDATA_COMMENT {
            return wire::text(value).map(str::to_owned);
        }
        data = rest.get(value.len()..)?;
    }

    None
}
