//! A CM that does what its test says.
//!
//! As the real one it says its first word, and sends its headers, only when it
//! wants to.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use aos_servicemanager::cmclient::v3::proto::sm_incoming_messages::SmIncomingMessage;
use aos_servicemanager::cmclient::v3::proto::sm_outgoing_messages::SmOutgoingMessage;
use aos_servicemanager::cmclient::v3::proto::sm_service_server::{SmService, SmServiceServer};
use aos_servicemanager::cmclient::v3::proto::{SmIncomingMessages, SmOutgoingMessages};
use futures_util::{Stream, StreamExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::pki::Authority;

/// Nothing in these tests may take longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .unwrap_or_else(|_| panic!("in vain waited for {what}"))
}

/// A running CM.
pub(crate) struct FakeCm {
    runtime: Option<Runtime>,
    address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
}

impl FakeCm {
    pub(crate) fn start(authority: &Authority) -> Self {
        Self::start_at(authority, SocketAddr::new(authority.host, 0))
    }

    pub(crate) fn start_at(authority: &Authority, address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, sessions) = mpsc::channel(16);

        let server = Server::builder()
            .tls_config(authority.server_tls(true))
            .unwrap()
            .add_service(
                SmServiceServer::new(Registry { sessions: sender })
                    .max_encoding_message_size(usize::MAX)
                    .max_decoding_message_size(4 * 1024 * 1024),
            );
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
        });

        Self {
            runtime: Some(runtime),
            address,
            sessions,
        }
    }

    /// Goes down and gives its address free.
    pub(crate) async fn stop(mut self) {
        let runtime = self.runtime.take();
        tokio::task::spawn_blocking(move || drop(runtime))
            .await
            .unwrap();
    }

    /// Hangs, with its connections open, until what it returns is dropped.
    pub(crate) async fn freeze(&self) -> std::sync::mpsc::Sender<()> {
        let (thaw, wait) = std::sync::mpsc::channel();
        let (frozen, is_frozen) = oneshot::channel();
        let runtime = self.runtime.as_ref().unwrap();
        runtime.spawn(async move {
            frozen.send(()).unwrap();
            // The only thread of the runtime stops here.
            wait.recv().unwrap_err();
        });
        is_frozen.await.unwrap();
        thaw
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next stream of SM.
    pub(crate) async fn session(&mut self) -> Session {
        within("a session", self.sessions.recv()).await.unwrap()
    }

    /// The next stream of SM, with its first two messages checked and read.
    pub(crate) async fn informed_session(&mut self) -> Session {
        let mut session = self.session().await;
        let first = session.next().await;
        assert!(
            matches!(first, SmOutgoingMessage::NodeConfiguration(_)),
            "{first:?}"
        );
        let second = session.next().await;
        assert!(
            matches!(second, SmOutgoingMessage::RunInstancesStatus(_)),
            "{second:?}"
        );
        session
    }
}

impl Drop for FakeCm {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One stream of SM. CM ends it when it is dropped.
pub(crate) struct Session {
    from_sm: Streaming<SmOutgoingMessages>,
    to_sm: mpsc::Sender<Result<SmIncomingMessages, Status>>,
    pub(crate) certificate: Vec<u8>,
}

impl Session {
    /// The next message of SM.
    pub(crate) async fn next(&mut self) -> SmOutgoingMessage {
        self.next_or_end().await.expect("SM ended the stream")
    }

    /// The next message of SM; `None` when it has ended its side.
    pub(crate) async fn next_or_end(&mut self) -> Option<SmOutgoingMessage> {
        within("a message of SM", self.from_sm.message())
            .await
            .unwrap()
            .map(|message| message.sm_outgoing_message.unwrap())
    }

    pub(crate) async fn send(&self, message: SmIncomingMessage) {
        self.send_raw(Ok(SmIncomingMessages {
            sm_incoming_message: Some(message),
        }))
        .await;
    }

    pub(crate) async fn send_raw(&self, message: Result<SmIncomingMessages, Status>) {
        within("room", self.to_sm.send(message)).await.unwrap();
    }
}

struct Registry {
    sessions: mpsc::Sender<Session>,
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<SmIncomingMessages, Status>> + Send>>;

#[tonic::async_trait]
impl SmService for Registry {
    type RegisterSMStream = Outgoing;

    async fn register_sm(
        &self,
        request: Request<Streaming<SmOutgoingMessages>>,
    ) -> Result<Response<Outgoing>, Status> {
        let certificate = request.peer_certs().unwrap()[0].to_vec();
        let (to_sm, mut messages) = mpsc::channel(16);
        let session = Session {
            from_sm: request.into_inner(),
            to_sm,
            certificate,
        };
        self.sessions.send(session).await.unwrap();

        let first = match messages.recv().await {
            Some(Err(status)) => return Err(status),
            Some(Ok(message)) => Some(Ok(message)),
            None => None,
        };
        let rest = ReceiverStream::new(messages);
        Ok(Response::new(Box::pin(
            futures_util::stream::iter(first).chain(rest),
        )))
    }
}
