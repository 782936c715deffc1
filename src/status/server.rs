//! The socket.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, warn};

use super::Document;

/// Clients at a time.
const CLIENTS: usize = 8;
/// Bytes of a request.
const REQUEST: u64 = 1024;
/// A request has to come, and a document to be taken, within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two documents for the same client.
const PACE: Duration = Duration::from_millis(100);
/// One that watches hears so often, whatever happens.
const REFRESH: Duration = Duration::from_secs(10);
/// After the kernel refused a client.
const PAUSE: Duration = Duration::from_secs(1);

/// There is no socket.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The kernel refuses.
    #[error("cannot listen on {path}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a client asks for. Unknown keys are for later versions.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Question {
    watch: bool,
}

/// What a client is told that gets no document.
#[derive(Debug, Serialize)]
struct Refused<'a> {
    format: u32,
    error: &'a str,
}

/// The socket, taken away with the value.
#[derive(Debug)]
struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            debug!(%error, path = %self.path.display(), "socket stays");
        }
    }
}

/// Answers those who ask. Ends when it is dropped.
#[derive(Debug)]
pub struct StatusServer {
    socket: Socket,
    changes: watch::Receiver<u64>,
}

impl StatusServer {
    /// Listens at `path`, for root alone. What an earlier process left there is
    /// replaced in one step; the caller sees to it that there is no other
    /// process that still uses it. `changes` tells that a document made now
    /// would be another.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn bind(path: &Path, changes: watch::Receiver<u64>) -> Result<Self, StatusError> {
        let listen = || {
            let new = path.with_extension("new");
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&new)?;
            // Nobody knows the name that it has until then.
            fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
            fs::rename(&new, path)?;
            Ok(listener)
        };
        let listener = listen().map_err(|source| StatusError::Listen {
            path: path.to_owned(),
            source,
        })?;

        Ok(Self {
            socket: Socket {
                listener,
                path: path.to_owned(),
            },
            changes,
        })
    }

    /// Answers with what `look` gives, for ever.
    pub async fn run<L, F>(self, look: L)
    where
        L: Fn() -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Document> + Send,
    {
        let mut clients = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.listener.accept() => accepted,
                Some(ended) = clients.join_next() => {
                    if let Err(error) = ended {
                        std::panic::resume_unwind(error.into_panic());
                    }
                    continue;
                }
            };
            match accepted {
                Ok((stream, _)) if clients.len() < CLIENTS => {
                    let client = Client::new(stream, self.changes.clone());
                    let look = look.clone();
                    clients.spawn(async move {
                        if let Err(error) = client.serve(look).await {
                            debug!(%error, "client of the status socket left");
                        }
                    });
                }
                Ok((stream, _)) => {
                    // There is room in a new socket for a line.
                    if let Ok(mut stream) = stream.into_std() {
                        drop(stream.write(&refusal("too many clients: try again")));
                    }
                }
                Err(error) => {
                    warn!(%error, "no client of the status socket is heard for now");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// One who asks.
struct Client {
    reader: BufReader<tokio::io::Take<OwnedReadHalf>>,
    writer: OwnedWriteHalf,
    changes: watch::Receiver<u64>,
}

impl Client {
    fn new(stream: UnixStream, changes: watch::Receiver<u64>) -> Self {
        let (reader, writer) = stream.into_split();

        Self {
            reader: BufReader::with_capacity(256, reader.take(REQUEST)),
            writer,
            changes,
        }
    }

    async fn serve<L, F>(mut self, look: L) -> io::Result<()>
    where
        L: Fn() -> F,
        F: Future<Output = Document>,
    {
        let question = match self.question().await? {
            Ok(question) => question,
            Err(error) => return self.write(&refusal(&error.to_string())).await,
        };

        loop {
            let began = Instant::now();
            self.changes.mark_unchanged();
            let document = look().await;
            self.write(&line(&document)?).await?;
            drop(document);
            if !question.watch || !self.wait_for_news().await {
                return Ok(());
            }
            sleep_until(began + PACE).await;
        }
    }

    async fn question(&mut self) -> io::Result<Result<Question, serde_json::Error>> {
        let mut line = String::new();
        timeout(PATIENCE, self.reader.read_line(&mut line)).await??;

        Ok(serde_json::from_str(&line))
    }

    /// Returns whether the client still listens, when there may be something
    /// new.
    async fn wait_for_news(&mut self) -> bool {
        tokio::select! {
            news = timeout(REFRESH, self.changes.changed()) => !matches!(news, Ok(Err(_))),
            // It has said all that it may say.
            _ = self.reader.fill_buf() => false,
        }
    }

    async fn write(&mut self, line: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.writer.write_all(line)).await?
    }
}

fn refusal(error: &str) -> Vec<u8> {
    let refused = Refused {
        format: Document::FORMAT,
        error,
    };
    line(&refused).unwrap_or_default()
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
