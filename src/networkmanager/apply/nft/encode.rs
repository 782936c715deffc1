//! Chains, sets and differences as messages of a batch.

use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE};

use super::expressions;
use super::numbers::{
    CHAIN_HOOK, CHAIN_NAME, CHAIN_POLICY, CHAIN_TYPE, COUNTER_BYTES, COUNTER_PACKETS, DATA_VALUE,
    DESCRIPTION_CONCATENATION, ELEMENT_FLAGS, ELEMENT_IS_END, ELEMENT_KEY, ELEMENT_KEY_END,
    ELEMENT_OBJECT, ELEMENTS_LIST, ELEMENTS_SET, FIELD_LENGTH, HOOK_NUMBER, HOOK_PRIORITY,
    LIST_ITEM, OBJECT_DATA, OBJECT_NAME, OBJECT_TYPE, QUOTA_ABOVE, QUOTA_BYTES, QUOTA_FLAGS,
    QUOTA_USED, RULE_CHAIN, RULE_EXPRESSIONS, RULE_USERDATA, SET_DESCRIPTION, SET_FLAGS, SET_ID,
    SET_IS_CONCATENATION, SET_IS_OBJECTS, SET_IS_RANGES, SET_KEY_LENGTH, SET_KEY_TYPE, SET_NAME,
    SET_OBJECT_TYPE, SET_USERDATA, TABLE as TABLE_NAME, TABLE_FLAGS, TYPE_COUNTER, TYPE_QUOTA,
    USERDATA_COMMENT, message,
};
use super::socket::Batch;
use super::wire::Writer;
use crate::networkmanager::firewall::skeleton::{self, Chain, Rule, TABLE};
use crate::networkmanager::firewall::{
    Difference, Edge, Element, Family, Field, Object, ObjectId, ObjectKind, SetId, Shape,
};

/// Elements in one message: a list is at most 64 KiB long, an element about 100
/// bytes.
const ELEMENTS: usize = 400;
/// What becomes of packets that reach the end of a chain.
const ACCEPT: u32 = 1;

/// The kernel's number of a family.
pub(super) fn family(family: Family) -> u8 {
    match family {
        Family::Inet => 1,
        Family::Bridge => 7,
    }
}

/// The kernel's number of a kind of objects.
pub(super) fn object_type(kind: ObjectKind) -> u32 {
    match kind {
        ObjectKind::Counter => TYPE_COUNTER,
        ObjectKind::Quota => TYPE_QUOTA,
    }
}

/// The kernel's flags of a set.
pub(super) fn set_flags(shape: Shape) -> u32 {
    let mut flags = 0;
    if shape.ranges {
        flags |= SET_IS_RANGES;
    }
    if shape.ranges_of_many() {
        flags |= SET_IS_CONCATENATION;
    }
    if shape.objects.is_some() {
        flags |= SET_IS_OBJECTS;
    }

    flags
}

/// Makes tables that are there empty but for their objects: these keep what they
/// have seen.
pub(super) fn clear<'a>(
    batch: &mut Batch,
    of: Family,
    sets: impl Iterator<Item = &'a String>,
    chains: impl Iterator<Item = &'a String>,
) {
    let of = family(of);
    batch.push("the old rules", message::DELETE_RULE, of, 0, |writer| {
        writer.text(TABLE_NAME, TABLE);
    });
    for set in sets {
        let about = format!("the old set {set}");
        batch.push(about, message::DELETE_SET, of, 0, |writer| {
            writer.text(TABLE_NAME, TABLE);
            writer.text(SET_NAME, set);
        });
    }
    for chain in chains {
        let about = format!("the old chain {chain}");
        batch.push(about, message::DELETE_CHAIN, of, 0, |writer| {
            writer.text(TABLE_NAME, TABLE);
            writer.text(CHAIN_NAME, chain);
        });
    }
}

