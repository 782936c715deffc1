//! What the kernel can keep an instance from, and what it shall.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::directories::failed;
use crate::config::SeccompPolicy;
use crate::launcher::HostError;
use crate::launcher::spec::{Controllers, Seccomp, built_in};
use crate::launcher::systemd::{CgroupMode, cgroup_mode};

/// What can be limited below the control groups at `root`. Looked up at each
/// start: an operator may have mounted what was missing.
pub(super) fn controllers(root: &Path) -> Result<Controllers, HostError> {
    match cgroup_mode(root).map_err(failed("look at", root))? {
        CgroupMode::Unified => unified(root),
        CgroupMode::Hybrid | CgroupMode::Legacy => Ok(separate(root)),
    }
}

fn unified(root: &Path) -> Result<Controllers, HostError> {
    let path = root.join("cgroup.controllers");
    let list = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let has = |name| list.split_ascii_whitespace().any(|each| each == name);

    Ok(Controllers {
        memory: has("memory"),
        swap: root.join("system.slice/memory.swap.max").exists(),
        cpu: has("cpu"),
        pids: has("pids"),
    })
}

/// Of version 1, each with a hierarchy of its own.
fn separate(root: &Path) -> Controllers {
    let has = |file| root.join(file).exists();

    Controllers {
        memory: has("memory/memory.limit_in_bytes"),
        swap: has("memory/memory.memsw.limit_in_bytes"),
        cpu: has("cpu/cpu.cfs_quota_us"),
        pids: has("pids/cgroup.procs"),
    }
}

/// The profile that an instance gets now. It is read at each start, so that an
/// operator's changes need no restart of SM.
pub(super) fn seccomp(policy: &SeccompPolicy) -> Result<Option<Seccomp>, HostError> {
    match policy {
        SeccompPolicy::Off => Ok(None),
        SeccompPolicy::BuiltIn => Ok(Some(Seccomp::BuiltIn(built_in(std::env::consts::ARCH)))),
        SeccompPolicy::File(path) => {
            let text = fs::read(path).map_err(failed("read seccompProfile", path))?;
            let profile: Value = serde_json::from_slice(&text)
                .map_err(std::io::Error::from)
                .map_err(failed("read seccompProfile", path))?;
            if profile["defaultAction"].is_string() {
                Ok(Some(Seccomp::Operator(profile)))
            } else {
                let lacks = std::io::Error::other(
                    "it has no defaultAction: write linux.seccomp of the OCI runtime specification",
                );
                Err(failed("use seccompProfile", path)(lacks))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn unified_controllers_are_those_of_the_list() {
        let root = TempDir::new().unwrap();
        fs::write(
            root.path().join("cgroup.controllers"),
            "cpuset cpu memory\n",
        )
        .unwrap();
        fs::create_dir(root.path().join("system.slice")).unwrap();
        fs::write(root.path().join("system.slice/memory.swap.max"), "max").unwrap();

        let found = unified(root.path()).unwrap();

        assert!(found.memory && found.swap && found.cpu);
        assert!(!found.pids);
    }

    #[test]
    fn separate_controllers_are_those_that_are_mounted() {
        let root = TempDir::new().unwrap();
        for file in ["memory/memory.limit_in_bytes", "cpu/cpu.shares"] {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }

        let found = separate(root.path());

        assert!(found.memory);
        assert!(!found.swap && !found.cpu && !found.pids);
    }

    #[test]
    fn profile_of_the_operator_is_passed_on_as_it_is() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("profile.json");
        fs::write(&path, r#"{"defaultAction": "SCMP_ACT_LOG", "own": 1}"#).unwrap();

        let profile = seccomp(&SeccompPolicy::File(path)).unwrap();

        let profile = serde_json::to_value(profile).unwrap();
        assert_eq!(profile["own"], 1);
        assert_eq!(seccomp(&SeccompPolicy::Off).unwrap(), None);
    }

    #[test]
    fn profile_that_cannot_be_used_is_an_error_that_names_it() {
        let directory = TempDir::new().unwrap();
        for (name, text) in [("none", None), ("bad", Some("{")), ("empty", Some("{}"))] {
            let path = directory.path().join(name);
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }

            let error = seccomp(&SeccompPolicy::File(path)).unwrap_err();

            assert!(error.to_string().contains("seccompProfile"), "{error}");
            assert!(error.to_string().ends_with(name), "{error}");
            assert!(error.source().is_some());
        }
    }
}
