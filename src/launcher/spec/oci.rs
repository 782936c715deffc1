//! The part of the OCI runtime configuration that is written.
//!
//! Names and meaning are those of the OCI runtime specification; what is
//! `None` or empty is left out and the runtime's default holds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::seccomp::Seccomp;

/// `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RuntimeSpec {
    /// Version of the specification.
    pub oci_version: &'static str,
    /// The main process.
    pub process: Process,
    /// Its root.
    pub root: Root,
    /// Host name inside.
    pub hostname: String,
    /// In the order in which they are mounted.
    pub mounts: Vec<Mount>,
    /// What only Linux has.
    pub linux: Linux,
}

/// The main process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Process {
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Who it is.
    pub user: User,
    /// Command line.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Absolute.
    pub cwd: String,
    /// What root inside may do.
    pub capabilities: Capabilities,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Whether setuid bits and file capabilities are without effect.
    pub no_new_privileges: bool,
}

/// User and groups of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Other groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_gids: Vec<u32>,
}

/// Capability sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Capabilities {
    /// The most that any process can get.
    pub bounding: Vec<&'static str>,
    /// In force.
    pub effective: Vec<&'static str>,
    /// What may be put in force.
    pub permitted: Vec<&'static str>,
}

/// One limit of `setrlimit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rlimit {
    /// `RLIMIT_…`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The most that the process can ask for.
    pub hard: u64,
    /// In force.
    pub soft: u64,
}

/// The root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Root {
    /// Relative to the bundle.
    pub path: &'static str,
    /// Whether it cannot be written.
    pub readonly: bool,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mount {
    /// Where, inside.
    pub destination: String,
    /// Filesystem type, or `bind`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// What.
    pub source: PathBuf,
    /// As of mount(8).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Mount {
    /// Whether something of the host is shown.
    pub(crate) fn is_bind(&self) -> bool {
        let binds = |option: &String| option == "bind" || option == "rbind";
        self.options.iter().any(binds)
    }

    /// Adds options, which win over those before.
    pub(crate) fn add_options(&mut self, options: &[&str]) {
        for &option in options {
            if !self.options.iter().any(|known| known == option) {
                self.options.push(option.to_owned());
            }
        }
    }
}

/// What only Linux has.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Linux {
    /// Kernel parameters of the namespaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctl: BTreeMap<String, String>,
    /// Relative to the root of each cgroup hierarchy.
    pub cgroups_path: String,
    /// Device nodes besides those that every container has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceNode>,
    /// Limits of the cgroup.
    pub resources: Resources,
    /// Users of a user namespace, by who they are on the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<IdMapping>,
    /// Its groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<IdMapping>,
    /// Own namespaces, or ones to join.
    pub namespaces: Vec<Namespace>,
    /// Hidden.
    pub masked_paths: Vec<&'static str>,
    /// Not writable.
    pub readonly_paths: Vec<&'static str>,
    /// System calls that may be made; all, if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
}

/// Limits of the cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Resources {
    /// Device access rules, in order.
    pub devices: Vec<DeviceRule>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Processor time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Number of processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<Pids>,
}

/// A device access rule. Without numbers it is for all devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DeviceRule {
    /// Whether access is given or taken.
    pub allow: bool,
    /// Character or block.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<DeviceKind>,
    /// Of the driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major: Option<u64>,
    /// Of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor: Option<u64>,
    /// Any of `r`, `w`, `m`.
    pub access: &'static str,
}

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum DeviceKind {
    /// Read and written byte by byte.
    #[serde(rename = "c")]
    Character,
    /// Read and written in blocks.
    #[serde(rename = "b")]
    Block,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceNode {
    /// Where, inside.
    pub path: PathBuf,
    /// Character or block.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
    /// Of the driver.
    pub major: u64,
    /// Of the device.
    pub minor: u64,
    /// Its permissions, as on the host.
    pub file_mode: u32,
    /// Its owner, as on the host.
    pub uid: u32,
    /// Its group, as on the host.
    pub gid: u32,
}

/// Memory limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// Bytes.
    pub limit: i64,
    /// Bytes of memory and swap together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<i64>,
}

/// Processor time limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cpu {
    /// Microseconds of processor time in a period, of all processors together.
    pub quota: i64,
    /// Microseconds.
    pub period: u64,
}

/// Process number limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Pids {
    /// Most processes at a time.
    pub limit: i64,
}

/// Who ids inside are on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct IdMapping {
    /// The first of them, inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// The first of them, on the host.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many there are.
    pub size: u32,
}

/// A namespace: a new one, or the one at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Namespace {
    /// Kind of namespace.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The one to join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}