/// Takes a table away, with all that is in it.
pub(super) fn delete_table(batch: &mut Batch, of: Family) {
    let about = "the old table";
    batch.push(about, message::DELETE_TABLE, family(of), 0, |writer| {
        writer.text(TABLE_NAME, TABLE);
    });
}

/// Makes a table; one that is there stays.
pub(super) fn table(batch: &mut Batch, of: Family) {
    let create = NLM_F_CREATE;
    batch.push(
        "the table",
        message::NEW_TABLE,
        family(of),
        create,
        |writer| {
            writer.text(TABLE_NAME, TABLE);
            writer.number(TABLE_FLAGS, 0);
        },
    );
}

/// Makes the chains and sets of both tables.
pub(super) fn skeleton(batch: &mut Batch) {
    for (id, set) in (1..).zip(SetId::ALL) {
        new_set(batch, id, set);
    }
    let chains = skeleton::chains();
    for chain in &chains {
        new_chain(batch, chain);
    }
    for chain in &chains {
        for rule in &chain.rules {
            new_rule(batch, chain, rule);
        }
    }
}

/// Rules name the counters of the node, so objects are made before them.
pub(super) fn add_objects(batch: &mut Batch, objects: &[(ObjectId, Object)]) {
    for (id, object) in objects {
        new_object(batch, id, *object);
    }
}

/// Makes what a difference takes away go, and all but new objects and elements
/// be as it says.
pub(super) fn remove(batch: &mut Batch, difference: &Difference) {
    elements(batch, message::DELETE_ELEMENTS, 0, &difference.remove);
    for id in &difference.remove_objects {
        let inet = family(Family::Inet);
        batch.push(id.to_string(), message::DELETE_OBJECT, inet, 0, |writer| {
            name_object(writer, id);
        });
    }
}

/// Adds the elements of a difference.
pub(super) fn add_elements(batch: &mut Batch, difference: &Difference) {
    elements(batch, message::NEW_ELEMENTS, NLM_F_CREATE, &difference.add);
}

fn new_set(batch: &mut Batch, id: u32, set: SetId) {
    let shape = set.shape();
    let about = format!("set {}", set.name());
    let of = family(set.family());
    batch.push(about, message::NEW_SET, of, NLM_F_CREATE, |writer| {
        writer.text(TABLE_NAME, TABLE);
        writer.text(SET_NAME, set.name());
        writer.number(SET_FLAGS, set_flags(shape));
        writer.number(SET_KEY_TYPE, shape.code());
        writer.number(SET_KEY_LENGTH, shape.length());
        writer.number(SET_ID, id);
        writer.bytes(SET_USERDATA, &byte_order(shape));
        if let Some(kind) = shape.objects {
            writer.number(SET_OBJECT_TYPE, object_type(kind));
        }
        if shape.ranges_of_many() {
            writer.nested(SET_DESCRIPTION, |writer| {
                writer.nested(DESCRIPTION_CONCATENATION, |writer| {
                    for field in shape.fields {
                        writer.nested(LIST_ITEM, |writer| {
                            writer.number(FIELD_LENGTH, field.length());
                        });
                    }
                });
            });
        }
    });
}

/// Tells the program `nft` how to print elements: names of links alone are no
/// numbers of the network's byte order.
fn byte_order(shape: Shape) -> Vec<u8> {
    const KIND: u8 = 0;
    const HOST: u32 = 1;
    const NETWORK: u32 = 2;

    let order = match shape.fields {
        [Field::Interface] => HOST,
        _ => NETWORK,
    };
    [&[KIND, 4], &*order.to_ne_bytes().to_vec()].concat()
}

