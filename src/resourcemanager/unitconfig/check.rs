//! What makes a unit configuration good, whatever the host has. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use super::format::{DeviceEntry, MountEntry, ResourceEntry, UnitConfig};
use crate::model::{Device, HostDevice, NodeInfo, NodeResource, ResourceMount};

/// Entries of a list at the most.
pub(super) const MOST: usize = 256;
/// Bytes of a text at the most.
const LONGEST_TEXT: usize = 4096;
/// Where devices are.
pub(super) const DEV: &str = "/dev";

/// Why a configuration is not the one of this node.
pub(super) fn node_type_fault(config: &UnitConfig, node: Option<&NodeInfo>) -> Option<String> {
    let node = node?;
    (node.node_type != config.node_type).then(|| {
        format!(
            "it is for nodes of type {:?}, and this node is of type {:?}",
            config.node_type, node.node_type
        )
    })
}

/// What a configuration is beside the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    /// Another version.
    New,
    /// The same once more, as after an answer that was lost.
    Same,
    /// Two contents with one version.
    Conflict,
}

/// Compares with the one in force.
pub(super) fn novelty(in_force: Option<&UnitConfig>, new: &UnitConfig) -> Novelty {
    match in_force {
        Some(old) if old == new => Novelty::Same,
        Some(old) if old.vendor_version == new.vendor_version => Novelty::Conflict,
        _ => Novelty::New,
    }
}

/// All that is wrong with a configuration in itself, one text each.
pub(super) fn faults(config: &UnitConfig) -> Vec<String> {
    let mut faults = Vec::new();
    if config.vendor_version.is_empty() {
        faults.push("it has no version".to_owned());
    }
    for (what, count) in [
        ("devices", config.devices.len()),
        ("resources", config.resources.len()),
    ] {
        if count > MOST {
            faults.push(format!("it has {count} {what}, more than {MOST}"));
        }
    }
    let devices = config.devices.iter().map(|device| device.name.as_str());
    let resources = config.resources.iter().map(|entry| entry.name.as_str());
    faults.extend(bad_names("device", devices));
    faults.extend(bad_names("resource", resources));
    for entry in &config.devices {
        faults.extend(device(entry).err().into_iter().flatten());
    }
    for entry in &config.resources {
        faults.extend(resource(entry).err().into_iter().flatten());
    }

    faults
}

/// A device, without the groups, which the host has to be asked for.
pub(super) fn device(entry: &DeviceEntry) -> Result<Device, Vec<String>> {
    let mut faults = Faults::of("device", &entry.name);
    faults.lengths("groups", &entry.groups);
    faults.lengths("hostDevices", &entry.host_devices);
    let host_devices = entry.host_devices.iter().map(|text| host_device(text));
    let host_devices = faults.collect(host_devices);

    faults.or(Device {
        name: entry.name.clone(),
        shared_count: entry.shared_count,
        gids: Vec::new(),
        host_devices,
    })
}

/// A resource, without the groups, which the host has to be asked for.
pub(super) fn resource(entry: &ResourceEntry) -> Result<NodeResource, Vec<String>> {
    let mut faults = Faults::of("resource", &entry.name);
    faults.lengths("groups", &entry.groups);
    faults.lengths("env", &entry.env);
    if entry.mounts.len() > MOST || entry.hosts.len() > MOST {
        faults.push(&format!("a list has more than {MOST} entries"));
    }
    let mounts = faults.collect(entry.mounts.iter().map(mount));
    let env = faults.collect(entry.env.iter().map(|text| variable(text)));
    let hosts = entry.hosts.iter().map(|host| {
        let is_name = |c: char| !c.is_whitespace() && !c.is_control() && c != '#';
        match host.ip.parse::<IpAddr>() {
            Err(_) => Err(format!("host address {:?} is no IP address", host.ip)),
            Ok(_) if host.hostname.is_empty() || !host.hostname.chars().all(is_name) => {
                Err(format!("host name {:?} is no name", host.hostname))
            }
            Ok(ip) => Ok((ip, host.hostname.clone())),
        }
    });
    let hosts = faults.collect(hosts);

    faults.or(NodeResource {
        name: entry.name.clone(),
        gids: Vec::new(),
        mounts,
        env,
        hosts,
    })
}

