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

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, read_dir};
    use std::os::unix::fs::symlink;

    use nix::sched::{CloneFlags, unshare};
    use nix::sys::statvfs::statvfs;
    use tempfile::TempDir;

    use super::super::remove_root;
    use super::*;

    /// In namespaces of the test's own.
    fn bundle() -> (TempDir, std::path::PathBuf) {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let temp = TempDir::new().unwrap();
        let bundle = temp.path().canonicalize().unwrap().join("bundle");
        create_dir_all(bundle.join("rootfs")).unwrap();
        (temp, bundle)
    }

    #[test]
    #[ignore = "needs root: run ci/test.sh"]
    fn links_are_those_of_the_threads_network_and_nothing_can_be_changed() {
        let (_temp, bundle) = bundle();
        let sys = bundle.join("rootfs/sys");
        create_dir_all(&sys).unwrap();
        assert!(!has_sysfs(&bundle).unwrap());

        mount_sysfs(&bundle).unwrap();

        assert!(has_sysfs(&bundle).unwrap());
        let links = read_dir(sys.join("class/net")).unwrap();
        let links: Vec<_> = links.map(|link| link.unwrap().file_name()).collect();
        assert_eq!(links, ["lo"]);
        let flags = statvfs(&sys).unwrap().flags().bits();
        assert_eq!(flags & FLAGS.bits(), FLAGS.bits());
        remove_root(&bundle).unwrap();
        assert!(!bundle.exists());
    }

    #[test]
    #[ignore = "needs root: run ci/test.sh"]
    fn link_in_its_place_is_refused_and_leads_nowhere() {
        let (temp, bundle) = bundle();
        let elsewhere = temp.path().join("elsewhere");
        create_dir_all(&elsewhere).unwrap();
        symlink(&elsewhere, bundle.join("rootfs/sys")).unwrap();

        let refused = mount_sysfs(&bundle).unwrap_err();

        assert!(matches!(refused, RootfsError::Mount { .. }), "{refused}");
        assert_eq!(read_dir(&elsewhere).unwrap().count(), 0);
        assert!(!has_sysfs(&bundle).unwrap());
    }
}
