//! The socket and those who come to it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::example::document;
use crate::status::{Document, StatusServer};

/// For what happens at once unless something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Ground {
    directory: TempDir,
    changes: watch::Sender<u64>,
    server: JoinHandle<()>,
    looks: Arc<AtomicU64>,
}

impl Ground {
    /// A server of documents whose `uptime` counts them.
    fn new() -> Self {
        Self::with(document())
    }

    fn with(document: Document) -> Self {
        let directory = TempDir::new().unwrap();
        let (changes, changed) = watch::channel(0);
        let server = StatusServer::bind(&directory.path().join("socket"), changed).unwrap();
        let looks = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&looks);
        let server = tokio::spawn(server.run(move || {
            let uptime = counter.fetch_add(1, Ordering::Relaxed);
            let document = Document {
                uptime,
                ..document.clone()
            };
            async move { document }
        }));

        Self {
            directory,
            changes,
            server,
            looks,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    async fn ask(&self, question: &str) -> BufReader<UnixStream> {
        let mut stream = UnixStream::connect(self.path()).await.unwrap();
        stream.write_all(question.as_bytes()).await.unwrap();
        BufReader::new(stream)
    }
}

async fn next(client: &mut BufReader<UnixStream>) -> Option<Value> {
    let mut line = String::new();
    let read = timeout(PATIENCE, client.read_line(&mut line)).await;
    let length = read.expect("an answer in time").unwrap_or(0);
    (length > 0).then(|| serde_json::from_str(&line).unwrap())
}

#[tokio::test]
async fn one_question_has_one_answer() {
    for question in ["{}\n", "{\"watch\":false}\n", "{\"later\":1}\n"] {
        let ground = Ground::new();
        let mut client = ground.ask(question).await;

        let answer = next(&mut client).await.unwrap();

        assert_eq!(answer["format"], 1, "{question}");
        assert_eq!(answer["instances"][1]["state"], "failed");
        assert_eq!(next(&mut client).await, None);
    }
}

#[tokio::test]
async fn one_who_watches_is_told_of_each_change_but_not_more_than_ten_a_second() {
    let ground = Ground::new();
    let mut client = ground.ask("{\"watch\":true}\n").await;
    let began = Instant::now();

    let mut told = Vec::new();
    for change in 0..5 {
        told.push(next(&mut client).await.unwrap()["uptime"].as_u64());
        for burst in 0..100 {
            ground.changes.send_replace(change * 100 + burst + 1);
        }
    }

    assert_eq!(told, [0, 1, 2, 3, 4].map(Some));
    assert!(began.elapsed() >= Duration::from_millis(400));
}

#[tokio::test(start_paused = true)]
async fn one_who_watches_hears_something_now_and_then() {
    let ground = Ground::new();
    let mut client = ground.ask("{\"watch\":true}\n").await;

    next(&mut client).await.unwrap();
    let quiet = Instant::now();
    next(&mut client).await.unwrap();

    assert!(quiet.elapsed() >= Duration::from_secs(9));
}

#[tokio::test]
async fn bad_questions_are_refused() {
    let long = format!("{}\n", "x".repeat(5000));
    for question in ["\n", "what?\n", "{\"watch\":3}\n", &long] {
        let ground = Ground::new();
        let mut stream = UnixStream::connect(ground.path()).await.unwrap();
        // The long one is not read to its end.
        drop(stream.write_all(question.as_bytes()).await);

        let answer = next(&mut BufReader::new(stream)).await.unwrap();

        assert_eq!(answer["format"], 1);
        assert!(answer["error"].is_string(), "{answer}");
        assert_eq!(ground.looks.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn one_too_many_is_told_so_and_has_its_turn_when_another_has_gone() {
    let ground = Ground::new();
    let mut watching = Vec::new();
    for _ in 0..8 {
        let mut client = ground.ask("{\"watch\":true}\n").await;
        next(&mut client).await.unwrap();
        watching.push(client);
    }

    let mut refused = ground.ask("").await;
    let answer = next(&mut refused).await.unwrap();
    watching.pop();

    assert!(answer["error"].as_str().unwrap().contains("too many"));
    let served = async {
        loop {
            let mut client = ground.ask("{}\n").await;
            let answer = next(&mut client).await;
            if answer.is_some_and(|answer| answer.get("error").is_none()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, served).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_who_says_nothing_is_left() {
    let ground = Ground::new();

    let mut client = ground.ask("{\"watch\":").await;

    assert_eq!(next(&mut client).await, None);
    assert_eq!(ground.looks.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn one_who_does_not_read_is_left_and_holds_up_nobody() {
    let big = Document {
        version: "x".repeat(4 << 20),
        ..document()
    };
    let ground = Ground::with(big);
    let mut idle = ground.ask("{\"watch\":true}\n").await;
    // The first piece is there: it is being written to.
    idle.fill_buf().await.unwrap();

    let mut other = ground.ask("{}\n").await;
    let answered = next(&mut other).await;

    assert!(answered.is_some());
    let mut rest = Vec::new();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    timeout(PATIENCE, idle.read_to_end(&mut rest))
        .await
        .expect("it is left in time")
        .unwrap();
    assert!(rest.len() < 4 << 20, "{} bytes were waited for", rest.len());
}

#[tokio::test]
async fn socket_is_for_its_owner_alone_and_replaces_a_dead_one() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("socket");
    let dead = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let half = std::os::unix::net::UnixListener::bind(path.with_extension("new")).unwrap();
    drop((dead, half));

    let (_changes, changed) = watch::channel(0);
    let server = StatusServer::bind(&path, changed).unwrap();

    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    UnixStream::connect(&path).await.unwrap();
    drop(server);
    assert!(!path.exists());
}

#[tokio::test]
async fn end_of_the_server_ends_its_clients_and_takes_the_socket_away() {
    let ground = Ground::new();
    let mut client = ground.ask("{\"watch\":true}\n").await;
    next(&mut client).await.unwrap();

    ground.server.abort();

    assert_eq!(next(&mut client).await, None);
    assert!(!ground.path().exists());
}

#[tokio::test]
async fn place_that_cannot_be_had_is_named() {
    let (_changes, changed) = watch::channel(0);

    let error = StatusServer::bind("/nowhere/socket".as_ref(), changed).unwrap_err();

    assert_eq!(error.to_string(), "cannot listen on /nowhere/socket");
}
