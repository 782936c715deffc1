//! The loop that serves one network.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::desk::{Ask, Client, Desk, Step};
use crate::forward::ask;
use crate::resolvers::Resolvers;
use crate::sockets::Sockets;
use crate::stream::{StreamQuery, serve};
use crate::zones::Zones;

/// Connections at a time.
const MOST_CONNECTIONS: usize = 32;
/// Connections of one client at a time.
const MOST_OF_CLIENT: usize = 4;
/// Longest query over UDP that is read whole.
const LONGEST_QUERY: usize = 4096;

pub(crate) struct Station {
    sockets: Sockets,
    zones: watch::Receiver<Arc<Zones>>,
    resolvers: Resolvers,
    desk: Desk,
    asks: JoinSet<(Ask, Option<Answer>)>,
    connections: JoinSet<Ipv4Addr>,
    clients: BTreeMap<Ipv4Addr, usize>,
    queries: (mpsc::Sender<StreamQuery>, mpsc::Receiver<StreamQuery>),
}

enum Event {
    Datagram(usize, SocketAddr),
    Connection(TcpStream, SocketAddr),
    Query(StreamQuery),
    Answered(Ask, Option<Answer>),
    Closed(Ipv4Addr),
}

impl Station {
    pub(crate) fn new(
        bridge: &str,
        sockets: Sockets,
        zones: watch::Receiver<Arc<Zones>>,
        resolvers: Resolvers,
    ) -> Self {
        Self {
            sockets,
            zones,
            resolvers,
            desk: Desk::new(bridge),
            asks: JoinSet::new(),
            connections: JoinSet::new(),
            clients: BTreeMap::new(),
            queries: mpsc::channel(MOST_CONNECTIONS),
        }
    }

    /// Serves until a socket fails.
    pub(crate) async fn run(mut self) -> io::Error {
        let mut buffer = vec![0; LONGEST_QUERY];
        loop {
            let has_room = self.connections.len() < MOST_CONNECTIONS;
            // Every branch only waits.
            let event = tokio::select! {
                received = self.sockets.udp.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => Event::Datagram(length, from),
                    Err(error) => return error,
                },
                accepted = self.sockets.tcp.accept(), if has_room => match accepted {
                    Ok((stream, from)) => Event::Connection(stream, from),
                    Err(error) => return error,
                },
                Some(query) = self.queries.1.recv() => Event::Query(query),
                Some(done) = self.asks.join_next() => {
                    let (ask, answer) = ended(done);
                    Event::Answered(ask, answer)
                }
                Some(done) = self.connections.join_next() => Event::Closed(ended(done)),
            };
            match event {
                Event::Datagram(length, SocketAddr::V4(from)) => {
                    self.query(Client::Datagram(from), buffer.get(..length).unwrap_or(&[]));
                }
                Event::Connection(stream, SocketAddr::V4(from)) => {
                    self.connected(stream, *from.ip());
                }
                // The sockets are IPv4.
                Event::Datagram(_, SocketAddr::V6(_)) | Event::Connection(_, SocketAddr::V6(_)) => {
                }
                Event::Query(query) => {
                    self.query(Client::Stream(query.client, query.answer), &query.packet);
                }
                Event::Answered(ask, answer) => {
                    for (client, packet) in self.desk.answered(ask, answer, Instant::now()) {
                        self.send(client, packet);
                    }
                }
                Event::Closed(client) => self.closed(client),
            }
        }
    }

    fn query(&mut self, client: Client, packet: &[u8]) {
        let now = Instant::now();
        let zones = Arc::clone(&self.zones.borrow());
        let host = self.resolvers.servers(now);
        match self.desk.query(&zones, host, client, packet, now) {
            Step::Nothing => {}
            Step::Send(client, packet) => self.send(client, packet),
            Step::Ask(question) => {
                self.asks.spawn(async move {
                    let answer = ask(&question).await;
                    (question, answer)
                });
            }
        }
    }

    fn send(&self, client: Client, packet: Vec<u8>) {
        // A client that is gone, or takes nothing, asks again.
        match client {
            Client::Datagram(to) => {
                drop(self.sockets.udp.try_send_to(&packet, to.into()));
            }
            Client::Stream(_, answer) => drop(answer.send(packet)),
        }
    }

    fn connected(&mut self, stream: TcpStream, client: Ipv4Addr) {
        let count = self.clients.entry(client).or_insert(0);
        if *count >= MOST_OF_CLIENT {
            return;
        }
        *count += 1;
        let queries = self.queries.0.clone();
        self.connections.spawn(serve(stream, client, queries));
    }

    fn closed(&mut self, client: Ipv4Addr) {
        match self.clients.get_mut(&client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.clients.remove(&client);
            }
        }
    }
}

/// What a job returned. A panic of it is passed on.
fn ended<T>(outcome: Result<T, tokio::task::JoinError>) -> T {
    outcome.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
