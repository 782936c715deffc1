//! How the session comes up, and up again.

use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use aos_servicemanager::cmclient::v3::proto;
use aos_servicemanager::cmclient::v3::proto::sm_incoming_messages::SmIncomingMessage as Incoming;
use aos_servicemanager::cmclient::v3::proto::sm_outgoing_messages::SmOutgoingMessage as Outgoing;
use aos_servicemanager::model::{Request, UnitConfigStatus};
use tokio::sync::mpsc;
use tonic::Status;
use tracing::subscriber::DefaultGuard;

use crate::fake_cm::{FakeCm, within};
use crate::pki::Authority;
use crate::sm::{Sm, node_info};

/// The log of this thread, line by line.
struct Log {
    lines: mpsc::Receiver<String>,
    _guard: DefaultGuard,
}

#[derive(Clone)]
struct Writer(mpsc::Sender<String>);

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line).into_owned();
        self.0.try_send(text).map_err(io::Error::other)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn capture() -> Self {
        let (sender, lines) = mpsc::channel(1000);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || Writer(sender.clone()))
            .finish();

        Self {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    async fn line_with(&mut self, text: &str) -> String {
        within(text, async {
            loop {
                let line = self.lines.recv().await.unwrap();
                if line.contains(text) {
                    return line;
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn cm_that_appears_later_is_found() {
    let authority = Authority::new();
    let cm = FakeCm::start(&authority);
    let address = cm.address();
    cm.stop().await;
    let mut log = Log::capture();
    let _sm = Sm::start(&authority, address);
    let line = log.line_with("trouble with CM").await;

    assert!(line.contains("Connection refused"), "{line}");

    let mut cm = FakeCm::start_at(&authority, address);

    cm.informed_session().await;
}

#[tokio::test]
async fn nothing_is_sent_before_the_node_knows_who_it_is() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let sm = Sm::start_unknown(authority.root(), cm.address());

    sm.identity.send_replace(Some(authority.issue("sm")));
    sm.node_info.send_replace(Some(node_info()));

    let Outgoing::NodeConfiguration(node) = cm.session().await.next().await else {
        panic!("another message");
    };
    assert_eq!(node.node_id, "node");
}

#[tokio::test]
async fn cm_of_another_authority_is_refused_with_a_reason_until_the_root_is_right() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let root = tempfile::NamedTempFile::new().unwrap();
    fs::copy(Authority::new().root(), root.path()).unwrap();
    let mut log = Log::capture();

    let sm = Sm::start_unknown(root.path().to_owned(), cm.address());
    sm.identity.send_replace(Some(authority.issue("sm")));
    sm.node_info.send_replace(Some(node_info()));
    let line = log.line_with("trouble with CM").await;

    assert!(
        line.contains("UnknownIssuer") || line.contains("BadSignature"),
        "{line}"
    );

    fs::copy(authority.root(), root.path()).unwrap();
    cm.informed_session().await;
}

#[tokio::test]
async fn same_trouble_is_logged_once() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let mut log = Log::capture();
    let _sm = Sm::start(&authority, cm.address());

    for _ in 0..2 {
        let session = cm.session().await;
        session
            .send_raw(Err(Status::permission_denied("connection for node exists")))
            .await;
    }

    let line = log.line_with("trouble with CM").await;

    assert!(line.contains("connection for node exists"), "{line}");
    assert!(log.lines.is_empty());
}

#[tokio::test]
async fn certificate_that_cm_does_not_trust_is_retried_with_the_next_one() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let sm = Sm::start_unknown(authority.root(), cm.address());
    let mut log = Log::capture();
    sm.node_info.send_replace(Some(node_info()));
    sm.identity.send_replace(Some(Authority::new().issue("sm")));
    log.line_with("trouble with CM").await;

    sm.identity.send_replace(Some(authority.issue("sm")));

    cm.informed_session().await;
}

#[tokio::test]
async fn new_certificate_makes_a_new_connection_after_what_cm_waits_for() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let mut sm = Sm::start(&authority, cm.address());
    let mut old = cm.informed_session().await;
    old.send(Incoming::GetUnitConfigStatus(
        proto::GetUnitConfigStatus::default(),
    ))
    .await;
    let Request::GetUnitConfigStatus(responder) = sm.request().await else {
        panic!("another request");
    };

    sm.identity.send_replace(Some(authority.issue("sm")));
    responder.send(UnitConfigStatus::default()).unwrap();

    assert!(matches!(old.next().await, Outgoing::UnitConfigStatus(_)));
    assert_eq!(old.next_or_end().await, None);
    let certificate = old.certificate.clone();
    drop(old);
    let new = cm.informed_session().await;
    assert_ne!(new.certificate, certificate);
}

#[tokio::test]
async fn new_certificate_does_not_wait_for_ever_for_a_cm_that_hangs() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let sm = Sm::start(&authority, cm.address());
    let old = cm.informed_session().await;

    sm.identity.send_replace(Some(authority.issue("sm")));

    let new = within("the new one", cm.informed_session()).await;
    assert_ne!(new.certificate, old.certificate);
}

#[tokio::test]
async fn tries_of_a_cm_that_always_ends_the_session_are_spaced() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let _sm = Sm::start(&authority, cm.address());
    drop(cm.session().await);
    let start = tokio::time::Instant::now();

    drop(cm.session().await);
    cm.session().await;

    assert!(
        start.elapsed() >= Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn cm_that_hangs_is_noticed() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let _sm = Sm::start(&authority, cm.address());
    let old = cm.informed_session().await;

    let frozen = cm.freeze().await;
    tokio::time::pause();
    for _ in 0..50 {
        tokio::time::advance(Duration::from_secs(10)).await;
    }
    tokio::time::resume();
    drop(frozen);

    cm.informed_session().await;
    drop(old);
}
