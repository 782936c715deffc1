//! What the host lends to an instance: device nodes as they are now, and what
//! resources mount.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use crate::launcher::Blueprint;
use crate::launcher::spec::{
    DeviceKind, DeviceNode, GrantedDevice, LentMount, MountPointKind, access,
};
use crate::model::{HostDevice, Provision};

/// Devices of an instance at the most.
const MOST: usize = 4096;
/// Directories in each other at the most.
const DEPTH: usize = 16;

/// Something that is lent is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum LentError {
    /// A device is gone, or cannot be looked at.
    #[error("device {device}: cannot look at {}", path.display())]
    Look {
        device: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("device {device}: {} is neither a device nor a directory of devices", path.display())]
    NoDevice { device: String, path: PathBuf },
    /// A directory is no end.
    #[error(
        "device {device}: {} has more than {MOST} devices, or directories deeper than {DEPTH}",
        path.display()
    )]
    TooMany { device: String, path: PathBuf },
    /// What is to be mounted is not there.
    #[error("resource {resource}: cannot mount {} on {destination}", path.display())]
    MountSource {
        resource: String,
        destination: String,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The device nodes of an instance. Blocks.
pub(super) fn find_devices(blueprint: &Blueprint) -> Result<Vec<GrantedDevice>, LentError> {
    let asked = blueprint.service.config.devices.iter().flatten();
    let mut granted = Vec::new();
    for asked in asked {
        let mut devices = blueprint.provision.devices.iter();
        let Some(device) = devices.find(|device| device.name == asked.name) else {
            continue;
        };
        // It was checked with the service's configuration.
        let access = access(&asked.permissions).unwrap_or_default();
        for node in &device.host_devices {
            let mut nodes = Vec::new();
            gather(&device.name, node, &mut nodes)?;
            granted.extend(nodes.into_iter().map(|(host, node)| GrantedDevice {
                node,
                host,
                access,
            }));
        }
    }

    Ok(granted)
}

/// The device, or all devices below the directory. Links are followed.
fn gather(
    device: &str,
    place: &HostDevice,
    nodes: &mut Vec<(PathBuf, DeviceNode)>,
) -> Result<(), LentError> {
    let look = |path: &Path, source| LentError::Look {
        device: device.to_owned(),
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(&place.host).map_err(|error| look(&place.host, error))?;
    if let Some(node) = node(&metadata, &place.inside) {
        nodes.push((place.host.clone(), node));
        return Ok(());
    }
    if !metadata.is_dir() {
        return Err(LentError::NoDevice {
            device: device.to_owned(),
            path: place.host.clone(),
        });
    }

    let mut directories = vec![(place.host.clone(), place.inside.clone(), 0)];
    while let Some((host, inside, depth)) = directories.pop() {
        let entries = fs::read_dir(&host).map_err(|error| look(&host, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| look(&host, error))?;
            let (path, inside) = (entry.path(), inside.join(entry.file_name()));
            // A link that leads to a directory may lead round and round.
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory {
                directories.push((path, inside, depth + 1));
            } else if let Ok(metadata) = fs::metadata(&path) {
                nodes.extend(node(&metadata, &inside).map(|node| (path, node)));
            }
        }
        if nodes.len() > MOST || directories.len() > MOST || depth > DEPTH {
            return Err(LentError::TooMany {
                device: device.to_owned(),
                path: place.host.clone(),
            });
        }
    }

    Ok(())
}

fn node(metadata: &Metadata, inside: &Path) -> Option<DeviceNode> {
    let kind = metadata.file_type();
    let kind = if kind.is_char_device() {
        DeviceKind::Character
    } else if kind.is_block_device() {
        DeviceKind::Block
    } else {
        return None;
    };

    Some(DeviceNode {
        path: inside.to_owned(),
        kind,
        major: major(metadata.rdev()),
        minor: minor(metadata.rdev()),
        file_mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

/// What resources mount, and on what. Blocks.
pub(super) fn find_mounts(provision: &Provision) -> Result<Vec<LentMount>, LentError> {
    let mut mounts = Vec::new();
    for resource in &provision.resources {
        for mount in &resource.mounts {
            let binds = |option: &String| option == "bind" || option == "rbind";
            let is_bind = mount.kind == "bind" || mount.options.iter().any(binds);
            let kind = if is_bind {
                let metadata = fs::metadata(&mount.source);
                let metadata = metadata.map_err(|source| LentError::MountSource {
                    resource: resource.name.clone(),
                    destination: mount.destination.clone(),
                    path: mount.source.clone(),
                    source,
                })?;
                if metadata.is_dir() {
                    MountPointKind::Directory
                } else {
                    MountPointKind::File
                }
            } else {
                MountPointKind::Directory
            };
            mounts.push(LentMount {
                mount: mount.clone(),
                kind,
            });
        }
    }

    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::model::{NodeResource, ResourceMount};

    fn nodes(host: &Path) -> Result<Vec<(String, u64, u64)>, LentError> {
        let mut nodes = Vec::new();
        let place = HostDevice {
            host: host.to_owned(),
            inside: "/dev/x".into(),
        };
        gather("camera", &place, &mut nodes)?;
        let mut nodes: Vec<_> = nodes
            .into_iter()
            .map(|(_, node)| (node.path.display().to_string(), node.major, node.minor))
            .collect();
        nodes.sort();
        Ok(nodes)
    }

    #[test]
    fn device_is_given_under_the_name_inside_and_links_are_followed() {
        let temp = TempDir::new().unwrap();
        symlink("/dev/full", temp.path().join("link")).unwrap();

        assert_eq!(
            nodes(&temp.path().join("link")).unwrap(),
            [("/dev/x".to_owned(), 1, 7)]
        );
    }

    #[test]
    fn directory_gives_all_devices_below_and_nothing_else() {
        let temp = TempDir::new().unwrap();
        fs::create_dir_all(temp.path().join("a/b")).unwrap();
        symlink("/dev/null", temp.path().join("null")).unwrap();
        symlink("/dev/zero", temp.path().join("a/b/zero")).unwrap();
        symlink("..", temp.path().join("a/round")).unwrap();
        symlink("/nowhere", temp.path().join("dangling")).unwrap();
        fs::write(temp.path().join("file"), "").unwrap();

        let found = nodes(temp.path()).unwrap();

        let names: Vec<_> = found.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["/dev/x/a/b/zero", "/dev/x/null"]);
    }

    #[test]
    fn what_is_gone_or_no_device_is_an_error_with_its_name() {
        let temp = TempDir::new().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        let deep: PathBuf = std::iter::repeat_n("d", DEPTH + 3).collect();
        fs::create_dir_all(temp.path().join("deep").join(deep)).unwrap();

        for (name, text) in [
            ("gone", "cannot look at"),
            ("file", "neither"),
            ("deep", "deeper"),
        ] {
            let error = nodes(&temp.path().join(name)).unwrap_err().to_string();
            assert!(
                error.starts_with("device camera: ") && error.contains(text),
                "{error}"
            );
        }
    }

    #[test]
    fn mounts_know_what_they_are_mounted_on() {
        let temp = TempDir::new().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        let mount = |kind: &str, source: &Path| ResourceMount {
            destination: "/x".into(),
            kind: kind.into(),
            source: source.to_owned(),
            ..ResourceMount::default()
        };
        let found = |mount: ResourceMount| {
            let provision = Provision {
                resources: vec![NodeResource {
                    name: "bt".into(),
                    mounts: vec![mount],
                    ..NodeResource::default()
                }],
                ..Provision::default()
            };
            find_mounts(&provision).map(|found| found[0].kind)
        };

        assert_eq!(
            found(mount("bind", temp.path())).unwrap(),
            MountPointKind::Directory
        );
        let file = temp.path().join("file");
        assert_eq!(found(mount("bind", &file)).unwrap(), MountPointKind::File);
        assert_eq!(
            found(mount("tmpfs", Path::new(""))).unwrap(),
            MountPointKind::Directory
        );
        let gone = found(mount("bind", Path::new("/gone"))).unwrap_err();
        assert_eq!(gone.to_string(), "resource bt: cannot mount /gone on /x");
    }
}
