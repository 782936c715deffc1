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
    /// How its health is found out. None: it is healthy as long as it runs.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub probes: Vec<Probe>,
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

/// A question that tells whether an instance is well. Exactly one of `exec`, `tcp`
/// and `http` says which. Durations are duration texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// Runs a command in the container.
    pub exec: Option<ExecProbe>,
    /// Connects to a port of the instance.
    pub tcp: Option<TcpProbe>,
    /// Fetches a page from the instance.
    pub http: Option<HttpProbe>,
    /// Between the end of one try and the next.
    pub interval: Option<serde_json::Value>,
    /// A try takes no longer.
    pub timeout: Option<serde_json::Value>,
    /// Tries in a row that fail until the instance has failed.
    pub threshold: Option<u64>,
    /// Tries in a row that succeed until the instance is well.
    pub success_threshold: Option<u64>,
    /// Before the first try.
    pub initial_delay: Option<serde_json::Value>,
    /// Keys that mean nothing.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

/// A command that succeeds when the instance is well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecProbe {
    /// Program and arguments, as the container has them.
    pub command: Vec<String>,
    /// Keys that mean nothing.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

/// A port that takes connections when the instance is well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpProbe {
    /// Its number.
    pub port: u64,
    /// Keys that mean nothing.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

/// A page that is answered with 200 to 399 when the instance is well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpProbe {
    /// Number of the port.
    pub port: u64,
    /// Path and query; `/` if there is none.
    pub path: Option<String>,
    /// `http`, if anything.
    pub scheme: Option<String>,
    /// Keys that mean nothing.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_optional() {
        for text in [
            "{}",
            r#"{"quotas": null, "runParameters": null, "devices": null, "probes": null}"#,
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
    fn probes_are_read_with_the_keys_that_mean_nothing() {
        let config: ServiceConfig = serde_json::from_value(json!({
            "probes": [
                {"exec": {"command": ["/bin/true"]}, "interval": "1s", "treshold": 2},
                {"tcp": {"port": 80, "host": "x"}, "threshold": 5, "successThreshold": 2},
                {"http": {"port": 8080, "path": "/live"}, "timeout": 1, "initialDelay": "PT1S"},
            ],
        }))
        .unwrap();

        let [exec, tcp, http] = &config.probes[..] else {
            panic!("{:?}", config.probes)
        };
        assert_eq!(exec.exec.as_ref().unwrap().command, ["/bin/true"]);
        assert_eq!(exec.unknown.keys().collect::<Vec<_>>(), ["treshold"]);
        assert_eq!(tcp.tcp.as_ref().unwrap().unknown["host"], "x");
        assert_eq!((tcp.threshold, tcp.success_threshold), (Some(5), Some(2)));
        assert_eq!(http.http.as_ref().unwrap().path.as_deref(), Some("/live"));
        assert_eq!(http.initial_delay, Some(json!("PT1S")));
    }

    #[test]
    fn wrong_types_are_refused() {
        for text in [
            "[[]]",
            r#"{"quotas": {"ramLimit": -1}}"#,
            r#"{"quotas": {"ramLimit": "1"}}"#,
            r#"{"devices": {}}"#,
            r#"{"sysctl": {"a": 1}}"#,
            r#"{"probes": {}}"#,
            r#"{"probes": [{"tcp": {"port": "80"}}]}"#,
            r#"{"probes": [{"exec": {"command": "true"}}]}"#,
        ] {
            assert!(
                serde_json::from_str::<ServiceConfig>(text).is_err(),
                "{text}"
            );
        }
    }
}
