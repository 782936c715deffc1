//! Why a package cannot be had.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aos_package::Short;
use hyper::StatusCode;

use super::UrlError;
use super::limits::REDIRECTS;
use crate::layermanager::spawn::Stopping;

/// A package cannot be opened or downloaded.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL names nothing that a package can be read from.
    #[error("cannot use this URL")]
    Url(#[from] UrlError),
    /// CM's sums are not as long as such sums are.
    #[error("the package's sums are malformed")]
    Sums,
    /// The file cannot be opened.
    #[error("cannot open the file")]
    Open(#[source] io::Error),
    /// A directory, a FIFO, …
    #[error("it is not a file")]
    NotFile,
    /// The size is not what CM said.
    #[error("file is {actual} bytes, expected {expected}")]
    Size {
        /// Of the file or as the server says.
        actual: u64,
        /// What CM said.
        expected: u64,
    },
    /// The server does not stop.
    #[error("file is longer than the expected {expected} bytes")]
    TooLong {
        /// What CM said.
        expected: u64,
    },
    /// The server refuses.
    #[error("the server answers: {0}")]
    Status(StatusCode),
    /// The server's answer makes no sense.
    #[error("the server's answer cannot be used: {0}")]
    Answer(&'static str),
    /// Bytes that are not those of the package.
    #[error("the server encodes the package: Content-Encoding {:?}", Short(.0))]
    Encoded(String),
    /// From one server to the next.
    #[error("more than {REDIRECTS} redirects")]
    Redirects,
    /// The server sends to where we do not follow.
    #[error("redirect from {from} to {to} is refused")]
    RedirectScheme {
        /// `http` or `https`.
        from: &'static str,
        /// The other.
        to: &'static str,
    },
    /// The server sends to nowhere.
    #[error("redirect to {:?} cannot be followed", Short(location))]
    Redirect {
        /// What the server wrote, without what gives access.
        location: String,
        /// Why.
        #[source]
        source: UrlError,
    },
    /// An attempt failed in a way that another one would too.
    #[error(transparent)]
    Attempt(AttemptError),
    /// No attempt got a byte further.
    #[error("no progress in {attempts} attempts and {} s", time.as_secs())]
    GaveUp {
        /// Since the last byte.
        attempts: u32,
        /// Since the last byte.
        time: Duration,
        /// Of the last attempt.
        #[source]
        source: AttemptError,
    },
    /// What has been read so far is not of the file that the server has now.
    /// The install begins again with an empty spool.
    #[error("the download has to begin again: {0}")]
    Restarted(&'static str),
    /// That again and again.
    #[error("the download began again {times} times: {reason}")]
    Unsteady {
        /// How often.
        times: u32,
        /// The last time.
        reason: &'static str,
    },
    /// The partial download cannot be read or written.
    #[error("cannot use {path}")]
    Spool {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The caller has gone while nothing came.
    #[error("nobody waits for it any more")]
    Abandoned,
    /// The service manager is stopping.
    #[error("the service manager is stopping")]
    Stopped,
}

impl FetchError {
    /// The error of a download that `error` came from, however often it was
    /// wrapped since the reader gave it.
    pub(in crate::layermanager) fn within<'a>(
        error: &'a (dyn Error + 'static),
    ) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            if let Some(found) = error.downcast_ref::<Arc<Self>>() {
                return Some(found);
            }
            // An I/O error does not name what it holds as its source.
            let held = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            next = match held {
                Some(held) => Some(held),
                None => error.source(),
            };
        }
        None
    }
}

impl From<Stopping> for FetchError {
    fn from(_: Stopping) -> Self {
        Self::Stopped
    }
}

/// One attempt of a download failed.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// No address, or nobody there.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn Error + Send + Sync>),
    /// Name look-up and TCP took too long.
    #[error("cannot connect within {} s", .0.as_secs())]
    ConnectTimeout(Duration),
    /// There is nobody to trust.
    #[error("no root certificates, neither of the system nor of the unit")]
    NoRoots,
    /// The server is not trusted, or speaks no TLS.
    #[error("no TLS with the server")]
    Tls(#[source] io::Error),
    /// The server does not finish the handshake.
    #[error("no TLS with the server within {} s", .0.as_secs())]
    TlsTimeout(Duration),
    /// No answer, or one that is no HTTP.
    #[error("no answer from the server")]
    NoAnswer(#[source] hyper::Error),
    /// The server took the request and says nothing.
    #[error("no answer from the server within {} s", .0.as_secs())]
    AnswerTimeout(Duration),
    /// The server has trouble.
    #[error("the server answers: {0}")]
    Busy(StatusCode),
    /// The connection broke.
    #[error("the connection broke after {at} bytes")]
    Broken {
        /// Bytes of the package that are there.
        at: u64,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The server ended the answer.
    #[error("the server ended after {at} bytes")]
    Ended {
        /// Bytes of the package that are there.
        at: u64,
    },
    /// Nothing comes any more.
    #[error("nothing came for {} s after {at} bytes", time.as_secs())]
    Stalled {
        /// Bytes of the package that are there.
        at: u64,
        /// How long was waited.
        time: Duration,
    },
}
