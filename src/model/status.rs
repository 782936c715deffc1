//! What runs, as CM is told.

use serde::{Deserialize, Serialize};

use super::{InstanceId, InstanceIdent};

/// Why an instance failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// Always 0 in release 7.2.3; kept for later codes.
    pub aos_code: i32,
    /// Exit code of the service's main process, 128 + n after signal n, 0 if
    /// it did not get so far.
    pub exit_code: i32,
    /// What failed and why, for a human.
    pub message: String,
}

impl ErrorInfo {
    /// Bytes of a message at the most. CM is told it once for each instance, and
    /// of all instances in one message.
    pub const LONGEST: usize = 2048;

    /// An error without an exit code. A message that is too long is cut.
    pub fn new(message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > Self::LONGEST {
            message.truncate(message.floor_char_boundary(Self::LONGEST));
            message.push('…');
        }

        Self {
            message,
            ..Self::default()
        }
    }
}

/// State of an instance on the wire. An error goes with `Failed`, and only
/// with it: CM judges by the error's presence alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It runs.
    Active,
    /// It does not, and why.
    Failed(ErrorInfo),
}

/// One instance of `RunInstancesStatus` or `UpdateInstancesStatus`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceStatus {
    /// Which instance.
    pub ident: InstanceIdent,
    /// Aos version of the service.
    pub version: u64,
    /// Its state.
    pub state: RunState,
}

/// A failure that may already be over when CM is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Whose it is. One that left the list and came back is another instance.
    pub instance: InstanceId,
    /// Which version of its service failed.
    pub version: u64,
    /// Counts the faults of this instance since SM started, from 1.
    pub number: u64,
    /// What happened.
    pub error: ErrorInfo,
}

/// The present state of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceReport {
    /// State of the desired version.
    pub desired: InstanceStatus,
    /// State of an older version that was kept, because the desired one could
    /// not be installed. CM is told it after the desired one.
    pub kept: Option<InstanceStatus>,
    /// The newest failure of the running instance, so that one that systemd
    /// healed at once is told too.
    pub last_fault: Option<Fault>,
}

/// What the launcher publishes after each event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunStatus {
    /// Number of the desired list: 0 for the stored one at start, then one more
    /// with each `RunInstances`.
    pub generation: u64,
    /// Whether the list has settled: each of its instances is active or failed.
    pub settled: bool,
    /// Exactly the instances of the list, in its order.
    pub instances: Vec<InstanceReport>,
}
