//! The user namespace of an instance: who its users are on the host. Pure.
//!
//! The service's own user and groups stay who they are, so that its files,
//! devices and quotas stay its own. Root inside is somebody on the host who owns
//! nothing, and nobody else of the host can be named inside at all.

use std::collections::BTreeSet;
use std::path::Path;

use super::devices::GrantedDevice;
use super::oci::{IdMapping, Mount, Namespace, RuntimeSpec, User};
use super::sysctl::is_of_network;

/// On the host: user and group that root inside is. No account and no container
/// gets a number of this range by the rules of systemd and shadow.
pub(crate) const MAPPED_ROOT: u32 = 2_000_000_000;

/// Group of terminals, which `devpts` is mounted for.
const TTY: u32 = 5;

/// On the host: the group of terminals inside, if it is not lent to the service.
const MAPPED_TTY: u32 = MAPPED_ROOT + TTY;

/// An instance whose users cannot be kept apart from those of the host.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserNamespaceError {
    /// Its files belong to root, and root inside is somebody else.
    #[error(
        "root cannot be its {what} in a user namespace of its own: give it another one, \
         or take the service out of userNamespaces"
    )]
    Root { what: &'static str },
    /// It would own what root inside owns.
    #[error(
        "{what} {id} is kept for root in user namespaces: give it another one, \
         or take the service out of userNamespaces"
    )]
    Reserved { what: &'static str, id: u32 },
}

/// Who is who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mappings {
    uids: Vec<IdMapping>,
    gids: Vec<IdMapping>,
}

#[cfg(test)]
impl Mappings {
    /// Pairs of a user inside and who that is on the host.
    pub(super) fn users(&self) -> Vec<(u32, u32)> {
        pairs(&self.uids)
    }

    /// The same of groups.
    pub(super) fn groups(&self) -> Vec<(u32, u32)> {
        pairs(&self.gids)
    }
}

#[cfg(test)]
fn pairs(mappings: &[IdMapping]) -> Vec<(u32, u32)> {
    let pair = |map: &IdMapping| {
        assert_eq!(map.size, 1);
        (map.container_id, map.host_id)
    };
    mappings.iter().map(pair).collect()
}

/// Who is who for an instance that runs as `user`.
pub(super) fn mappings(user: &User) -> Result<Mappings, UserNamespaceError> {
    own("user", user.uid)?;
    own("group", user.gid)?;
    for &gid in &user.additional_gids {
        own("group of a device or resource", gid)?;
    }
    let groups: BTreeSet<_> = user.additional_gids.iter().copied().collect();
    let groups: BTreeSet<_> = groups.into_iter().chain([user.gid]).collect();
    let tty = (!groups.contains(&TTY)).then(|| map(TTY, MAPPED_TTY));
    let root = map(0, MAPPED_ROOT);

    Ok(Mappings {
        uids: vec![root, map(user.uid, user.uid)],
        gids: std::iter::once(root)
            .chain(tty)
            .chain(groups.into_iter().map(|gid| map(gid, gid)))
            .collect(),
    })
}

/// Whether an id can stay what it is.
fn own(what: &'static str, id: u32) -> Result<(), UserNamespaceError> {
    match id {
        0 => Err(UserNamespaceError::Root { what }),
        MAPPED_ROOT | MAPPED_TTY => Err(UserNamespaceError::Reserved { what, id }),
        _ => Ok(()),
    }
}

fn map(inside: u32, outside: u32) -> IdMapping {
    IdMapping {
        container_id: inside,
        host_id: outside,
        size: 1,
    }
}

/// Gives a specification a user namespace. What only root of the host may do in
/// there is left out of it; who starts the instance has to do it:
///
/// - to mount a `sysfs` of its network namespace,
/// - to set the parameters of that.
///
/// Devices cannot be made inside, so those of the host are mounted.
pub(super) fn enter(spec: &mut RuntimeSpec, mappings: Mappings, devices: &[GrantedDevice]) {
    let linux = &mut spec.linux;
    linux.namespaces.push(Namespace {
        kind: "user",
        path: None,
    });
    linux.uid_mappings = mappings.uids;
    linux.gid_mappings = mappings.gids;
    linux.sysctl.retain(|name, _| !is_of_network(name));
    // One that a resource brings along elsewhere is the runtime's to refuse.
    spec.mounts
        .retain(|mount| mount.destination != "/sys" || mount.kind != "sysfs");
    for node in linux.devices.drain(..) {
        // Each node was made of one of them, the first at its path.
        let device = devices.iter().find(|device| device.node.path == node.path);
        spec.mounts
            .extend(device.map(|device| device_mount(&device.host, &node.path)));
    }
}

fn device_mount(host: &Path, inside: &Path) -> Mount {
    Mount {
        destination: inside.display().to_string(),
        kind: "bind".into(),
        source: host.to_owned(),
        options: ["bind", "nosuid", "noexec"].map(str::to_owned).to_vec(),
    }
}
