//! What the node has and uses.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::{InstanceId, InstanceIdent};

/// What the node tells about itself when it registers with CM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Whether the node is not the one that CM runs on.
    pub remote_node: bool,
    /// From the configuration.
    pub runner_features: Vec<String>,
    /// Logical CPUs.
    pub num_cpus: u64,
    /// Bytes.
    pub total_ram: u64,
    /// The configured partitions.
    pub partitions: Vec<Partition>,
}

/// A partition that is reported to CM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    /// Name from the configuration.
    pub name: String,
    /// What it is used for.
    pub types: Vec<String>,
    /// Bytes.
    pub total_size: u64,
}

/// One sample of the node and its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeMonitoring {
    /// When it was taken.
    pub timestamp: SystemTime,
    /// The node as a whole.
    pub node: Usage,
    /// Each running instance.
    pub instances: Vec<InstanceUsage>,
}

/// Use of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceUsage {
    /// Which instance.
    pub ident: InstanceIdent,
    /// What it uses.
    pub usage: Usage,
}

/// Bytes that went to and from public networks on one day (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Towards the node or instance.
    pub received: u64,
    /// From the node or instance.
    pub sent: u64,
}

/// The traffic of the current day (UTC).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The host's own input and output.
    pub node: Flow,
    /// Each attached instance.
    pub instances: BTreeMap<InstanceId, Flow>,
}

/// What is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub ram: u64,
    /// Percent of the whole node.
    pub cpu: u64,
    /// For each partition.
    pub disks: Vec<PartitionUsage>,
    /// Bytes of the current day.
    pub in_traffic: u64,
    /// Bytes of the current day.
    pub out_traffic: u64,
}

/// Use of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionUsage {
    /// Name from the configuration.
    pub name: String,
    /// Bytes.
    pub used_size: u64,
}
