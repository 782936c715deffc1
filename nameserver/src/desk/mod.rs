//! What becomes of the queries of one network.
//!
//! Pure: packets and answers come in, and [`Step`]s go out.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use domain::base::iana::Rtype;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::cache::Cache;
use crate::pending::{Entrance, Pending, Waiter};
use crate::query::{Query, Refusal, Reply};
use crate::zones::{Verdict, Zones};

/// What tells apart two questions to other servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) qtype: Rtype,
    pub(crate) dnssec_ok: bool,
    pub(crate) checking_disabled: bool,
}

/// Who asks, and how it gets its answer.
#[derive(Debug)]
pub(crate) enum Client {
    Datagram(SocketAddrV4),
    Stream(Ipv4Addr, oneshot::Sender<Vec<u8>>),
}

/// A question to other servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) key: Key,
    /// Name, type and class as they go over the wire.
    pub(crate) question: Vec<u8>,
    pub(crate) servers: Vec<IpAddr>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Step {
    Nothing,
    Send(Client, Vec<u8>),
    Ask(Ask),
}

/// The desk of the network on one bridge.
#[derive(Debug)]
pub(crate) struct Desk {
    bridge: String,
    cache: Cache,
    pending: Pending,
    /// Servers whose answers are in the cache.
    servers: Vec<IpAddr>,
}

impl Client {
    pub(crate) fn address(&self) -> Ipv4Addr {
        match self {
            Self::Datagram(address) => *address.ip(),
            Self::Stream(address, _) => *address,
        }
    }

    fn is_datagram(&self) -> bool {
        matches!(self, Self::Datagram(_))
    }
}

impl Desk {
    pub(crate) fn new(bridge: &str) -> Self {
        Self {
            bridge: bridge.to_owned(),
            cache: Cache::default(),
            pending: Pending::default(),
            servers: Vec::new(),
        }
    }

    /// A packet came in. `host` are the host's resolvers.
    pub(crate) fn query(
        &mut self,
        zones: &Zones,
        host: &[IpAddr],
        client: Client,
        packet: &[u8],
        now: Instant,
    ) -> Step {
        // Whoever is not of the subnet did not send from there: an answer
        // would hit somebody else.
        let is_inside = zones
            .network(&self.bridge)
            .is_some_and(|names| names.contains(client.address()));
        if !is_inside {
            return Step::Nothing;
        }
        let query = match Query::read(packet) {
            Ok(query) => query,
            Err(Refusal::Silence) => return Step::Nothing,
            Err(Refusal::Answer(answer)) => return Step::Send(client, answer),
        };

        let own = zones.servers(&self.bridge);
        let reply = match zones.look_up(&self.bridge, &query.name, query.qtype()) {
            Verdict::Address(address) => Reply::Address(address),
            Verdict::Pointer(name) => Reply::Pointer(name),
            Verdict::NoData => Reply::NoData,
            Verdict::NoName => Reply::NoName,
            Verdict::Unit if own.is_empty() => Reply::NoName,
            Verdict::Elsewhere if own.is_empty() => {
                return self.elsewhere(zones, host, client, query, now);
            }
            Verdict::Unit | Verdict::Elsewhere => {
                return self.elsewhere(zones, own, client, query, now);
            }
        };
        let answer = query.reply(&reply);
        Step::Send(client, answer)
    }

    /// What came of a question. `None`: no server had an answer.
    pub(crate) fn answered(
        &mut self,
        ask: Ask,
        answer: Option<Answer>,
        now: Instant,
    ) -> Vec<(Client, Vec<u8>)> {
        let waiters = self.pending.take(&ask.key);
        let packets = waiters
            .into_iter()
            .map(|Waiter { client, query }| {
                let packet = match &answer {
                    Some(answer) => {
                        let message = answer.message(std::time::Duration::ZERO);
                        query.adopt(message, client.is_datagram())
                    }
                    None => query.reply(&Reply::Failure),
                };
                (client, packet)
            })
            .collect();
        if let Some(answer) = answer
            && ask.servers == self.servers
        {
            self.cache.put(ask.key, answer, now);
        }

        packets
    }

    fn elsewhere(
        &mut self,
        zones: &Zones,
        servers: &[IpAddr],
        client: Client,
        query: Query,
        now: Instant,
    ) -> Step {
        let others = servers.iter().filter(|server| !zones.is_ours(**server));
        let servers: Vec<IpAddr> = others.copied().collect();
        if servers != self.servers {
            self.cache.clear();
            self.servers.clone_from(&servers);
        }
        if servers.is_empty() {
            let answer = query.reply(&Reply::Failure);
            return Step::Send(client, answer);
        }

        let key = Key {
            name: query.name.clone(),
            qtype: query.qtype(),
            dnssec_ok: query.dnssec_ok,
            checking_disabled: query.checking_disabled,
        };
        if let Some(message) = self.cache.get(&key, now) {
            let answer = query.adopt(message, client.is_datagram());
            return Step::Send(client, answer);
        }
        let question = query.question();
        match self.pending.wait(&key, Waiter { client, query }) {
            Entrance::First => Step::Ask(Ask {
                key,
                question,
                servers,
            }),
            Entrance::Another => Step::Nothing,
            Entrance::Full(Waiter { client, query }) => {
                let answer = query.reply(&Reply::Failure);
                Step::Send(client, answer)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
