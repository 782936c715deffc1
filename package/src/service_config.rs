//! What a service asks of the service manager.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `application/vnd.aos.service.config.v1+json`. Every field is optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceConfig {
    /// When it was made. For humans.
    pub created: Option<String>,
    /// Who made it. For humans.
    pub author: Option<String>,
    /// Host name of each instance.
    pub hostname: Option<String>,
    /// Kernel parameters of the instance's namespaces.
    pub sysctl: Option<BTreeMap<String, String>>,
    /// How long the service may run without the cloud. A duration text.
    pub offline_ttl: Option<serde_json::Value>,
    /// Limits.
    pub quotas: Quotas,
    /// Ports of other services that this one uses; CM makes rules of them.
    pub allowed_connections: Option<BTreeMap<String, serde_json::Value>>,
    /// Host devices by their names in the unit configuration.
    pub devices: Option<Vec<ServiceDevice>>,
    /// Names of resources of the unit configuration.
    pub resources: Option<Vec<String>>,
    /// What the instance may do at other functional servers.
    pub permissions: Option<BTreeMap<String, BTreeMap<String, String>>>,
    /// When to alert about use.
    pub alert_rules: Option<serde_json::Value>,
    /// How systemd restarts it.
    pub run_parameters: RunParameters,
}

/// Limits of an instance. Absent: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Quotas {
    /// Percent of the whole node.
    pub cpu_limit: Option<u64>,
    /// Bytes.
    pub ram_limit: Option<u64>,
    /// Processes.
    pub pids_limit: Option<u64>,
    /// Open files.
    pub no_file_limit: Option<u64>,
    /// Bytes of `/tmp`.
    pub tmp_limit: Option<u64>,
    /// Bytes of the state file.
    pub state_limit: Option<u64>,
    /// Bytes of the storage directory.
    pub storage_limit: Option<u64>,
    /// kbit/s.
    pub upload_speed: Option<u64>,
    /// kbit/s.
    pub download_speed: Option<u64>,
    /// Bytes per day.
    pub upload_limit: Option<u64>,
    /// Bytes per day.
    pub download_limit: Option<u64>,
}

/// A device that the service uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceDevice {
    /// Name in the unit configuration.
    pub name: String,
    /// `r`, `w`, `rw`, …
    pub permissions: String,
}

/// How systemd restarts an instance. Values are duration texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunParameters {
    /// Window in which starts are counted.
    pub start_interval: Option<serde_json::Value>,
    /// Starts allowed in the window.
    pub start_burst: Option<u64>,
    /// Wait before a restart.
    pub restart_interval: Option<serde_json::Value>,
}
