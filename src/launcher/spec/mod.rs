//! The configuration that the OCI runtime gets. Pure: values in, values out.
//!
//! It starts from runc's default specification. The root is always read-only,
//! and the service gets the few capabilities of that default in its bounding
//! set; a service that does not run as root has none in force.

mod devices;
mod limits;
mod mounts;
mod oci;
mod seccomp;
mod sysctl;
mod user_namespace;

#[cfg(test)]
mod lent_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod user_namespace_tests;

use std::path::{Path, PathBuf};

use aos_package::{ImageConfig, ServiceConfig};

use super::Blueprint;
use super::env::{EnvError, aos_variables, environment};
use limits::{cgroup_limits, missing, process_limits, set};
use oci::{Capabilities, Linux, Namespace, Process, Root, User};
use user_namespace::{UserNamespaceError, enter, mappings};

pub(crate) use devices::{GrantedDevice, access};
pub(crate) use limits::Controllers;
pub(crate) use mounts::{LentMount, MountPoint, MountPointKind, Sources, mount_points};
pub(crate) use oci::{DeviceKind, DeviceNode, RuntimeSpec};
pub(crate) use seccomp::{Seccomp, built_in};
pub(crate) use sysctl::SysctlError;
pub(crate) use user_namespace::MAPPED_ROOT;

const CAPABILITIES: [&str; 3] = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

const MASKED_PATHS: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

const READONLY_PATHS: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The service cannot be run as it is.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SpecError {
    /// Not made for Linux.
    #[error("unsupported OS in image config {0}")]
    Os(String),
    /// Nothing to run.
    #[error("image config names no command: entrypoint and cmd are empty")]
    NoCommand,
    /// What is asked to do with a device is none of what can be done.
    #[error("device {device}: permissions {permissions:?} are not any of r, w, m")]
    Permissions {
        /// Its name.
        device: String,
        /// As asked.
        permissions: String,
    },
    /// A kernel parameter that a service may not set.
    #[error("kernel parameter {name}")]
    Sysctl {
        name: String,
        #[source]
        source: SysctlError,
    },
    /// A limit that would be none.
    #[error("{quota} cannot be kept: this kernel has no {lacks}")]
    Limit {
        quota: &'static str,
        lacks: &'static str,
    },
    /// Its users cannot be kept apart from those of the host.
    #[error("it cannot have a user namespace")]
    UserNamespace(#[source] UserNamespaceError),
    /// The image's environment cannot be set.
    #[error("cannot set the environment of the image config")]
    Environment(#[source] EnvError),
}

/// What [`runtime_spec`] needs besides the blueprint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    /// From IAM, for a service with permissions.
    pub secret: Option<&'a str>,
    /// The instance's network namespace.
    pub netns: &'a Path,
    /// The container's cgroup, from the root of each hierarchy.
    pub cgroups_path: &'a str,
    /// What is shown of the host.
    pub sources: &'a Sources,
    /// Devices of the host.
    pub devices: &'a [GrantedDevice],
    /// CPUs of the node.
    pub cpus: u64,
    /// What the kernel can limit.
    pub controllers: Controllers,
    /// System calls that the service may make.
    pub seccomp: Option<&'a Seccomp>,
    /// Whether its users are others than the host's.
    pub user_namespace: bool,
}

/// Whether the service can be run at all, before anything is taken for it.
pub(crate) fn check(image: &ImageConfig, config: &ServiceConfig) -> Result<(), SpecError> {
    if !image.os.eq_ignore_ascii_case("linux") {
        return Err(SpecError::Os(image.os.clone()));
    }
    if image.config.entrypoint.is_empty() && image.config.cmd.is_empty() {
        return Err(SpecError::NoCommand);
    }
    devices::check(config)?;
    environment(&[&image.config.env]).map_err(SpecError::Environment)?;
    for (name, value) in config.sysctl.iter().flatten() {
        sysctl::check(name, value).map_err(|source| SpecError::Sysctl {
            name: name.clone(),
            source,
        })?;
    }

    Ok(())
}

/// The bytes of `/tmp`, if there is to be one.
#[must_use]
pub(crate) fn tmp_limit(config: &ServiceConfig) -> Option<u64> {
    set(config.quotas.tmp_limit)
}

/// The configuration for one instance.
pub(crate) fn runtime_spec(
    blueprint: &Blueprint,
    around: Surroundings<'_>,
) -> Result<RuntimeSpec, SpecError> {
    let image = &blueprint.service.image;
    let config = &blueprint.service.config;
    check(image, config)?;
    if let Some((quota, lacks)) = missing(&config.quotas, around.controllers) {
        return Err(SpecError::Limit { quota, lacks });
    }
    let (nodes, rules) = devices::nodes(around.devices);
    let mut resources = cgroup_limits(&config.quotas, around.cpus, around.controllers);
    resources.devices.extend(rules);

    let mut spec = RuntimeSpec {
        oci_version: "1.0.2",
        process: process(blueprint, around.secret)?,
        root: Root {
            path: "rootfs",
            readonly: true,
        },
        hostname: config
            .hostname
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| blueprint.id.to_string()),
        mounts: mounts::mounts(around.sources, tmp_limit(config)),
        linux: Linux {
            sysctl: config.sysctl.clone().unwrap_or_default(),
            cgroups_path: around.cgroups_path.to_owned(),
            devices: nodes,
            resources,
            uid_mappings: Vec::new(),
            gid_mappings: Vec::new(),
            namespaces: namespaces(around.netns),
            masked_paths: MASKED_PATHS.to_vec(),
            readonly_paths: READONLY_PATHS.to_vec(),
            seccomp: around.seccomp.cloned(),
        },
    };
    if around.user_namespace {
        let mappings = mappings(&spec.process.user).map_err(SpecError::UserNamespace)?;
        enter(&mut spec, mappings, around.devices);
    }

    Ok(spec)
}

