//! The streams of SM: which one counts, and which are refused.
//!
//! As in CM: the first message says which node it is, one node has one
//! connection, and a node that nobody knows has none.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::sync::oneshot;
use tonic::Status;

use super::cm::Outgoing;
use crate::wire::sm::SmIncomingMessages;
use crate::wire::sm::sm_incoming_messages::SmIncomingMessage;
use crate::wire::sm::sm_outgoing_messages::SmOutgoingMessage;

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The stream has become the connection of its node.
    Registered,
    /// It came on the connection.
    Accepted,
    /// The stream is refused, for this reason.
    Refused(String),
    /// It came on a stream that was refused or cut before.
    Ignored,
}

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("SM is not connected")]
    NotConnected,
    #[error("SM does not read: too many messages wait for it")]
    Full,
}

#[derive(Debug)]
struct Link {
    peer: Option<SocketAddr>,
    outgoing: Outgoing,
    /// What still arrives was sent before the cut.
    is_cut: bool,
}

/// All streams, and the connections below them.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// The only node that may register; the first that does, when unknown.
    node: Option<String>,
    open: BTreeMap<u64, Link>,
    registered: Option<u64>,
    cuts: BTreeMap<SocketAddr, oneshot::Sender<()>>,
}

impl Links {
    pub(crate) fn new(node: Option<String>) -> Self {
        Self {
            node,
            ..Self::default()
        }
    }

    pub(crate) fn accepted(&mut self, peer: SocketAddr, cut: oneshot::Sender<()>) {
        self.cuts.retain(|_, cut| !cut.is_closed());
        self.cuts.insert(peer, cut);
    }

    pub(crate) fn opened(&mut self, stream: u64, peer: Option<SocketAddr>, outgoing: Outgoing) {
        let link = Link {
            peer,
            outgoing,
            is_cut: false,
        };
        self.open.insert(stream, link);
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self, stream: u64) -> String {
        let peer = self.open.get(&stream).and_then(|link| link.peer);
        peer.map_or_else(|| "?".to_owned(), |peer| peer.to_string())
    }

    /// Judges a message by the stream it came on. A refused stream is told.
    pub(crate) fn judge(&mut self, stream: u64, message: Option<&SmOutgoingMessage>) -> Verdict {
        if self.registered == Some(stream) {
            return Verdict::Accepted;
        }
        if self.open.get(&stream).is_none_or(|link| link.is_cut) {
            return Verdict::Ignored;
        }
        let reason = match message {
            Some(SmOutgoingMessage::NodeConfiguration(node)) => {
                let node = &node.node_id;
                match &self.node {
                    Some(known) if known != node => {
                        format!("unknown nodeID connection with nodeID {node}")
                    }
                    _ if self.registered.is_some() => {
                        format!("connection for nodeID {node} already exist")
                    }
                    _ => {
                        self.node = Some(node.clone());
                        self.registered = Some(stream);
                        return Verdict::Registered;
                    }
                }
            }
            _ => "unexpected first message from stream".to_owned(),
        };
        if let Some(link) = self.open.remove(&stream) {
            // A peer that has left needs no reason.
            drop(link.outgoing.try_send(Err(Status::unknown(reason.clone()))));
        }
        Verdict::Refused(reason)
    }

    /// Takes note of the end of a stream; says whether it was one that counts.
    pub(crate) fn closed(&mut self, stream: u64) -> bool {
        let known = self.open.remove(&stream).is_some();
        if self.registered == Some(stream) {
            self.registered = None;
        }
        known
    }

    pub(crate) fn is_registered(&self, stream: u64) -> bool {
        self.registered == Some(stream)
    }

    /// Queues a message for SM.
    pub(crate) fn send(&self, message: SmIncomingMessage) -> Result<(), SendError> {
        let link = self
            .registered
            .and_then(|stream| self.open.get(&stream))
            .ok_or(SendError::NotConnected)?;
        let message = SmIncomingMessages {
            sm_incoming_message: Some(message),
        };
        link.outgoing
            .try_send(Ok(message))
            .map_err(|error| match error {
                tokio::sync::mpsc::error::TrySendError::Full(_) => SendError::Full,
                tokio::sync::mpsc::error::TrySendError::Closed(_) => SendError::NotConnected,
            })
    }

