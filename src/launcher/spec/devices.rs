//! Devices of the host that a service may use. Pure.

use std::collections::BTreeSet;
use std::path::PathBuf;

use aos_package::ServiceConfig;

use super::SpecError;
use super::oci::{DeviceNode, DeviceRule};
use crate::model::Provision;

/// A device node, and what the instance may do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GrantedDevice {
    /// As it is made inside.
    pub node: DeviceNode,
    /// Where it is on the host.
    pub host: PathBuf,
    /// Any of `r`, `w`, `m`.
    pub access: &'static str,
}

/// What a service asks to do with a device, in the kernel's order. None of it
/// means that the device is seen, and cannot be opened.
pub(crate) fn access(permissions: &str) -> Option<&'static str> {
    const ALL: [&str; 8] = ["", "m", "w", "wm", "r", "rm", "rw", "rwm"];
    let mut mask = 0;
    for letter in permissions.chars() {
        mask |= match letter {
            'r' => 4,
            'w' => 2,
            'm' => 1,
            _ => return None,
        };
    }
    ALL.get(mask).copied()
}

/// Whether what is asked for can be understood.
pub(super) fn check(config: &ServiceConfig) -> Result<(), SpecError> {
    for device in config.devices.iter().flatten() {
        if access(&device.permissions).is_none() {
            return Err(SpecError::Permissions {
                device: device.name.clone(),
                permissions: device.permissions.clone(),
            });
        }
    }

    Ok(())
}

/// Each path once: the first that is named counts.
pub(super) fn nodes(granted: &[GrantedDevice]) -> (Vec<DeviceNode>, Vec<DeviceRule>) {
    let mut seen = BTreeSet::new();
    let mut nodes = Vec::new();
    let mut rules = Vec::new();
    for device in granted {
        let node = &device.node;
        if !seen.insert(&node.path) {
            continue;
        }
        nodes.push(node.clone());
        if !device.access.is_empty() {
            rules.push(DeviceRule {
                allow: true,
                kind: Some(node.kind),
                major: Some(node.major),
                minor: Some(node.minor),
                access: device.access,
            });
        }
    }

    (nodes, rules)
}

/// Groups of all that the instance gets, each once.
pub(super) fn additional_gids(provision: &Provision) -> Vec<u32> {
    let devices = provision.devices.iter().flat_map(|device| &device.gids);
    let resources = provision.resources.iter().flat_map(|each| &each.gids);
    let gids: BTreeSet<_> = devices.chain(resources).copied().collect();

    gids.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::oci::DeviceKind;
    use super::*;

    #[test]
    fn permissions_are_any_of_three_letters() {
        for (text, expected) in [
            ("", Some("")),
            ("r", Some("r")),
            ("wr", Some("rw")),
            ("mwr", Some("rwm")),
            ("rr", Some("r")),
            ("rx", None),
            ("R", None),
        ] {
            assert_eq!(access(text), expected, "{text}");
        }
    }

    #[test]
    fn first_device_at_a_path_counts_and_one_without_permissions_is_only_seen() {
        let device = |path: &str, minor, access| GrantedDevice {
            node: DeviceNode {
                path: path.into(),
                kind: DeviceKind::Character,
                major: 1,
                minor,
                file_mode: 0o660,
                uid: 0,
                gid: 44,
            },
            host: path.into(),
            access,
        };

        let (nodes, rules) = nodes(&[
            device("/dev/a", 1, "rw"),
            device("/dev/a", 2, "rwm"),
            device("/dev/b", 3, ""),
        ]);

        let made: Vec<_> = nodes.iter().map(|node| node.minor).collect();
        assert_eq!(made, [1, 3]);
        let rule = DeviceRule {
            allow: true,
            kind: Some(DeviceKind::Character),
            major: Some(1),
            minor: Some(1),
            access: "rw",
        };
        assert_eq!(rules, [rule]);
    }
}
