//! Who waits for which answer of others, within bounds.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use crate::desk::{Client, Key};
use crate::query::Query;

/// Questions that a network has with other servers at a time.
pub(crate) const MOST_QUESTIONS: usize = 128;
/// Answers that one client waits for at a time.
pub(crate) const MOST_OF_CLIENT: usize = 32;
/// Clients that wait for one answer.
pub(crate) const MOST_WAITERS: usize = 64;

/// One who waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) client: Client,
    pub(crate) query: Query,
}

#[derive(Debug, Default)]
pub(crate) struct Pending {
    questions: HashMap<Key, Vec<Waiter>>,
    clients: BTreeMap<Ipv4Addr, usize>,
}

/// What became of one who wants to wait.
#[derive(Debug)]
pub(crate) enum Entrance {
    /// The question has to be asked.
    First,
    /// It has been asked already.
    Another,
    /// There is no room.
    Full(Waiter),
}

impl Pending {
    pub(crate) fn wait(&mut self, key: &Key, waiter: Waiter) -> Entrance {
        let address = waiter.client.address();
        let of_client = self.clients.get(&address).copied().unwrap_or(0);
        if of_client >= MOST_OF_CLIENT {
            return Entrance::Full(waiter);
        }
        let is_full = self.questions.len() >= MOST_QUESTIONS;
        let entrance = match self.questions.get_mut(key) {
            Some(waiters) if waiters.len() >= MOST_WAITERS => return Entrance::Full(waiter),
            Some(waiters) => {
                waiters.push(waiter);
                Entrance::Another
            }
            None if is_full => return Entrance::Full(waiter),
            None => {
                self.questions.insert(key.clone(), vec![waiter]);
                Entrance::First
            }
        };

        self.clients.insert(address, of_client + 1);
        entrance
    }

    /// Those who waited for this.
    pub(crate) fn take(&mut self, key: &Key) -> Vec<Waiter> {
        let waiters = self.questions.remove(key).unwrap_or_default();
        for waiter in &waiters {
            let address = waiter.client.address();
            match self.clients.get_mut(&address) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    self.clients.remove(&address);
                }
            }
        }

        waiters
    }
}
