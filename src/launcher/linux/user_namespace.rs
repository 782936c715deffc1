//! What root of the host does for an instance whose users are others.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use aos_package::ServiceConfig;
use nix::sys::statvfs::{FsFlags, statvfs};

use super::directories::failed;
use crate::launcher::HostError;
use crate::launcher::rootfs::mount_sysfs;
use crate::launcher::spec::{MAPPED_ROOT, RuntimeSpec, network_parameters};
use crate::networkmanager::run_in_named;

/// What to do where there are none.
const ADVICE: &str = "change that, or take the service out of userNamespaces";

/// Whether the kernel has user namespaces. `proc` is `/proc`.
pub(super) fn check_kernel(proc: &Path) -> Result<(), HostError> {
    if proc.join("self/ns/user").symlink_metadata().is_err() {
        return Err(HostError::new(io::Error::other(format!(
            "userNamespaces: this kernel has no user namespaces (CONFIG_USER_NS): {ADVICE}"
        ))));
    }

    let path = proc.join("sys/user/max_user_namespaces");
    match fs::read_to_string(&path) {
        Ok(most) if most.trim() == "0" => Err(HostError::new(io::Error::other(format!(
            "userNamespaces: {} is 0, so there can be no user namespaces: {ADVICE}",
            path.display()
        )))),
        // Before 4.9 nothing limits them.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("read", &path)(error)),
        _ => Ok(()),
    }
}

/// Lets root inside find the root in `bundle`, and does what it may not do there
/// itself. `bundles` is the directory that the bundle is in.
pub(super) fn prepare(
    bundles: &Path,
    bundle: &Path,
    netns: &Path,
    config: &ServiceConfig,
) -> Result<(), HostError> {
    for directory in [bundles, bundle] {
        let_pass(directory).map_err(failed("let root of a user namespace pass", directory))?;
    }

    let parameters = network_parameters(config);
    run_in_named(netns, || {
        Ok(mount_sysfs(bundle)
            .map_err(HostError::new)
            .and_then(|()| set(Path::new("/proc/sys"), &parameters)))
    })
    .map_err(failed("enter network namespace", netns))?
}

/// Root inside may go through, and not look around.
fn let_pass(directory: &Path) -> io::Result<()> {
    chown(directory, None, Some(MAPPED_ROOT))?;
    fs::set_permissions(directory, Permissions::from_mode(0o710))
}

fn set(base: &Path, parameters: &[(PathBuf, String)]) -> Result<(), HostError> {
    for (name, value) in parameters {
        let path = base.join(name);
        let file = OpenOptions::new().write(true).open(&path);
        file.and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(failed("set kernel parameter", &path))?;
    }

    Ok(())
}

/// What is mounted inside keeps what the host forbids in its place: the kernel lets
/// nobody in a user namespace take that away, not even by leaving it out.
pub(super) fn keep_flags(spec: &mut RuntimeSpec) -> Result<(), HostError> {
    for mount in spec.mounts.iter_mut().filter(|mount| mount.is_bind()) {
        let found = statvfs(&mount.source)
            .map_err(io::Error::from)
            .map_err(failed("look at", &mount.source))?;
        mount.add_options(&options(found.flags()));
    }

    Ok(())
}

fn options(flags: FsFlags) -> Vec<&'static str> {
    [
        (FsFlags::ST_RDONLY, "ro"),
        (FsFlags::ST_NOSUID, "nosuid"),
        (FsFlags::ST_NODEV, "nodev"),
        (FsFlags::ST_NOEXEC, "noexec"),
    ]
    .into_iter()
    .filter(|(flag, _)| flags.contains(*flag))
    .map(|(_, option)| option)
    .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use tempfile::TempDir;

    use super::*;
    use crate::model::Chain;

    fn kernel(most: Option<&str>) -> TempDir {
        let proc = TempDir::new().unwrap();
        create_dir_all(proc.path().join("self/ns")).unwrap();
        create_dir_all(proc.path().join("sys/user")).unwrap();
        // It leads to no path, as in /proc.
        symlink("user:[4026531837]", proc.path().join("self/ns/user")).unwrap();
        if let Some(most) = most {
            write(proc.path().join("sys/user/max_user_namespaces"), most).unwrap();
        }
        proc
    }

    #[test]
    fn kernel_that_has_them_is_told_by_its_files() {
        for most in [None, Some("1\n"), Some("96365\n")] {
            check_kernel(kernel(most).path()).unwrap();
        }
        check_kernel(Path::new("/proc")).unwrap();
    }

    #[test]
    fn kernel_without_them_is_an_error_that_says_what_to_do() {
        let without = TempDir::new().unwrap();
        let forbidden = kernel(Some("0\n"));
        for (proc, why) in [
            (&without, "CONFIG_USER_NS"),
            (&forbidden, "max_user_namespaces is 0"),
        ] {
            let refused = check_kernel(proc.path()).unwrap_err();

            let text = Chain(&refused).to_string();
            assert!(text.contains(why), "{text}");
            assert!(
                text.contains("take the service out of userNamespaces"),
                "{text}"
            );
        }
    }

    #[test]
    #[ignore = "needs root: run ci/test.sh"]
    fn root_inside_may_pass_and_nobody_may_look_around() {
        let temp = TempDir::new().unwrap();

        let_pass(temp.path()).unwrap();

        let metadata = fs::metadata(temp.path()).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o710);
        assert_eq!((metadata.uid(), metadata.gid()), (0, MAPPED_ROOT));
    }

    #[test]
    fn parameter_that_there_is_not_is_an_error_with_its_path_and_no_file() {
        let base = TempDir::new().unwrap();
        write(base.path().join("known"), "").unwrap();
        let parameter = |name: &str| (PathBuf::from(name), "42".to_owned());

        let refused = set(base.path(), &[parameter("known"), parameter("unknown")]);

        let text = Chain(&refused.unwrap_err()).to_string();
        assert!(text.contains("/unknown: No such file"), "{text}");
        assert_eq!(fs::read_to_string(base.path().join("known")).unwrap(), "42");
        assert!(!base.path().join("unknown").exists());
    }

    #[test]
    fn flags_of_the_host_become_options() {
        let all = FsFlags::ST_RDONLY | FsFlags::ST_NOSUID | FsFlags::ST_NODEV;

        assert_eq!(options(FsFlags::empty()), [""; 0]);
        assert_eq!(
            options(all | FsFlags::ST_NOEXEC | FsFlags::ST_RELATIME),
            ["ro", "nosuid", "nodev", "noexec"]
        );
    }
}
