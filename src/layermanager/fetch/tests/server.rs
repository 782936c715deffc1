//! A server that does what a test wants, down to the bytes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) target: String,
    /// Names in lower case.
    pub(super) headers: HashMap<String, String>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte that is asked for.
    pub(super) fn offset(&self) -> usize {
        let range = self.header("range").unwrap_or("bytes=0-");
        let range = range.strip_prefix("bytes=").unwrap();
        range.strip_suffix('-').unwrap().parse().unwrap()
    }
}

/// What is sent, and what follows.
#[derive(Clone, Debug, Default)]
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
    /// The connection stays open until the client closes it.
    pub(super) hangs: bool,
}

impl Reply {
    pub(super) fn new(status: &str, headers: &[(&str, String)], body: &[u8]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Self {
            bytes: [head.as_bytes(), body].concat(),
            hangs: false,
        }
    }

    /// Without a body.
    pub(super) fn status(status: &str) -> Self {
        Self::new(status, &[("Content-Length", "0".into())], b"")
    }

    /// The file or the part of it that is asked for, as a good server sends it.
    pub(super) fn file(asked: &Asked, content: &[u8], etag: &str) -> Self {
        let offset = asked.offset();
        let same = asked.header("if-range").is_none_or(|known| known == etag);
        let length = |bytes: &[u8]| ("Content-Length", bytes.len().to_string());
        let etag = ("ETag", etag.to_owned());
        if offset == 0 || !same {
            return Self::new("200 OK", &[length(content), etag], content);
        }
        if offset >= content.len() {
            return Self::status("416 Range Not Satisfiable");
        }

        let (last, total) = (content.len() - 1, content.len());
        let range = ("Content-Range", format!("bytes {offset}-{last}/{total}"));
        let part = &content[offset..];
        Self::new("206 Partial Content", &[length(part), etag, range], part)
    }

    /// Ends the connection so many bytes before the end.
    pub(super) fn without_last(mut self, bytes: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - bytes);
        self
    }

    /// Does not end the connection.
    pub(super) fn hanging(mut self) -> Self {
        self.hangs = true;
        self
    }
}

/// Answers on a port of its own until it is dropped.
pub(super) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: JoinSet<()>,
}

type Script = dyn FnMut(&Asked) -> Reply + Send;

impl Server {
    pub(super) async fn start(script: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self::with(None, script).await
    }

    pub(super) async fn with(
        tls: Option<TlsAcceptor>,
        script: impl FnMut(&Asked) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut task = JoinSet::new();
        task.spawn(accept(
            listener,
            tls,
            Arc::new(Mutex::new(script)),
            Arc::clone(&asked),
        ));

        Self {
            address,
            scheme,
            asked,
            _task: task,
        }
    }

    /// Serves one file as it should be.
    pub(super) async fn of(content: &[u8]) -> Self {
        let content = content.to_vec();
        Self::start(move |asked| Reply::file(asked, &content, "\"a\"")).await
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}/package", self.scheme, self.address)
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The first byte of each request.
    pub(super) fn offsets(&self) -> Vec<usize> {
        self.asked().iter().map(Asked::offset).collect()
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    script: Arc<Mutex<Script>>,
    log: Arc<Mutex<Vec<Asked>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (script, log, tls) = (Arc::clone(&script), Arc::clone(&log), tls.clone());
        connections.spawn(async move {
            // Clients that go are what these tests are about.
            match tls {
                None => drop(serve(stream, script, log).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(serve(stream, script, log).await);
                    }
                }
            }
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Arc<Mutex<Script>>,
    log: Arc<Mutex<Vec<Asked>>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let Some(asked) = read(&mut stream).await? else {
        return Ok(());
    };
    log.lock().unwrap().push(asked.clone());
    let reply = {
        let mut script = script.lock().unwrap();
        script(&asked)
    };
    stream.write_all(&reply.bytes).await?;
    stream.flush().await?;
    if reply.hangs {
        stream.read_to_end(&mut Vec::new()).await?;
    }
    stream.shutdown().await
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> std::io::Result<Option<Asked>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }

    let target = lines[0].split(' ').nth(1).unwrap().to_owned();
    let headers = lines[1..].iter().map(|line| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    });
    Ok(Some(Asked {
        target,
        headers: headers.collect(),
    }))
}
