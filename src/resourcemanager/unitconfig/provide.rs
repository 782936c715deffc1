//! What an instance gets of the unit configuration. Pure.

use super::check;
use super::format::UnitConfig;
use super::look::Look;
use crate::model::{Device, Lack, NodeResource, Provision};

/// What there is of these devices and resources. Without a configuration that
/// can be used, its error is why there is nothing.
pub(super) fn provide(
    config: &Result<&UnitConfig, String>,
    look: &Look,
    devices: &[String],
    resources: &[String],
) -> Provision {
    let mut provision = Provision::default();
    for name in devices {
        let found = match config {
            Ok(config) => find_device(config, look, name),
            Err(reason) => (None, vec![reason.clone()]),
        };
        let (device, faults) = found;
        provision.devices.extend(device);
        if !faults.is_empty() {
            provision.lacks.push(Lack {
                device: Some(name.clone()),
                reason: format!("device {name}: {}", faults.join("; ")),
            });
        }
    }
    for name in resources {
        let found = match config {
            Ok(config) => find_resource(config, look, name),
            Err(reason) => (None, vec![reason.clone()]),
        };
        let (resource, faults) = found;
        provision.resources.extend(resource);
        if !faults.is_empty() {
            provision.lacks.push(Lack {
                device: None,
                reason: format!("resource {name}: {}", faults.join("; ")),
            });
        }
    }

    provision
}

fn find_device(config: &UnitConfig, look: &Look, name: &str) -> (Option<Device>, Vec<String>) {
    let Some(entry) = config.devices.iter().find(|entry| entry.name == name) else {
        return (None, unknown(config));
    };
    let missing = look.devices.get(name).cloned().unwrap_or_default();
    match check::device(entry) {
        Ok(device) => {
            let gids = gids(look, &entry.groups);
            (Some(Device { gids, ..device }), missing)
        }
        Err(faults) => (None, faults),
    }
}

fn find_resource(
    config: &UnitConfig,
    look: &Look,
    name: &str,
) -> (Option<NodeResource>, Vec<String>) {
    let Some(entry) = config.resources.iter().find(|entry| entry.name == name) else {
        return (None, unknown(config));
    };
    let missing = look.resources.get(name).cloned().unwrap_or_default();
    match check::resource(entry) {
        Ok(resource) => {
            let gids = gids(look, &entry.groups);
            (Some(NodeResource { gids, ..resource }), missing)
        }
        Err(faults) => (None, faults),
    }
}

fn unknown(config: &UnitConfig) -> Vec<String> {
    vec![format!(
        "unit configuration {} does not name it",
        config.vendor_version
    )]
}

fn gids(look: &Look, groups: &[String]) -> Vec<u32> {
    let ids = groups.iter().filter_map(|group| look.gids.get(group));
    ids.copied().collect()
}
