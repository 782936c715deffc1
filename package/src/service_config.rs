//! What a service asks of the service manager.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::image_config::null_is_default;

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
    #[serde(deserialize_with = "null_is_default")]
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
    #[serde(deserialize_with = "null_is_default")]
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_optional() {
        for text in [
            "{}",
            r#"{"quotas": null, "runParameters": null, "devices": null}"#,
        ] {
            let config: ServiceConfig = serde_json::from_str(text).unwrap();

            assert_eq!(config, ServiceConfig::default());
        }
    }

    #[test]
    fn fields_are_read_by_the_names_that_providers_write() {
        let config: ServiceConfig = serde_json::from_value(json!({
            "created": "2024-01-01T00:00:00Z",
            "author": "someone",
            "hostname": "host",
            "runner": "runc",
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},
            "offlineTtl": "PT1H",
            "quotas": {
                "cpuLimit": 50, "ramLimit": 1, "pidsLimit": 2, "noFileLimit": 3, "tmpLimit": 4,
                "stateLimit": 5, "storageLimit": 6, "uploadSpeed": 7, "downloadSpeed": 8,
                "uploadLimit": 9, "downloadLimit": 10,
            },
            "allowedConnections": {"other/80/tcp": {}},
            "devices": [{"name": "camera", "permissions": "rw"}],
            "resources": ["bluetooth"],
            "permissions": {"vis": {"*": "rw"}},
            "alertRules": {"cpu": {"minTimeout": "1m", "minThreshold": 1, "maxThreshold": 2}},
            "runParameters": {"startInterval": "1s", "startBurst": 3, "restartInterval": 5},
        }))
        .unwrap();

        assert_eq!(config.quotas.cpu_limit, Some(50));
        assert_eq!(config.quotas.download_limit, Some(10));
        assert_eq!(config.quotas.no_file_limit, Some(3));
        assert_eq!(config.devices.unwrap()[0].permissions, "rw");
        assert_eq!(config.permissions.unwrap()["vis"]["*"], "rw");
        assert_eq!(config.run_parameters.start_burst, Some(3));
        assert_eq!(config.offline_ttl, Some(json!("PT1H")));
    }

    #[test]
    fn wrong_types_are_refused() {
        for text in [
            "[[]]",
            r#"{"quotas": {"ramLimit": -1}}"#,
            r#"{"quotas": {"ramLimit": "1"}}"#,
            r#"{"devices": {}}"#,
            r#"{"sysctl": {"a": 1}}"#,
        ] {
            assert!(
                serde_json::from_str::<ServiceConfig>(text).is_err(),
                "{text}"
            );
        }
    }
}
