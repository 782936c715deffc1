//! A page, fetched for its status alone.

use std::pin::pin;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Room for status and headers of the answer. The body is never read.
const MOST_HEADERS: usize = 16 * 1024;

/// The page was not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("cannot ask for {path}")]
    Path {
        path: String,
        #[source]
        source: hyper::http::uri::InvalidUri,
    },
    #[error("no HTTP answer")]
    NoAnswer(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("cannot read the address")]
    Peer(#[source] std::io::Error),
}

/// Asks for `path`. Any answer from 200 to 399 is good.
pub(super) async fn get(stream: TcpStream, path: &str) -> Result<(), HttpError> {
    let host = stream.peer_addr().map_err(HttpError::Peer)?.to_string();
    let uri: Uri = path.parse().map_err(|source| HttpError::Path {
        path: path.to_owned(),
        source,
    })?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&host) {
        headers.insert(HOST, host);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static("aos_servicemanager"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));

    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MOST_HEADERS)
        .handshake(TokioIo::new(stream))
        .await?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        Ok::<_, hyper::Error>(answer.status())
    };
    let mut answer = pin!(answer);
    // The connection is dropped with us, and so is the rest of the answer. When it
    // ends first, the answer is there, or why there is none.
    let status = tokio::select! {
        status = &mut answer => status?,
        _ = connection => answer.await?,
    };

    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(HttpError::Status(status))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::model::Chain;

    /// What comes of a probe when the server answers with this, and what it was
    /// asked.
    async fn asked(answer: &'static [u8]) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            drop(stream.write_all(answer).await);
            String::from_utf8_lossy(&request[..length]).into_owned()
        });

        let stream = TcpStream::connect(address).await.unwrap();
        let outcome = get(stream, "/live?a=b").await;
        let outcome = outcome.map_err(|error| Chain(&error).to_string());
        (outcome, server.await.unwrap())
    }

    #[tokio::test]
    async fn success_and_redirection_are_good_and_all_else_is_not() {
        for (answer, good) in [
            (
                &b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nabc"[..],
                true,
            ),
            (b"HTTP/1.0 204 No Content\r\n\r\n", true),
            (b"HTTP/1.1 399 Odd\r\n\r\n", true),
            (b"HTTP/1.1 404 Not Found\r\n\r\n", false),
            (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", false),
            (b"SSH-2.0-OpenSSH\r\n", false),
            (b"", false),
        ] {
            let (outcome, request) = asked(answer).await;

            assert_eq!(outcome.is_ok(), good, "{answer:?}: {outcome:?}");
            assert!(
                request.starts_with("GET /live?a=b HTTP/1.1\r\n"),
                "{request}"
            );
            assert!(request.contains("host: 127.0.0.1:"), "{request}");
        }
    }

    #[tokio::test]
    async fn headers_without_end_are_not_kept() {
        let endless = Box::leak(vec![b'a'; 1 << 20].into_boxed_slice());
        endless[..20].copy_from_slice(b"HTTP/1.1 200 OK\r\nX: ");

        let (outcome, _) = asked(endless).await;

        assert!(outcome.is_err());
    }
}
