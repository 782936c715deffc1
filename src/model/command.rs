//! What CM asks, and what it is told.

use std::fmt;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use super::{
    Alert, DesiredState, InstanceIdent, NetworkParameters, NodeMonitoring, ServiceId, SubjectId,
};

/// Where the one answer to a request goes. It belongs to the connection that
/// the request came on: when that is gone, the answer is dropped.
pub type Responder<T> = oneshot::Sender<T>;

/// One request of CM, decoded.
#[derive(Debug)]
pub enum Request {
    /// Make the node run exactly this.
    RunInstances(DesiredState),
    /// Make the node have exactly these networks.
    UpdateNetworks(Vec<NetworkParameters>),
    /// Which unit configuration is in force?
    GetUnitConfigStatus(Responder<UnitConfigStatus>),
    /// Would this unit configuration be accepted?
    CheckUnitConfig(UnitConfigText, Responder<UnitConfigStatus>),
    /// Use this unit configuration.
    SetUnitConfig(UnitConfigText, Responder<UnitConfigStatus>),
    /// Replace all overridden environment variables.
    OverrideEnvVars(Vec<EnvVarsOverride>, Responder<Vec<EnvVarsStatus>>),
    /// Send a log.
    Logs(LogRequest),
    /// What is used now?
    GetNodeMonitoring(Responder<NodeMonitoring>),
    /// Whether CM reaches the cloud.
    CloudConnection(bool),
}

/// What SM tells CM by itself, besides the states of instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Kept until delivered.
    Alert(Alert),
    /// Kept as long as there is room.
    Monitoring(NodeMonitoring),
}

/// A unit configuration as CM sends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitConfigText {
    /// JSON.
    pub text: String,
    /// Version of the text.
    pub vendor_version: String,
}

/// Answer to the three unit configuration requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitConfigStatus {
    /// Version in force, or asked about; empty without a configuration.
    pub vendor_version: String,
    /// Empty: no error.
    pub error: String,
}

/// Selects instances. What is `None` matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceFilter {
    /// Of this service.
    pub service_id: Option<ServiceId>,
    /// For this subject.
    pub subject_id: Option<SubjectId>,
    /// With this index; -1 on the wire selects all.
    pub index: Option<i64>,
}

impl InstanceFilter {
    /// Whether it selects this instance.
    #[must_use]
    pub fn selects(&self, ident: &InstanceIdent) -> bool {
        fn all_or_same<T: PartialEq>(wanted: Option<&T>, own: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == own)
        }

        all_or_same(self.service_id.as_ref(), &ident.service_id)
            && all_or_same(self.subject_id.as_ref(), &ident.subject_id)
            && all_or_same(self.index.as_ref(), &ident.index)
    }
}

/// Overridden variables of the instances that a filter selects.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvVarsOverride {
    /// Whose.
    pub filter: InstanceFilter,
    /// Which.
    pub vars: Vec<EnvVar>,
}

/// One overridden variable. Its value may be a secret: it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvVar {
    /// CM's name for it.
    pub id: String,
    /// `NAME=value`.
    pub variable: String,
    /// When it ends; `None`: never.
    pub expires: Option<SystemTime>,
}

impl fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvVar")
            .field("id", &self.id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Outcome for the variables of one filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVarsStatus {
    /// The filter as it came.
    pub filter: InstanceFilter,
    /// One for each variable.
    pub vars: Vec<EnvVarStatus>,
}

/// Outcome for one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVarStatus {
    /// CM's name for it.
    pub id: String,
    /// Empty: no error.
    pub error: String,
}

/// A request for a log.
#[derive(Debug)]
pub struct LogRequest {
    /// CM's name for it.
    pub log_id: String,
    /// What to read.
    pub source: LogSource,
    /// From this moment; `None`: from the beginning.
    pub from: Option<SystemTime>,
    /// Up to this moment; `None`: up to now.
    pub till: Option<SystemTime>,
    /// Where the parts go, one after the other.
    pub parts: mpsc::Sender<LogPart>,
}

/// Which log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// The whole journal.
    System,
    /// What the selected instances wrote.
    Instances(InstanceFilter),
    /// The last crash of the selected instances.
    Crash(InstanceFilter),
}

/// One part of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPart {
    /// As in the request.
    pub log_id: String,
    /// How many parts there are; 0 with an error.
    pub part_count: u64,
    /// From 1; 0 with an error.
    pub part: u64,
    /// gzip.
    pub data: Vec<u8>,
    /// Empty: no error.
    pub error: String,
}
