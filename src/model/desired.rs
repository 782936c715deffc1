//! The desired state of the node.

use serde::{Deserialize, Serialize};

use super::{InstanceIdent, LayerInfo, NetworkParameters, ServiceInfo};

/// All that `RunInstances` asks for. It is the whole state: what is not in it
/// is no longer desired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DesiredState {
    /// Services to have installed.
    pub services: Vec<ServiceInfo>,
    /// Layers to have installed.
    pub layers: Vec<LayerInfo>,
    /// Instances to run.
    pub instances: Vec<InstanceInfo>,
    /// Restart every instance, also the equal ones.
    pub force_restart: bool,
}

/// One desired instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceInfo {
    /// Which one.
    pub ident: InstanceIdent,
    /// User that its processes run as.
    pub uid: u32,
    /// Higher starts first.
    pub priority: u64,
    /// Below `storageDir`; empty: none.
    pub storage_path: String,
    /// Below `stateDir`; empty: none.
    pub state_path: String,
    /// Its place in the network.
    pub network: NetworkParameters,
}
