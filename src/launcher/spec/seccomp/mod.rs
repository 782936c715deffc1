//! Which system calls a service may make.
//!
//! The built-in profile allows what programs in containers are known to need, for
//! the three capabilities that a service can have; `docs/decisions/seccomp.md`
//! says how it came about. All else fails with `EPERM`, so that a program can go
//! on without it.

mod calls;

use serde::Serialize;
use serde_json::Value;

use calls::{ARM, EVERYWHERE, X86};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Any of the flags that make new namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// Sockets to hypervisors and guests: they know no network namespaces.
const AF_VSOCK: u64 = 40;

/// Linux, 32 bit Linux, both with the addresses of old kernels, and the question
/// which it is.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// `linux.seccomp` of `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Seccomp {
    /// The built-in profile.
    BuiltIn(Profile),
    /// That of the operator, as it is.
    Operator(Value),
}

/// A profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    default_action: &'static str,
    default_errno_ret: u32,
    architectures: &'static [&'static str],
    syscalls: Vec<Rule>,
}

/// What becomes of some system calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<&'static str>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<[Argument; 1]>,
}

/// What an argument has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    op: &'static str,
}

impl Rule {
    /// `names` are separated by spaces.
    fn allow(names: &'static str) -> Self {
        Self {
            names: names.split_ascii_whitespace().collect(),
            action: "SCMP_ACT_ALLOW",
            errno_ret: None,
            args: None,
        }
    }

    /// Allows a call whose first argument is like this.
    fn allow_if(name: &'static str, value: u64, op: &'static str) -> Self {
        let argument = Argument {
            index: 0,
            value,
            op,
        };
        Self {
            args: Some([argument]),
            ..Self::allow(name)
        }
    }
}

/// The built-in profile for a node of this architecture, as
/// [`std::env::consts::ARCH`] names it.
pub(crate) fn built_in(architecture: &str) -> Profile {
    let (architectures, own): (&[_], _) = match architecture {
        // Not x32: hardly any kernel has it, and it doubles the time that it takes to
        // make a filter of the profile.
        "x86_64" => (&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], X86),
        "aarch64" => (&["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], ARM),
        "arm" => (&["SCMP_ARCH_ARM"], ARM),
        // Its own alone.
        _ => (&[], ""),
    };

    let mut syscalls: Vec<_> = EVERYWHERE.into_iter().map(Rule::allow).collect();
    if !own.is_empty() {
        syscalls.push(Rule::allow(own));
    }
    syscalls.push(Rule::allow_if("socket", AF_VSOCK, "SCMP_CMP_NE"));
    syscalls
        .extend(PERSONALITIES.map(|persona| Rule::allow_if("personality", persona, "SCMP_CMP_EQ")));
    // A masked comparison with 0: processes and threads, but no namespaces.
    syscalls.push(Rule::allow_if(
        "clone",
        NEW_NAMESPACES,
        "SCMP_CMP_MASKED_EQ",
    ));
    // Its flags are in memory, where no filter sees them; the C libraries go on
    // with `clone` if there is no `clone3`.
    syscalls.push(Rule {
        names: vec!["clone3"],
        action: "SCMP_ACT_ERRNO",
        errno_ret: Some(ENOSYS),
        args: None,
    });

    Profile {
        default_action: "SCMP_ACT_ERRNO",
        default_errno_ret: EPERM,
        architectures,
        syscalls,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn allowed(architecture: &str) -> BTreeSet<&'static str> {
        let profile = built_in(architecture);
        let rules = profile.syscalls.iter();
        rules
            .filter(|rule| rule.action == "SCMP_ACT_ALLOW" && rule.args.is_none())
            .flat_map(|rule| rule.names.clone())
            .collect()
    }

    #[test]
    fn everyday_calls_are_allowed() {
        for call in [
            "read",
            "write",
            "openat",
            "mmap",
            "futex",
            "execve",
            "connect",
            "epoll_wait",
            "statx",
            "getrandom",
            "prctl",
            "kill",
            "clock_nanosleep_time64",
        ] {
            assert!(allowed("x86_64").contains(call), "{call}");
            assert!(allowed("riscv64").contains(call), "{call}");
        }
    }

    #[test]
    fn calls_that_reach_beyond_the_container_are_not() {
        let all = allowed("x86_64");
        for call in [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "bpf",
            "perf_event_open",
            "keyctl",
            "add_key",
            "request_key",
            "init_module",
            "kexec_load",
            "reboot",
            "swapon",
            "settimeofday",
            "clock_settime",
            "open_by_handle_at",
            "userfaultfd",
            "iopl",
            "ioperm",
            "acct",
            "syslog",
            "sethostname",
            "pivot_root",
            "chroot",
            "quotactl",
            "io_uring_setup",
            "fsopen",
            "move_mount",
            "mount_setattr",
            "pidfd_getfd",
            "clone",
            "clone3",
            "socket",
            "personality",
        ] {
            assert!(!all.contains(call), "{call}");
        }
    }

    #[test]
    fn no_call_is_named_twice() {
        for architecture in ["x86_64", "aarch64", "riscv64"] {
            let profile = built_in(architecture);
            let plain = profile.syscalls.iter().filter(|rule| rule.args.is_none());
            let names: Vec<_> = plain.flat_map(|rule| &rule.names).collect();
            let unique: BTreeSet<_> = names.iter().collect();

            assert_eq!(names.len(), unique.len(), "{architecture}");
            assert!(names.len() > 300, "{architecture}: {}", names.len());
        }
    }

    #[test]
    fn each_architecture_has_its_own_calls_and_those_that_it_can_run() {
        let of = |architecture| serde_json::to_value(built_in(architecture)).unwrap();

        assert!(allowed("x86_64").contains("arch_prctl"));
        assert!(!allowed("aarch64").contains("arch_prctl"));
        assert!(allowed("aarch64").contains("cacheflush"));
        assert_eq!(
            of("x86_64")["architectures"],
            json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])
        );
        assert_eq!(
            of("aarch64")["architectures"],
            json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"])
        );
        assert_eq!(of("arm")["architectures"], json!(["SCMP_ARCH_ARM"]));
        assert_eq!(of("riscv64")["architectures"], json!([]));
    }

    #[test]
    fn conditions_are_those_of_the_specification() {
        let profile = serde_json::to_value(built_in("x86_64")).unwrap();
        let rules = profile["syscalls"].as_array().unwrap();
        let of = |name: &str| -> Vec<_> {
            let mine = rules.iter().filter(|rule| rule["names"] == json!([name]));
            mine.collect()
        };

        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        assert_eq!(profile["defaultErrnoRet"], 1);
        assert_eq!(
            of("clone"),
            [&json!({
                "names": ["clone"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 2_114_060_288, "op": "SCMP_CMP_MASKED_EQ"}],
            })]
        );
        assert_eq!(
            of("clone3"),
            [&json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38})]
        );
        assert_eq!(of("personality").len(), 5);
        assert_eq!(of("socket")[0]["args"][0]["op"], "SCMP_CMP_NE");
    }
}
