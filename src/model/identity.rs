//! Who the node is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The node as IAM names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Unique in the unit.
    pub node_id: String,
    /// Kind of the node.
    pub node_type: String,
}

/// Certificate chain and key for mutual TLS, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// Leaf first.
    pub certificates: Vec<u8>,
    /// Private key of the leaf.
    pub key: Vec<u8>,
}

impl fmt::Debug for TlsIdentity {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field(
                "certificates",
                &format_args!("{} bytes", self.certificates.len()),
            )
            .finish_non_exhaustive()
    }
}
