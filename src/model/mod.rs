//! Plain data that two or more components share. No I/O, no clocks.
//!
//! The types say what CM and the device mean, not how it looks on the wire:
//! `cmclient` translates. Identifiers have types of their own, so that a
//! service id is never taken for a subject id.

mod alert;
mod backoff;
mod chain;
mod command;
mod damage;
mod desired;
mod identity;
mod ids;
mod monitoring;
mod network;
mod overview;
mod resources;
mod service;
mod status;

pub use alert::{Alert, AlertKind, ResourceErrors};
pub use backoff::Backoff;
pub use chain::Chain;
pub use command::{
    EnvVar, EnvVarStatus, EnvVarsOverride, EnvVarsStatus, InstanceFilter, LogPart, LogRequest,
    LogSource, Report, Request, Responder, UnitConfigStatus, UnitConfigText,
};
pub use damage::{ContentItem, Damage, InUse};
pub use desired::{DesiredState, InstanceInfo};
pub use identity::{NodeInfo, TlsIdentity};
pub use ids::{InstanceId, InstanceIdent, NetworkId, ProviderId, ServiceId, ServiceKey, SubjectId};
pub use monitoring::{
    Flow, InstanceUsage, NodeFacts, NodeMonitoring, Partition, PartitionUsage, Traffic, Usage,
};
pub use network::{FirewallRule, NetworkParameters};
pub use overview::{
    ContentOverview, InstanceOverview, InstanceState, LauncherOverview, NetworkOverview, PeerState,
};
pub use resources::{Device, HostDevice, Lack, NodeResource, Provision, ResourceMount};
pub use service::{LayerInfo, ServiceContent, ServiceInfo, Version};
pub use status::{ErrorInfo, Fault, InstanceReport, InstanceStatus, RunState, RunStatus};
