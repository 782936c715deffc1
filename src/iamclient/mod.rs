//! The identity and access manager: who the node is, SM's certificate, and the
//! secrets of instances.
//!
//! [`Iam`] is the handle, [`IamTask`] keeps what IAM told up to date: it asks
//! again every minute and reads the certificate files again, so that a renewed
//! certificate needs no restart. What IAM told last is in the database: SM
//! starts without IAM, and never ends because of it.
//!
//! Node name and certificate come from the public server (TLS), secrets from
//! the protected one (mutual TLS with that certificate).

mod certificate;
mod handle;
mod store;
mod task;

use std::path::PathBuf;
use std::time::Duration;

use crate::peer::{PeerError, Refusal};
use crate::storage::StorageError;

pub use certificate::CertificateError;
pub use handle::Iam;
pub use task::IamTask;

#[expect(clippy::allow_attributes, clippy::too_many_lines, reason = "generated")]
pub mod v4 {
    //! Generated from `proto/iamanager/v4`.

    tonic::include_proto!("iamanager.v4");
}

/// Where IAM is, and what it is asked.
#[derive(Clone, Debug)]
pub struct IamSettings {
    /// Server for node name and certificates, `host:port`.
    pub public_url: String,
    /// Server for secrets, `host:port`.
    pub protected_url: String,
    /// Root certificate that IAM's own is verified with, PEM.
    pub ca_cert: PathBuf,
    /// Type of SM's certificate.
    pub cert_storage: String,
}

/// Why IAM did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum IamError {
    /// No connection.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// IAM refused, or the connection broke.
    #[error("IAM call {call} failed")]
    Call {
        /// Name of the call.
        call: &'static str,
        /// What IAM said.
        #[source]
        source: Refusal,
    },
    /// IAM took too long.
    #[error("IAM call {call} took longer than {} s", limit.as_secs())]
    Timeout {
        /// Name of the call.
        call: &'static str,
        /// How long it may take.
        limit: Duration,
    },
    /// Mutual TLS needs a certificate.
    #[error("IAM call {call} is impossible: SM's certificate is not known yet")]
    NoIdentity {
        /// Name of the call.
        call: &'static str,
    },
    /// IAM has no such number.
    #[error("IAM takes no instance with index {index}")]
    Index {
        /// The index of the instance.
        index: i64,
    },
    /// What IAM told cannot be kept or read.
    #[error("cannot keep what IAM told")]
    Storage(#[from] StorageError),
}

impl IamError {
    /// Whether IAM could not be asked, or did not answer.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Peer(_) | Self::Timeout { .. } | Self::NoIdentity { .. } => true,
            Self::Call { source, .. } => source.is_transport(),
            Self::Index { .. } | Self::Storage(_) => false,
        }
    }
}
