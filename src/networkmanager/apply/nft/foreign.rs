//! Firewalls of others that drop what we accept: a packet has to be accepted by
//! all tables.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::decode::Entry;
use super::numbers::{
    CHAIN_NAME, DATA_VERDICT, EXPRESSION_DATA, EXPRESSION_NAME, RULE_CHAIN, RULE_EXPRESSIONS,
    TABLE as TABLE_NAME, VERDICT_CODE, message,
};
use super::socket::Nfnetlink;
use super::survey::of_all;
use super::wire::{self, TableMessage};
use crate::networkmanager::firewall::skeleton::TABLE;

/// Families whose packets are ours too.
const FAMILIES: [(u8, &str); 2] = [(1, "inet"), (2, "ip")];
const FORWARD: u32 = 2;
const DROP: u32 = 0;

/// A chain: its family, table and name.
type Name = (&'static str, String, String);

/// Base chains of others that drop or reject all that they do not know of the
/// packets that pass this host: by their policy, or by their last rule.
pub(super) fn drops(socket: &mut Nfnetlink) -> io::Result<Vec<String>> {
    let chains = of_all(socket, message::GET_CHAIN)?;
    let mut policies = BTreeMap::new();
    for chain in chains.messages() {
        let entry = Entry::read(&chain);
        let filters = entry.hook == Some(FORWARD) && entry.kind.as_deref() == Some("filter");
        if let Some(name) = name(&chain, CHAIN_NAME).filter(|_| filters) {
            policies.insert(name, entry.policy);
        }
    }

    let mut closed = BTreeSet::new();
    if !policies.is_empty() {
        for rule in of_all(socket, message::GET_RULE)?.messages() {
            let Some(name) = name(&rule, RULE_CHAIN) else {
                continue;
            };
            // The last rule of the chain decides.
            if is_closing(&rule) {
                closed.insert(name);
            } else {
                closed.remove(&name);
            }
        }
    }

    Ok(policies
        .into_iter()
        .filter(|(name, policy)| *policy == Some(DROP) || closed.contains(name))
        .map(|((family, table, chain), _)| format!("{family} {table} {chain}"))
        .collect())
}

/// The chain that a message is about, when it is somebody else's.
fn name(message: &TableMessage<'_>, kind: u16) -> Option<Name> {
    let (_, family) = FAMILIES
        .into_iter()
        .find(|(number, _)| *number == message.family)?;
    let table = wire::text(message.get(TABLE_NAME)?)?;
    let chain = wire::text(message.get(kind)?)?;
    if (family, table) == ("inet", TABLE) {
        return None;
    }

    Some((family, table.to_owned(), chain.to_owned()))
}

/// The rule drops or rejects each packet.
fn is_closing(rule: &TableMessage<'_>) -> bool {
    let expressions = rule.get(RULE_EXPRESSIONS).unwrap_or_default();
    let mut closing = false;
    for (_, expression) in wire::attributes(expressions) {
        let data = wire::get(expression, EXPRESSION_DATA).unwrap_or_default();
        match wire::get(expression, EXPRESSION_NAME).and_then(wire::text) {
            Some("counter" | "log") => {}
            Some("reject") => closing = true,
            Some("immediate") if verdict(data) == Some(DROP) => closing = true,
            _ => return false,
        }
    }

    closing
}

fn verdict(immediate: &[u8]) -> Option<u32> {
    const DATA: u16 = 2;

    let verdict = wire::get(wire::get(immediate, DATA)?, DATA_VERDICT)?;
    wire::number(wire::get(verdict, VERDICT_CODE)?)
}