fn new_chain(batch: &mut Batch, chain: &Chain) {
    let about = format!("chain {}", chain.name);
    let of = family(chain.family);
    batch.push(about, message::NEW_CHAIN, of, NLM_F_CREATE, |writer| {
        writer.text(TABLE_NAME, TABLE);
        writer.text(CHAIN_NAME, chain.name);
        if let Some(hook) = chain.hook {
            writer.nested(CHAIN_HOOK, |writer| {
                writer.number(HOOK_NUMBER, hook.number);
                writer.bytes(HOOK_PRIORITY, &hook.priority.to_be_bytes());
            });
            writer.number(CHAIN_POLICY, ACCEPT);
            writer.text(CHAIN_TYPE, hook.kind);
        }
    });
}

fn new_rule(batch: &mut Batch, chain: &Chain, rule: &Rule) {
    let about = format!("rule `{}` of chain {}", rule.purpose, chain.name);
    let flags = NLM_F_CREATE | NLM_F_APPEND;
    batch.push(
        about,
        message::NEW_RULE,
        family(chain.family),
        flags,
        |writer| {
            writer.text(TABLE_NAME, TABLE);
            writer.text(RULE_CHAIN, chain.name);
            writer.nested(RULE_EXPRESSIONS, |writer| {
                for expression in &rule.expressions {
                    expressions::write(writer, expression);
                }
            });
            writer.bytes(RULE_USERDATA, &userdata(&rule.comment()));
        },
    );
}

/// A comment as the program `nft` keeps it.
fn userdata(comment: &str) -> Vec<u8> {
    let text = [comment.as_bytes(), &[0]].concat();
    let length = u8::try_from(text.len()).expect("comments are short");

    [&[USERDATA_COMMENT, length], &*text].concat()
}

fn new_object(batch: &mut Batch, id: &ObjectId, object: Object) {
    let inet = family(Family::Inet);
    let kind = message::NEW_OBJECT;
    batch.push(id.to_string(), kind, inet, NLM_F_CREATE, |writer| {
        name_object(writer, id);
        writer.nested(OBJECT_DATA, |writer| match object {
            Object::Counter { bytes } => {
                writer.long(COUNTER_BYTES, bytes);
                writer.long(COUNTER_PACKETS, 0);
            }
            Object::Quota { limit, used } => {
                writer.long(QUOTA_BYTES, limit);
                writer.number(QUOTA_FLAGS, QUOTA_ABOVE);
                // The kernel takes no more than the limit, which is enough.
                writer.long(QUOTA_USED, used.min(limit));
            }
        });
    });
}

fn name_object(writer: &mut Writer, id: &ObjectId) {
    writer.text(TABLE_NAME, TABLE);
    writer.text(OBJECT_NAME, &id.name);
    writer.number(OBJECT_TYPE, object_type(id.kind));
}

/// Elements are sorted by set.
fn elements(batch: &mut Batch, kind: u16, flags: u16, elements: &[(SetId, Element)]) {
    for of_set in elements.chunk_by(|(one, _), (next, _)| one == next) {
        for part in of_set.chunks(ELEMENTS) {
            let Some((set, _)) = part.first() else {
                continue;
            };
            let about = format!("elements of set {}", set.name());
            batch.push(about, kind, family(set.family()), flags, |writer| {
                writer.text(TABLE_NAME, TABLE);
                writer.text(ELEMENTS_SET, set.name());
                writer.nested(ELEMENTS_LIST, |writer| {
                    for (_, element) in part {
                        write_element(writer, element);
                    }
                });
            });
        }
    }
}

fn write_element(writer: &mut Writer, element: &Element) {
    writer.nested(LIST_ITEM, |writer| {
        writer.nested(ELEMENT_KEY, |writer| writer.bytes(DATA_VALUE, &element.key));
        match &element.edge {
            Edge::Start => {}
            Edge::To(end) => {
                writer.nested(ELEMENT_KEY_END, |writer| writer.bytes(DATA_VALUE, end));
            }
            Edge::Behind => writer.number(ELEMENT_FLAGS, ELEMENT_IS_END),
        }
        if let Some(object) = &element.object {
            writer.text(ELEMENT_OBJECT, object);
        }
    });
}
