//! Kernel parameters that a service may set: those of its own namespaces.

use std::path::PathBuf;

/// Why a service may not set a kernel parameter.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SysctlError {
    /// It belongs to the whole node.
    #[error(
        "it is not the service's own: a service may set net.*, fs.mqueue.*, \
         kernel.msg*, kernel.sem, kernel.shm* and kernel.domainname"
    )]
    NotOwn,
    /// It has a key of its own.
    #[error("use the key hostname for it")]
    Hostname,
    /// No parameter is called like this.
    #[error("this is no name of a kernel parameter")]
    Name,
    /// No parameter can be set to this.
    #[error("its value is empty or has more than one line")]
    Value,
}

/// Those of the namespaces for messages and shared memory, and of the host name.
const KERNEL: [&str; 9] = [
    "domainname",
    "msgmax",
    "msgmnb",
    "msgmni",
    "sem",
    "shm_rmid_forced",
    "shmall",
    "shmmax",
    "shmmni",
];

/// Whether a service may set this parameter, and whether it can be a name and a
/// value at all. Names are separated by points, or as in paths by slashes, which
/// names of links with points need.
pub(super) fn check(name: &str, value: &str) -> Result<(), SysctlError> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let parts: Vec<_> = name.split(['.', '/']).collect();
    if !name.chars().all(is_letter) || parts.iter().any(|part| part.is_empty()) {
        return Err(SysctlError::Name);
    }
    if value.trim().is_empty() || value.contains(['\n', '\0']) {
        return Err(SysctlError::Value);
    }

    match parts[..] {
        ["kernel", "hostname"] => Err(SysctlError::Hostname),
        ["kernel", parameter] if KERNEL.contains(&parameter) => Ok(()),
        ["net", _, ..] | ["fs", "mqueue", _] => Ok(()),
        _ => Err(SysctlError::NotOwn),
    }
}

/// Whether it is one of the network namespace.
pub(super) fn is_of_network(name: &str) -> bool {
    name.split(['.', '/']).next() == Some("net")
}

/// Where it is below `/proc/sys`. The separator that comes first is the one of
/// paths; the other is part of names.
pub(super) fn path(name: &str) -> PathBuf {
    if name.chars().find(|c| matches!(c, '.' | '/')) == Some('/') {
        return name.into();
    }
    let swapped = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };

    name.chars().map(swapped).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn separator_that_comes_first_is_the_one_of_paths() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            (
                "net.ipv4.conf.eth0/5.forwarding",
                "net/ipv4/conf/eth0.5/forwarding",
            ),
            (
                "net/ipv4/conf/eth0.5/forwarding",
                "net/ipv4/conf/eth0.5/forwarding",
            ),
        ] {
            assert_eq!(path(name), PathBuf::from(expected), "{name}");
            assert!(is_of_network(name));
        }
        for other in ["kernel.sem", "fs.mqueue.msg_max", "kernel/net", "network.x"] {
            assert!(!is_of_network(other), "{other}");
        }
    }

    #[test]
    fn parameters_of_the_services_namespaces_may_be_set() {
        for name in [
            "net.ipv4.ip_forward",
            "net.core.somaxconn",
            "net/ipv4/conf/eth0.5/forwarding",
            "kernel.sem",
            "kernel.shmmax",
            "kernel.msgmni",
            "kernel.domainname",
            "fs.mqueue.msg_max",
        ] {
            assert_eq!(check(name, "1 2\t3"), Ok(()), "{name}");
        }
    }

    #[test]
    fn those_of_the_node_may_not_and_bad_ones_are_called_bad() {
        for (name, value, error) in [
            ("kernel.panic", "1", SysctlError::NotOwn),
            ("kernel.core_pattern", "|/bin/x", SysctlError::NotOwn),
            ("vm.swappiness", "1", SysctlError::NotOwn),
            ("fs.file-max", "1", SysctlError::NotOwn),
            ("fs.mqueue", "1", SysctlError::NotOwn),
            ("net", "1", SysctlError::NotOwn),
            ("kernel.shm", "1", SysctlError::NotOwn),
            ("kernel.hostname", "a", SysctlError::Hostname),
            ("", "1", SysctlError::Name),
            ("net..x", "1", SysctlError::Name),
            ("net.../../kernel/panic", "1", SysctlError::Name),
            ("/net/x", "1", SysctlError::Name),
            ("net.a b", "1", SysctlError::Name),
            ("net.x", "", SysctlError::Value),
            ("net.x", " ", SysctlError::Value),
            ("net.x", "1\n2", SysctlError::Value),
        ] {
            assert_eq!(check(name, value), Err(error), "{name} = {value:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer_and_no_way_out_of_its_part(name: String, value: String) {
            if check(&name, &value).is_ok() {
                prop_assert!(!name.contains(".."));
                let begin = name.split(['.', '/']).next();
                prop_assert!(matches!(begin, Some("net" | "fs" | "kernel")));
            }
        }
    }
}
