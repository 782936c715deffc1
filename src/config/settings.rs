//! The configuration as the components see it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::user_namespaces::UserNamespaces;

/// All settings. Each has a value, and each path is absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Root certificate that the peers' certificates are checked against, PEM.
    pub ca_cert: PathBuf,
    /// Type of the certificate that IAM is asked for.
    pub cert_storage: String,
    /// `host:port` of CM.
    pub cm_server_url: String,
    /// `host:port` of IAM's server for everybody.
    pub iam_public_server_url: String,
    /// `host:port` of IAM's server for mutual TLS.
    pub iam_protected_server_url: String,
    /// Directory of the database and of all defaults below.
    pub working_dir: PathBuf,
    /// Storages of the instances.
    pub storage_dir: PathBuf,
    /// State files of the instances.
    pub state_dir: PathBuf,
    /// Installed services.
    pub services_dir: PathBuf,
    /// Percent of its partition that `services_dir` may take; 0: no limit.
    pub services_part_limit: u8,
    /// Installed layers.
    pub layers_dir: PathBuf,
    /// Percent of its partition that `layers_dir` may take; 0: no limit.
    pub layers_part_limit: u8,
    /// Packages while they are fetched.
    pub download_dir: PathBuf,
    /// Packages while they are unpacked.
    pub extract_dir: PathBuf,
    /// Told to CM: the node is not the one that CM runs on.
    pub remote_node: bool,
    /// Told to CM.
    pub runner_features: Vec<String>,
    /// The stored unit configuration.
    pub unit_config_file: PathBuf,
    /// How long a service is kept that is no longer desired.
    pub service_ttl: Duration,
    /// How long a layer is kept that no service needs.
    pub layer_ttl: Duration,
    /// What becomes of the old version of a service while a new one is installed.
    pub update_policy: UpdatePolicy,
    /// Whether instances reach nothing of the host itself but its name server.
    pub restrict_host_access: bool,
    /// Whether a clean stop of SM stops all instances, until its next start.
    pub stop_instances_on_exit: bool,
    /// Accepted for compatibility; release 7.2.3 does not use it either.
    pub service_health_check_timeout: Duration,
    /// What is measured, and when it is alerted.
    pub monitoring: Monitoring,
    /// Size of the logs that CM asks for.
    pub logging: Logging,
    /// Which journal entries are alerted.
    pub journal_alerts: JournalAlerts,
    /// Which system calls services may make.
    pub seccomp: SeccompPolicy,
    /// Which services get a user namespace of their own.
    pub user_namespaces: UserNamespaces,
    /// Names of the directories in `/` that every service sees.
    pub host_binds: Vec<String>,
    /// Added to each instance's `/etc/hosts`.
    pub hosts: Vec<HostEntry>,
    /// Accepted for compatibility: migrations are part of the program.
    pub migration: Migration,
}

/// Which system calls services may make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SeccompPolicy {
    /// Those of the built-in profile.
    #[default]
    BuiltIn,
    /// `off`: all. For kernels and runtimes that cannot filter them.
    Off,
    /// Those of a profile in a file.
    File(PathBuf),
}

/// What becomes of the old version of a service while a new one is installed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdatePolicy {
    /// `keepOld`: it runs until the new one is there, and on if that fails. Needs
    /// room for both.
    #[default]
    KeepOld,
    /// `replace`: its instances stop and its content may go first, as in release
    /// 7.2.3. If the new one fails, nothing runs.
    Replace,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitoring {
    /// CM is told so often.
    pub send_period: Duration,
    /// The node is measured so often.
    pub poll_period: Duration,
    /// Partitions that are measured and told to CM.
    pub partitions: Vec<PartitionConfig>,
    /// `xentop` for Xen instances, else empty.
    pub source: String,
    /// When to alert about the node.
    pub alert_rules: AlertRules,
}

/// A partition, told by a path on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionConfig {
    /// Name that CM knows it by.
    pub name: String,
    /// What it is used for.
    pub types: Vec<String>,
    /// Any path on it.
    pub path: PathBuf,
}

/// When to alert about use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertRules {
    /// Bytes.
    pub ram: Option<RuleConfig>,
    /// Percent of the whole node.
    pub cpu: Option<RuleConfig>,
    /// Bytes of each partition.
    pub used_disks: Vec<DiskRule>,
    /// Bytes per day.
    pub in_traffic: Option<RuleConfig>,
    /// Bytes per day.
    pub out_traffic: Option<RuleConfig>,
}

/// The rule of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskRule {
    /// Name of the partition.
    pub name: String,
    /// Its rule.
    pub rule: RuleConfig,
}

/// Alert when a value has been high for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleConfig {
    /// From reaching `max_threshold` to the alert.
    pub min_timeout: Duration,
    /// Falling below it arms the rule again.
    pub min_threshold: u64,
    /// Reaching it starts the wait.
    pub max_threshold: u64,
}

/// Size of the logs that CM asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logging {
    /// Bytes of one part before it is compressed.
    pub max_part_size: u64,
    /// Parts of one log.
    pub max_part_count: u64,
}

/// Which journal entries are alerted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalAlerts {
    /// Regular expressions, each valid. A system entry that matches one is no
    /// alert.
    pub filter: Vec<String>,
    /// Entries about units are alerted up to this priority, 0 to 7.
    pub service_alert_priority: u8,
    /// Other entries are alerted up to this priority, 0 to 7.
    pub system_alert_priority: u8,
}

/// One line for `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// Its address.
    pub ip: IpAddr,
    /// Its name.
    pub hostname: String,
}

/// Where release 7.2.3 looked for migrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Of the package.
    pub migration_path: PathBuf,
    /// Of the package and earlier packages.
    pub merged_migration_path: PathBuf,
}