/// `host[:inside]`; the part after the first `:` renames it.
fn host_device(text: &str) -> Result<HostDevice, String> {
    let (host, inside) = text.split_once(':').unwrap_or((text, text));
    let path = |path: &str| {
        let below = Path::new(path).strip_prefix(DEV).ok()?;
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        let is_good = below.components().all(is_plain) && below != Path::new("");
        (is_good && !path.contains('\0')).then(|| PathBuf::from(path))
    };
    match (path(host), path(inside)) {
        (Some(host), Some(inside)) => Ok(HostDevice { host, inside }),
        _ => Err(format!(
            "host device {text:?} is not HOST or HOST:INSIDE, both below {DEV}"
        )),
    }
}

fn mount(entry: &MountEntry) -> Result<ResourceMount, String> {
    let MountEntry {
        destination,
        kind,
        source,
        options,
    } = entry;
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
    let path = Path::new(destination);
    if !path.is_absolute() || path.parent().is_none() || !path.components().all(is_plain) {
        return Err(format!(
            "mount destination {destination:?} is no absolute path without dots"
        ));
    }
    let kind = match kind.as_str() {
        "" => "bind",
        kind => kind,
    };
    if kind == "bind" && !Path::new(source).is_absolute() {
        return Err(format!(
            "source {source:?} of mount {destination} is no absolute path"
        ));
    }
    let texts = [destination.as_str(), kind, source.as_str()];
    let mut texts = texts.into_iter().chain(options.iter().map(String::as_str));
    if texts.any(|text| text.contains('\0') || text.len() > LONGEST_TEXT) || options.len() > MOST {
        return Err(format!("mount {destination:?} has a text that is no text"));
    }

    let (modes, options): (Vec<_>, Vec<_>) = options
        .iter()
        .cloned()
        .partition(|option| option.starts_with("mode="));
    let mode = match modes.last() {
        None => None,
        Some(option) => Some(mode(option).ok_or_else(|| {
            format!("option {option:?} of mount {destination} is no octal number up to 7777")
        })?),
    };

    Ok(ResourceMount {
        destination: destination.clone(),
        kind: kind.to_owned(),
        source: source.into(),
        options,
        mode,
    })
}

fn mode(option: &str) -> Option<u32> {
    let digits = option.strip_prefix("mode=")?;
    let mode = u32::from_str_radix(digits, 8).ok()?;
    (mode <= 0o7777).then_some(mode)
}

fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() && !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(format!("variable {text:?} is not NAME=value")),
    }
}

fn bad_names<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for name in names {
        if name.is_empty() {
            faults.push(format!("a {what} has no name"));
        } else if !seen.insert(name) {
            faults.push(format!("{what} {name} is there twice"));
        }
    }
    faults
}

/// What is wrong with one entry.
struct Faults<'a> {
    what: &'static str,
    name: &'a str,
    texts: Vec<String>,
}

impl<'a> Faults<'a> {
    fn of(what: &'static str, name: &'a str) -> Self {
        let mut faults = Self {
            what,
            name,
            texts: Vec::new(),
        };
        if name.len() > LONGEST_TEXT {
            faults.push("its name is too long");
        }
        faults
    }

    fn push(&mut self, fault: &str) {
        self.texts
            .push(format!("{} {}: {fault}", self.what, self.name));
    }

    fn lengths(&mut self, list: &str, texts: &[String]) {
        if texts.len() > MOST || texts.iter().any(|text| text.len() > LONGEST_TEXT) {
            self.push(&format!("{list} is too long"));
        }
    }

    fn collect<T>(&mut self, entries: impl Iterator<Item = Result<T, String>>) -> Vec<T> {
        let mut good = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => good.push(entry),
                Err(fault) => self.push(&fault),
            }
        }
        good
    }

    fn or<T>(self, good: T) -> Result<T, Vec<String>> {
        if self.texts.is_empty() {
            Ok(good)
        } else {
            Err(self.texts)
        }
    }
}
