//! What the host is told once.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::config::{Config, SeccompPolicy, UserNamespaces};
use crate::launcher::systemd::SystemdSettings;

/// What the host takes from the configuration, and where things are.
#[derive(Clone, Debug)]
pub struct LinuxSettings {
    /// Runtimes and overrides of `/etc` are looked for here first.
    pub working_dir: PathBuf,
    /// State files of the instances.
    pub state_dir: PathBuf,
    /// Storages of the instances.
    pub storage_dir: PathBuf,
    /// Names of the directories in `/` that every service sees.
    pub host_binds: Vec<String>,
    /// Hosts that every instance knows, each as a line: for equality alone.
    pub hosts: Vec<String>,
    /// CPUs of the node.
    pub cpus: u64,
    /// Which system calls services may make.
    pub seccomp: SeccompPolicy,
    /// Which services get a user namespace.
    pub user_namespaces: UserNamespaces,
    /// Where runtimes are looked for besides, as in `PATH`.
    pub path: OsString,
    /// Runtime directories of the instances, and what else lives until boot.
    pub run_dir: PathBuf,
    /// Units and control groups.
    pub(crate) systemd: SystemdSettings,
}

impl LinuxSettings {
    /// For a node with so many CPUs, and the usual places.
    #[must_use]
    pub fn new(config: &Config, cpus: u64) -> Self {
        Self {
            working_dir: config.working_dir.clone(),
            state_dir: config.state_dir.clone(),
            storage_dir: config.storage_dir.clone(),
            host_binds: config.host_binds.clone(),
            hosts: config
                .hosts
                .iter()
                .map(|host| format!("{} {}", host.ip, host.hostname))
                .collect(),
            cpus,
            seccomp: config.seccomp.clone(),
            user_namespaces: config.user_namespaces.clone(),
            path: std::env::var_os("PATH").unwrap_or_default(),
            run_dir: "/run/aos".into(),
            systemd: SystemdSettings::default(),
        }
    }
}
