//! Connections that say when they end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::sync::watch;
use tonic::codegen::http::Uri;
use tower_service::Service;

/// Changes with each connection that ends.
#[derive(Clone, Debug)]
pub struct Lifeline(watch::Sender<u64>);

impl Lifeline {
    /// Counts on `ended`.
    #[must_use]
    pub fn new(ended: watch::Sender<u64>) -> Self {
        Self(ended)
    }
}

/// Makes connections, each with a lifeline if there is one.
#[derive(Clone, Debug)]
pub(super) struct Watched<C> {
    pub(super) connector: C,
    pub(super) lifeline: Option<Lifeline>,
}

impl<C> Service<Uri> for Watched<C>
where
    C: Service<Uri, Future: Send + 'static>,
{
    type Response = Connection<C::Response>;
    type Error = C::Error;
    type Future = BoxFuture<'static, Result<Self::Response, C::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.connector.call(uri);
        let lifeline = self.lifeline.clone();
        Box::pin(async move {
            Ok(Connection {
                io: connecting.await?,
                _end: lifeline.map(End),
            })
        })
    }
}

/// A connection that was made.
#[derive(Debug)]
pub(super) struct Connection<T> {
    io: T,
    _end: Option<End>,
}

/// Says so when it is dropped.
#[derive(Debug)]
struct End(Lifeline);

impl Drop for End {
    fn drop(&mut self) {
        self.0.0.send_modify(|ended| *ended = ended.wrapping_add(1));
    }
}

impl<T: Read + Unpin> Read for Connection<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(context, buffer)
    }
}

impl<T: Write + Unpin> Write for Connection<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, buffers)
    }
}
