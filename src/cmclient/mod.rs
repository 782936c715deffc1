//! The session with CM: one stream, one reader, one writer.
//!
//! [`CmClient`] keeps the stream up for as long as the daemon runs. A request
//! is passed on as soon as it is read, and nothing is awaited for it; what goes
//! back is chosen anew for each message:
//!
//! 1. the state of node and instances, as `outbox` decides,
//! 2. answers, in the order of their requests within each message type,
//! 3. reports,
//! 4. parts of logs.
//!
//! Answers and log parts belong to the connection of their request and go with
//! it. State and reports wait for the next one.

mod answers;
mod connection;
mod outbox;
mod session;
mod size;
pub mod v3;

use std::path::PathBuf;

use tokio::sync::{mpsc, watch};

use crate::model::{NodeFacts, NodeInfo, Report, RunStatus, TlsIdentity};
use crate::peer::{PeerError, Refusal};

pub use session::CmClient;

/// Where CM is.
#[derive(Clone, Debug)]
pub struct CmSettings {
    /// `host:port`.
    pub url: String,
    /// Root certificate that CM's own is verified with, PEM.
    pub ca_cert: PathBuf,
}

/// What the session tells CM.
#[derive(Debug)]
pub struct CmInputs {
    /// Present state of the instances.
    pub status: watch::Receiver<RunStatus>,
    /// Alerts and samples. The session ends when it is closed.
    pub reports: mpsc::Receiver<Report>,
    /// SM's certificate; a new one makes a new connection.
    pub identity: watch::Receiver<Option<TlsIdentity>>,
    /// Who the node is; no connection before that is known.
    pub node_info: watch::Receiver<Option<NodeInfo>>,
    /// What the node has.
    pub facts: NodeFacts,
}

/// Why there is no session with CM.
#[derive(Debug, thiserror::Error)]
enum CmError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("CM ended the session")]
    Ended,
    #[error("CM broke the session")]
    Broken(#[source] Refusal),
}
