//! One stream to CM, from dialling to its end.

use std::fmt;
use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};
use tracing::error;

use super::answers::Answers;
use super::size::fitting;
use super::v3::proto::sm_service_client::SmServiceClient;
use super::v3::proto::{SmIncomingMessages, SmOutgoingMessages};
use super::v3::{self, Incoming};
use super::{CmError, CmSettings};
use crate::model::{LogPart, LogRequest, NodeInfo, Request, TlsIdentity};
use crate::peer::{Dialer, MAX_MESSAGE};

/// Log parts that wait for the writer; more would only cost memory.
const LOG_PARTS: usize = 1;

/// What happened on the stream.
#[derive(Debug)]
pub(super) enum ConnectionEvent {
    /// CM sent something.
    Message(SmIncomingMessages),
    /// The stream is over; `None`: because CM ended it.
    Over(Option<Status>),
    /// There is room for one message.
    Writable,
    /// The time for the farewell is over.
    FarewellOver,
    /// An answer or a log part is ready to be sent.
    Ready,
}

type Inbound = Pin<Box<dyn Stream<Item = Result<SmIncomingMessages, Status>> + Send>>;

/// A stream to CM.
pub(super) struct Connection {
    inbound: Inbound,
    /// `None`: we have ended our side.
    outbound: Option<mpsc::Sender<SmOutgoingMessages>>,
    answers: Answers,
    answer: Option<SmOutgoingMessages>,
    log_parts: mpsc::Receiver<LogPart>,
    log_part: Option<LogPart>,
    log_sender: mpsc::Sender<LogPart>,
    node: NodeInfo,
    since: Instant,
    /// Until when the stream may take to end.
    farewell: Option<Instant>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, without waiting for CM's first word: CM says it only after
    /// ours.
    pub(super) async fn open(
        settings: CmSettings,
        identity: TlsIdentity,
        node: NodeInfo,
    ) -> Result<Box<Self>, CmError> {
        let dialer = Dialer::new(&settings.url, &settings.ca_cert, Some(&identity)).await?;
        let mut client = SmServiceClient::new(dialer.connect().await?)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);

        let (outbound, messages) = mpsc::channel(1);
        let registered = async move { client.register_sm(ReceiverStream::new(messages)).await };
        let inbound = stream::once(registered)
            .map_ok(Response::into_inner)
            .try_flatten();
        let (log_sender, log_parts) = mpsc::channel(LOG_PARTS);

        Ok(Box::new(Self {
            inbound: Box::pin(inbound),
            outbound: Some(outbound),
            answers: Answers::default(),
            answer: None,
            log_parts,
            log_part: None,
            log_sender,
            node,
            since: Instant::now(),
            farewell: None,
        }))
    }

    /// The node as it is called on this stream.
    pub(super) fn node(&self) -> &NodeInfo {
        &self.node
    }

    /// When the stream was opened.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Waits for the next event. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self, may_read: bool, may_write: bool) -> ConnectionEvent {
        let deadline = self.farewell.unwrap_or(self.since);

        tokio::select! {
            message = self.inbound.next(), if may_read && self.answers.has_room() => {
                match message {
                    Some(Ok(message)) => ConnectionEvent::Message(message),
                    Some(Err(status)) => ConnectionEvent::Over(Some(status)),
                    None => ConnectionEvent::Over(None),
                }
            }
            () = writable(self.outbound.as_ref()), if may_write => ConnectionEvent::Writable,
            answer = self.answers.next(), if self.answer.is_none() => {
                self.answer = Some(answer);
                ConnectionEvent::Ready
            }
            Some(part) = self.log_parts.recv(), if self.log_part.is_none() => {
                self.log_part = Some(part);
                ConnectionEvent::Ready
            }
            () = sleep_until(deadline), if self.farewell.is_some() => {
                ConnectionEvent::FarewellOver
            }
            else => std::future::pending().await,
        }
    }

    /// Gives a decoded message the way back for its answer. `Err`: the name of
    /// a message that is not for SM.
    pub(super) fn request(&mut self, incoming: Incoming) -> Result<Request, &'static str> {
        let request = match incoming {
            Incoming::RunInstances(desired) => Request::RunInstances(desired),
            Incoming::UpdateNetworks(networks) => Request::UpdateNetworks(networks),
            Incoming::GetUnitConfigStatus => {
                Request::GetUnitConfigStatus(self.answers.expect_unit_config())
            }
            Incoming::CheckUnitConfig(config) => {
                Request::CheckUnitConfig(config, self.answers.expect_unit_config())
            }
            Incoming::SetUnitConfig(config) => {
                Request::SetUnitConfig(config, self.answers.expect_unit_config())
            }
            Incoming::OverrideEnvVars(vars) => {
                Request::OverrideEnvVars(vars, self.answers.expect_env_vars())
            }
            Incoming::Logs(query) => Request::Logs(LogRequest {
                log_id: query.log_id,
                source: query.source,
                from: query.from,
                till: query.till,
                parts: self.log_sender.clone(),
            }),
            Incoming::GetNodeMonitoring => {
                Request::GetNodeMonitoring(self.answers.expect_monitoring())
            }
            Incoming::CloudConnection(connected) => Request::CloudConnection(connected),
            Incoming::Ignored(name) => return Err(name),
        };

        Ok(request)
    }

    /// Whether an answer or a log part is ready.
    pub(super) fn has_message(&self) -> bool {
        self.answer.is_some() || self.log_part.is_some()
    }

    /// Whether CM waits for nothing of this connection.
    pub(super) fn is_idle(&self) -> bool {
        self.answers.is_empty() && self.answer.is_none()
    }

    pub(super) fn next_answer(&mut self) -> Option<SmOutgoingMessages> {
        self.answer.take()
    }

    pub(super) fn next_log_part(&mut self) -> Option<SmOutgoingMessages> {
        self.log_part.take().map(v3::log_part)
    }

    /// Hands a message to the transport. There is room after
    /// [`ConnectionEvent::Writable`]; a stream that is over reports that itself.
    pub(super) fn send(&self, message: SmOutgoingMessages) {
        let message = match fitting(message, MAX_MESSAGE) {
            Ok(message) => message,
            Err(size) => {
                error!(
                    size,
                    limit = MAX_MESSAGE,
                    "a message to CM is too large and left out"
                );
                return;
            }
        };

        if let Some(outbound) = &self.outbound {
            drop(outbound.try_send(message));
        }
    }

    /// Wants the stream to end at `deadline` at the latest. An earlier wish
    /// stands.
    pub(super) fn retire(&mut self, deadline: Instant) {
        self.farewell = Some(self.farewell.map_or(deadline, |wish| wish.min(deadline)));
    }

    pub(super) fn is_retiring(&self) -> bool {
        self.farewell.is_some()
    }

    /// Ends our side. CM ends the stream for that.
    pub(super) fn close(&mut self) {
        self.outbound = None;
    }
}

/// Waits for room in the channel to the transport.
async fn writable(outbound: Option<&mpsc::Sender<SmOutgoingMessages>>) {
    let room = match outbound {
        Some(outbound) => outbound.reserve().await.is_ok(),
        None => false,
    };

    // The transport is gone, and the reader will learn why.
    if !room {
        std::future::pending::<()>().await;
    }
}
