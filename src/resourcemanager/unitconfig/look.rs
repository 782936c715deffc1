//! What the host has of that which a unit configuration names.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::check::{self, DEV};
use super::format::UnitConfig;
use crate::model::ResourceErrors;

/// Where the host keeps what is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Its `/dev`.
    pub(super) dev: PathBuf,
    /// Its `/etc/group`.
    pub(super) group: PathBuf,
}

impl Places {
    /// Where a path below `/dev` is.
    pub(super) fn device(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(DEV) {
            Ok(below) => self.dev.join(below),
            Err(_) => path.to_owned(),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Ids of the groups that are there.
    pub(super) gids: BTreeMap<String, u32>,
    /// What is wrong with which device.
    pub(super) devices: BTreeMap<String, Vec<String>>,
    /// What is wrong with which resource.
    pub(super) resources: BTreeMap<String, Vec<String>>,
}

impl Look {
    /// All that is wrong.
    pub(super) fn missing(&self) -> Vec<ResourceErrors> {
        let all = self.devices.iter().chain(&self.resources);
        all.map(|(name, errors)| ResourceErrors {
            name: name.clone(),
            errors: errors.clone(),
        })
        .collect()
    }
}

/// Looks for all that the configuration names. Blocks.
pub(super) fn look(config: &UnitConfig, places: &Places) -> Look {
    let groups = match fs::read(&places.group) {
        Ok(text) => Ok(group_ids(&text)),
        Err(error) => Err(format!("cannot read {}: {error}", places.group.display())),
    };
    let mut look = Look::default();
    let mut missing_group = |name: &String| match &groups {
        Err(error) => Some(error.clone()),
        Ok(known) => match known.get(name) {
            None => Some(format!("group {name} is not present on the system")),
            Some(gid) => {
                look.gids.insert(name.clone(), *gid);
                None
            }
        },
    };

    let mut devices: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in &config.devices {
        let host_devices = check::device(entry).map_or_else(|_| Vec::new(), |own| own.host_devices);
        let nodes = host_devices
            .iter()
            .filter_map(|device| missing_device(&device.host, places));
        let errors: Vec<_> = nodes
            .chain(entry.groups.iter().filter_map(&mut missing_group))
            .collect();
        if !errors.is_empty() {
            devices
                .entry(entry.name.clone())
                .or_default()
                .extend(errors);
        }
    }
    let mut resources: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in &config.resources {
        let errors: Vec<_> = entry.groups.iter().filter_map(&mut missing_group).collect();
        if !errors.is_empty() {
            resources
                .entry(entry.name.clone())
                .or_default()
                .extend(errors);
        }
    }

    Look {
        devices,
        resources,
        ..look
    }
}

/// Why a host device is of no use now.
fn missing_device(path: &Path, places: &Places) -> Option<String> {
    let shown = path.display();
    match fs::metadata(places.device(path)) {
        Ok(metadata) => {
            let kind = metadata.file_type();
            let is_device = kind.is_char_device() || kind.is_block_device() || kind.is_dir();
            (!is_device).then(|| format!("{shown} is neither a device nor a directory of devices"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Some(format!("device {shown} is not present on the system"))
        }
        Err(error) => Some(format!("device {shown} cannot be looked at: {error}")),
    }
}

/// Names and ids in a text such as `/etc/group`. Lines of another form name none.
fn group_ids(text: &[u8]) -> BTreeMap<String, u32> {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
            Some((name.to_owned(), gid.parse().ok()?))
        })
        .collect()
}