/// Whether the instance can have a user namespace, before anything is taken for it.
pub(crate) fn check_users(blueprint: &Blueprint) -> Result<(), SpecError> {
    mappings(&user(blueprint))
        .map(drop)
        .map_err(SpecError::UserNamespace)
}

/// The parameters of its network namespace that a service wants set: where each is
/// below `/proc/sys`, and its value.
pub(crate) fn network_parameters(config: &ServiceConfig) -> Vec<(PathBuf, String)> {
    let wanted = config.sysctl.iter().flatten();
    wanted
        .filter(|(name, _)| sysctl::is_of_network(name))
        .map(|(name, value)| (sysctl::path(name), value.clone()))
        .collect()
}

fn process(blueprint: &Blueprint, secret: Option<&str>) -> Result<Process, SpecError> {
    let image = &blueprint.service.image.config;
    let info = &blueprint.info;
    let aos = aos_variables(&info.ident, blueprint.id, secret);
    let lent = blueprint.provision.resources.iter();
    let lent: Vec<_> = lent.flat_map(|each| each.env.iter().cloned()).collect();

    Ok(Process {
        terminal: false,
        user: user(blueprint),
        args: image.entrypoint.iter().chain(&image.cmd).cloned().collect(),
        env: environment(&[&image.env, &aos, &lent, &blueprint.variables])
            .map_err(SpecError::Environment)?,
        cwd: absolute(&image.working_dir),
        capabilities: capabilities(info.uid),
        rlimits: process_limits(&blueprint.service.config.quotas),
        no_new_privileges: true,
    })
}

fn user(blueprint: &Blueprint) -> User {
    User {
        uid: blueprint.info.uid,
        gid: blueprint.service.gid,
        additional_gids: devices::additional_gids(&blueprint.provision),
    }
}

/// Image configs may leave the directory out or write it without the first `/`.
fn absolute(directory: &str) -> String {
    format!("/{}", directory.trim_start_matches('/'))
}

fn capabilities(uid: u32) -> Capabilities {
    let in_force = if uid == 0 {
        CAPABILITIES.to_vec()
    } else {
        Vec::new()
    };

    Capabilities {
        bounding: CAPABILITIES.to_vec(),
        effective: in_force.clone(),
        permitted: in_force,
    }
}

fn namespaces(netns: &Path) -> Vec<Namespace> {
    ["pid", "network", "ipc", "uts", "mount", "cgroup"]
        .map(|kind| Namespace {
            kind,
            path: (kind == "network").then(|| netns.to_owned()),
        })
        .to_vec()
}
