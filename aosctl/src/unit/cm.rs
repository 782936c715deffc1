//! The server side of CM: accepts streams and passes on what they bring.
//!
//! It decides nothing. [`Player`](super::player::Player) gets the ends of
//! each stream and answers.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::{Request, Response, Status, Streaming};

use super::event::{IamCall, Stamp};
use crate::wire::sm::sm_service_server::SmService;
use crate::wire::sm::{SmIncomingMessages, SmOutgoingMessages};

/// Messages that wait for a slow SM.
const OUTGOING_LIMIT: usize = 256;

/// Connections that wait for their TLS handshake to begin.
const ACCEPT_LIMIT: usize = 16;

/// The way to one SM. Dropped, it ends the stream.
pub(crate) type Outgoing = mpsc::Sender<Result<SmIncomingMessages, Status>>;

/// What the servers tell the player.
#[derive(Debug)]
pub(crate) enum PeerEvent {
    /// A TCP connection to CM; sending cuts it.
    Accepted {
        peer: SocketAddr,
        cut: oneshot::Sender<()>,
    },
    /// A stream was opened.
    Opened {
        stream: u64,
        peer: Option<SocketAddr>,
        outgoing: Outgoing,
    },
    /// A message came.
    Message {
        stream: u64,
        message: SmOutgoingMessages,
    },
    /// A stream has ended.
    Closed { stream: u64, reason: String },
    /// SM has called IAM.
    Iam(IamCall),
}

/// Sends to the player, with the time of the event.
pub(crate) type Events = mpsc::Sender<(Stamp, PeerEvent)>;

/// The service that SM registers with.
#[derive(Debug)]
pub(crate) struct Cm {
    events: Events,
    streams: AtomicU64,
}

impl Cm {
    pub(crate) fn new(events: Events) -> Self {
        Self {
            events,
            streams: AtomicU64::new(0),
        }
    }
}

#[tonic::async_trait]
impl SmService for Cm {
    type RegisterSMStream = ReceiverStream<Result<SmIncomingMessages, Status>>;

    async fn register_sm(
        &self,
        request: Request<Streaming<SmOutgoingMessages>>,
    ) -> Result<Response<Self::RegisterSMStream>, Status> {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        let peer = request.remote_addr();
        let (outgoing, receiver) = mpsc::channel(OUTGOING_LIMIT);
        let opened = PeerEvent::Opened {
            stream,
            peer,
            outgoing,
        };
        self.events
            .send((Stamp::now(), opened))
            .await
            .map_err(|_| Status::unavailable("the unit is going down"))?;
        tokio::spawn(read(stream, request.into_inner(), self.events.clone()));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Passes a stream's messages on until it ends.
async fn read(stream: u64, mut messages: Streaming<SmOutgoingMessages>, events: Events) {
    let reason = loop {
        let received = messages.message().await;
        // Taken before anything else: latencies are computed from it.
        let now = Stamp::now();
        match received {
            Ok(Some(message)) => {
                let event = PeerEvent::Message { stream, message };
                if events.send((now, event)).await.is_err() {
                    return;
                }
            }
            Ok(None) => break "closed by SM".to_owned(),
            Err(status) => break format!("{:?}: {}", status.code(), status.message()),
        }
    };
    let closed = PeerEvent::Closed { stream, reason };
    // Nobody to tell: the player has left.
    drop(events.send((Stamp::now(), closed)).await);
}

/// Accepts connections that can be cut one by one.
pub(crate) fn accept(
    listener: TcpListener,
    events: Events,
) -> ReceiverStream<io::Result<CuttableStream>> {
    let (connections, receiver) = mpsc::channel(ACCEPT_LIMIT);
    tokio::spawn(async move {
        loop {
            let connection = match listener.accept().await {
                Ok((stream, peer)) => {
                    let (cut, cutter) = oneshot::channel();
                    let accepted = PeerEvent::Accepted { peer, cut };
                    if events.send((Stamp::now(), accepted)).await.is_err() {
                        return;
                    }
                    stream.set_nodelay(true).map(|()| CuttableStream {
                        stream,
                        cutter: Some(cutter),
                    })
                }
                Err(error) => Err(error),
            };
            if connections.send(connection).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// A TCP connection that the player can cut without a word to its peer.
#[derive(Debug)]
pub(crate) struct CuttableStream {
    stream: TcpStream,
    cutter: Option<oneshot::Receiver<()>>,
}

impl CuttableStream {
    fn poll_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(cutter) = &mut self.cutter else {
            return Ok(());
        };
        match Pin::new(cutter).poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Ready(Err(_)) => {
                self.cutter = None;
                Ok(())
            }
        }
    }
}

impl Connected for CuttableStream {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
