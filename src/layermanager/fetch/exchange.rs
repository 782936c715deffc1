//! One request and its answer, on a connection of its own.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, HOST, HeaderValue, IF_RANGE, RANGE,
    USER_AGENT,
};
use hyper::rt::{Read, Write};
use hyper::{Request, Response};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::address::Address;
use super::error::{AttemptError, FetchError};
use super::limits::{BUFFER, HEADERS, Patience};
use super::trust::client_config;
use crate::layermanager::spawn::blocking;

const AGENT: &str = concat!("aos_servicemanager/", env!("CARGO_PKG_VERSION"));

/// An exchange did not get as far as an answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Another one may.
    Passing(AttemptError),
    /// So would any other.
    Lasting(FetchError),
}

/// The part of a file that is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub(super) offset: u64,
    pub(super) if_range: Option<&'a HeaderValue>,
}

/// How servers are reached.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) patience: Patience,
    pub(super) ca_cert: Option<PathBuf>,
}

/// An answer whose body has yet to come. The connection ends with it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: hyper::http::response::Parts,
    pub(super) body: Incoming,
    _connection: JoinSet<()>,
}

impl Answer {
    /// The next piece, at most [`BUFFER`] bytes; `None` is the end.
    pub(super) async fn piece(
        &mut self,
        stall: Duration,
        at: u64,
    ) -> Result<Option<Bytes>, AttemptError> {
        loop {
            match timeout(stall, self.body.frame()).await {
                Err(_) => return Err(AttemptError::Stalled { at, time: stall }),
                Ok(None) => return Ok(None),
                Ok(Some(Err(source))) => return Err(AttemptError::Broken { at, source }),
                // Trailers are nothing to us, and no piece is empty.
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Ok(Some(bytes)),
                    _ => {}
                },
            }
        }
    }
}

impl Client {
    /// Asks for a file or a part of it.
    pub(super) async fn ask(&self, address: &Address, part: Part<'_>) -> Result<Answer, Failed> {
        let request = request(address, part)?;
        let stream = self.connect(address).await?;
        if !address.is_secure() {
            return self.exchange(stream, request).await;
        }

        let ca_cert = self.ca_cert.clone();
        let config = blocking(move || client_config(ca_cert))
            .await
            .map_err(|stopping| Failed::Lasting(stopping.into()))?
            .map_err(|error| Failed::Lasting(FetchError::Attempt(error)))?;
        let name = ServerName::try_from(address.host().to_owned())
            .map_err(|_| Failed::Lasting(super::UrlError::Authority(address.authority()).into()))?;
        let handshake = TlsConnector::from(config).connect(name, stream.into_inner());
        let stream = timeout(self.patience.tls, handshake)
            .await
            .map_err(|_| Failed::Passing(AttemptError::TlsTimeout(self.patience.tls)))?
            .map_err(tls_failed)?;
        self.exchange(TokioIo::new(stream), request).await
    }

    async fn connect(&self, address: &Address) -> Result<TokioIo<TcpStream>, Failed> {
        let limit = self.patience.connect;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        // Shared by the addresses of a name, so that one that is dead leaves time
        // for the next.
        connector.set_connect_timeout(Some(limit));
        let uri = address
            .uri()
            .map_err(|error| Failed::Lasting(error.into()))?;

        timeout(limit, connector.call(uri))
            .await
            .map_err(|_| Failed::Passing(AttemptError::ConnectTimeout(limit)))?
            .map_err(|error| Failed::Passing(AttemptError::Connect(error.into())))
    }

    async fn exchange<S>(&self, stream: S, request: Request<Empty<Bytes>>) -> Result<Answer, Failed>
    where
        S: Read + Write + Unpin + Send + 'static,
    {
        let limit = self.patience.answer;
        let answer = async {
            let (mut sender, connection) = http1::Builder::new()
                .max_buf_size(BUFFER)
                .max_headers(HEADERS)
                .handshake(stream)
                .await?;
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                // The body, or the answer that does not come, tells the same.
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection of a download");
                }
            });
            let response = sender.send_request(request).await?;
            Ok((response, tasks))
        };

        let (response, connection): (Response<Incoming>, _) = timeout(limit, answer)
            .await
            .map_err(|_| Failed::Passing(AttemptError::AnswerTimeout(limit)))?
            .map_err(no_answer)?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            head,
            body,
            _connection: connection,
        })
    }
}

fn request(address: &Address, part: Part<'_>) -> Result<Request<Empty<Bytes>>, Failed> {
    let mut request = Request::get(address.target())
        .header(HOST, address.authority())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close");
    if let Some(authorization) = address.authorization() {
        request = request.header(AUTHORIZATION, authorization);
    }
    if part.offset > 0 {
        request = request.header(RANGE, format!("bytes={}-", part.offset));
        if let Some(if_range) = part.if_range {
            request = request.header(IF_RANGE, if_range);
        }
    }
    request
        .body(Empty::new())
        .map_err(|_| Failed::Lasting(super::UrlError::Syntax.into()))
}

/// What is no HTTP now will be none in a minute.
fn no_answer(error: hyper::Error) -> Failed {
    let lasting = error.is_parse();
    let error = AttemptError::NoAnswer(error);
    if lasting {
        Failed::Lasting(FetchError::Attempt(error))
    } else {
        Failed::Passing(error)
    }
}

/// A certificate that is not trusted stays so. Only one whose time is not now may
/// become good: a device without a battery learns the time from the network.
fn tls_failed(error: std::io::Error) -> Failed {
    use rustls::CertificateError as Bad;

    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let lasting = match inner {
        Some(rustls::Error::InvalidCertificate(bad)) => !matches!(
            bad,
            Bad::Expired
                | Bad::ExpiredContext { .. }
                | Bad::NotValidYet
                | Bad::NotValidYetContext { .. }
        ),
        _ => false,
    };
    let error = AttemptError::Tls(error);
    if lasting {
        Failed::Lasting(FetchError::Attempt(error))
    } else {
        Failed::Passing(error)
    }
}