    /// Cuts every connection, as a broken network does.
    pub(crate) fn cut(&mut self) {
        for (_, cut) in std::mem::take(&mut self.cuts) {
            // A connection that has ended needs no cut.
            cut.send(()).unwrap_or_default();
        }
        for link in self.open.values_mut() {
            link.is_cut = true;
        }
        self.registered = None;
    }

    /// Ends every stream in order, after what is queued. Says whether there
    /// was one whose end will be reported.
    pub(crate) fn end(&mut self) -> bool {
        let any = !self.open.is_empty();
        self.open.clear();
        self.registered = None;
        any
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::wire::sm::{ClockSyncRequest, GetNodeMonitoring, NodeConfiguration};

    type Incoming = mpsc::Receiver<Result<SmIncomingMessages, Status>>;

    fn open(links: &mut Links, stream: u64) -> Incoming {
        let (outgoing, incoming) = mpsc::channel(1);
        links.opened(stream, None, outgoing);
        incoming
    }

    fn node(id: &str) -> SmOutgoingMessage {
        SmOutgoingMessage::NodeConfiguration(NodeConfiguration {
            node_id: id.to_owned(),
            ..NodeConfiguration::default()
        })
    }

    fn refusal(incoming: &mut Incoming) -> String {
        let refused = incoming.try_recv().unwrap().unwrap_err();
        assert!(incoming.is_closed());
        refused.message().to_owned()
    }

    #[test]
    fn second_connection_of_a_node_is_refused_until_the_first_ends() {
        let mut links = Links::new(None);
        let _first = open(&mut links, 1);
        let mut second = open(&mut links, 2);

        assert_eq!(links.judge(1, Some(&node("main"))), Verdict::Registered);
        let verdict = links.judge(2, Some(&node("main")));

        let reason = "connection for nodeID main already exist";
        assert_eq!(verdict, Verdict::Refused(reason.to_owned()));
        assert_eq!(refusal(&mut second), reason);
        assert_eq!(links.judge(2, Some(&node("main"))), Verdict::Ignored);
        assert!(links.closed(1));
        let _third = open(&mut links, 3);
        assert_eq!(links.judge(3, Some(&node("main"))), Verdict::Registered);
    }

    #[test]
    fn late_message_of_a_cut_connection_is_ignored() {
        let mut links = Links::new(None);
        let _incoming = open(&mut links, 1);
        links.judge(1, Some(&node("main")));

        links.cut();

        assert_eq!(links.judge(1, Some(&node("main"))), Verdict::Ignored);
        assert!(links.closed(1), "its end is still told");
    }

    #[test]
    fn node_that_nobody_knows_is_refused() {
        let mut links = Links::new(Some("main".to_owned()));
        let mut incoming = open(&mut links, 1);

        links.judge(1, Some(&node("other")));

        assert_eq!(
            refusal(&mut incoming),
            "unknown nodeID connection with nodeID other"
        );
    }

    #[test]
    fn first_message_must_say_which_node_it_is() {
        let mut links = Links::new(None);
        let mut incoming = open(&mut links, 1);
        let message = SmOutgoingMessage::ClockSyncRequest(ClockSyncRequest {});

        links.judge(1, Some(&message));

        assert_eq!(
            refusal(&mut incoming),
            "unexpected first message from stream"
        );
    }

    #[test]
    fn sm_that_does_not_read_is_an_error() {
        let mut links = Links::new(None);
        let request = || SmIncomingMessage::GetNodeMonitoring(GetNodeMonitoring {});
        assert!(matches!(
            links.send(request()),
            Err(SendError::NotConnected)
        ));
        let _incoming = open(&mut links, 1);
        links.judge(1, Some(&node("main")));

        links.send(request()).unwrap();

        assert!(matches!(links.send(request()), Err(SendError::Full)));
    }
}
