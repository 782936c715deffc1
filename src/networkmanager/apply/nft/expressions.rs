//! Expressions of rules as attributes.

use super::numbers::{
    DATA_VALUE, DATA_VERDICT, EXPRESSION_DATA, EXPRESSION_NAME, LIST_ITEM, TYPE_COUNTER,
    VERDICT_CHAIN, VERDICT_CODE,
};
use super::wire::Writer;
use crate::networkmanager::firewall::skeleton::{
    Base, Compare, Conntrack, Expression, Meta, Register, Verdict,
};

/// Register for verdicts.
const VERDICT: u32 = 0;
/// The first register of four bytes.
const FIRST: u32 = 8;

/// The kernel's name of an expression.
pub(super) fn name(expression: &Expression) -> &'static str {
    match expression {
        Expression::Meta(..) => "meta",
        Expression::Payload { .. } => "payload",
        Expression::Conntrack(..) => "ct",
        Expression::Mask(..) => "bitwise",
        Expression::Compare(..) => "cmp",
        Expression::Lookup { .. } => "lookup",
        Expression::Object { .. } | Expression::Counter(_) => "objref",
        Expression::Masquerade => "masq",
        Expression::Verdict(_) => "immediate",
    }
}

/// Writes one expression of a list.
pub(super) fn write(writer: &mut Writer, expression: &Expression) {
    writer.nested(LIST_ITEM, |item| {
        item.text(EXPRESSION_NAME, name(expression));
        item.nested(EXPRESSION_DATA, |data| write_data(data, expression));
    });
}

fn write_data(data: &mut Writer, expression: &Expression) {
    match expression {
        Expression::Meta(key, to) => {
            data.number(1, register(*to));
            data.number(2, meta(*key));
        }
        Expression::Payload {
            base,
            offset,
            length,
            to,
        } => {
            data.number(1, register(*to));
            data.number(2, base_number(*base));
            data.number(3, *offset);
            data.number(4, *length);
        }
        Expression::Conntrack(key, to) => {
            data.number(1, register(*to));
            data.number(
                2,
                match key {
                    Conntrack::State => 0,
                    Conntrack::Direction => 1,
                },
            );
        }
        Expression::Mask(at, mask) => {
            data.number(1, register(*at));
            data.number(2, register(*at));
            data.number(3, length(mask));
            data.nested(4, |data| data.bytes(DATA_VALUE, mask));
            data.nested(5, |data| data.bytes(DATA_VALUE, &vec![0; mask.len()]));
        }
        Expression::Compare(compare, from, value) => {
            data.number(1, register(*from));
            data.number(
                2,
                match compare {
                    Compare::Equal => 0,
                    Compare::Unequal => 1,
                    Compare::Less => 2,
                },
            );
            data.nested(3, |data| data.bytes(DATA_VALUE, value));
        }
        Expression::Lookup { set, from, absent } => {
            data.text(1, set.name());
            data.number(2, register(*from));
            if *absent {
                data.number(5, 1);
            }
        }
        Expression::Object { map, from } => {
            data.number(3, register(*from));
            data.text(4, map.name());
        }
        Expression::Counter(name) => {
            data.number(1, TYPE_COUNTER);
            data.text(2, name);
        }
        Expression::Masquerade => {}
        Expression::Verdict(verdict) => {
            data.number(1, VERDICT);
            data.nested(2, |data| {
                data.nested(DATA_VERDICT, |data| write_verdict(data, *verdict));
            });
        }
    }
}

fn write_verdict(writer: &mut Writer, verdict: Verdict) {
    const DROP: u32 = 0;
    const ACCEPT: u32 = 1;
    const GOTO: i32 = -4;

    match verdict {
        Verdict::Drop => writer.number(VERDICT_CODE, DROP),
        Verdict::Accept => writer.number(VERDICT_CODE, ACCEPT),
        Verdict::Goto(chain) => {
            writer.bytes(VERDICT_CODE, &GOTO.to_be_bytes());
            writer.text(VERDICT_CHAIN, chain);
        }
    }
}

fn register(register: Register) -> u32 {
    FIRST + register
}

fn meta(key: Meta) -> u32 {
    match key {
        Meta::InputName => 6,
        Meta::OutputName => 7,
        Meta::Family => 15,
        Meta::Protocol => 16,
    }
}

fn base_number(base: Base) -> u32 {
    match base {
        Base::Link => 0,
        Base::Network => 1,
        Base::Transport => 2,
    }
}

fn length(value: &[u8]) -> u32 {
    u32::try_from(value.len()).expect("no value of ours is that long")
}
