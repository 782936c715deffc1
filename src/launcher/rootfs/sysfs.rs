//! The kernel's objects, for an instance with users of its own.
//!
//! A `sysfs` shows the links of a network namespace, and only who owns that can
//! mount it. The users of an instance do not, so it is mounted here, on its root.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::stat::SFlag;

use super::{RootfsError, fd_path, mounts_below, open_directory, open_entry};

/// Its mount point, in the root.
const NAME: &str = "sys";
const FLAGS: MsFlags = MsFlags::MS_RDONLY
    .union(MsFlags::MS_NOSUID)
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

/// Mounts a `sysfs` of the network namespace that the calling thread is in, on the
/// root in `directory`.
pub(crate) fn mount_sysfs(directory: &Path) -> Result<(), RootfsError> {
    let root = directory.join("rootfs");
    let refused = |errno: Errno| RootfsError::Mount {
        path: root.join(NAME),
        source: errno.into(),
    };
    let target = match open_entry(&open_directory(&root)?, NAME).map_err(refused)? {
        Some((SFlag::S_IFDIR, target)) => target,
        Some(_) => return Err(refused(Errno::ENOTDIR)),
        None => return Err(refused(Errno::ENOENT)),
    };

    let kind = Some("sysfs");
    mount(kind, &fd_path(&target), kind, FLAGS, None::<&str>).map_err(refused)
}

/// Whether the root in `directory` has one.
pub(crate) fn has_sysfs(directory: &Path) -> io::Result<bool> {
    let point = directory.join("rootfs").join(NAME);

    Ok(mounts_below(directory)?.contains(&point))
}
