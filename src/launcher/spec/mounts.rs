//! What is mounted into a container, and the mount points that takes.

use std::path::{Path, PathBuf};

use super::oci::Mount;

/// Where the files and directories come from that SM shows to an instance.
/// What is `None` is not shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    /// File `/etc/nsswitch.conf`.
    pub nsswitch: Option<PathBuf>,
    /// Directory `/etc/ssl`.
    pub ssl: Option<PathBuf>,
    /// File `/etc/hosts`.
    pub hosts: PathBuf,
    /// File `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// File `/state.dat`, writable.
    pub state: Option<PathBuf>,
    /// Directory `/storage`, writable.
    pub storage: Option<PathBuf>,
}

/// Something that must exist in the root before it can be mounted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountPoint {
    /// Absolute, inside.
    pub path: &'static str,
    /// What it is.
    pub kind: MountPointKind,
    /// Its permissions. runc gives those of the mount point to a tmpfs, whatever
    /// its options say.
    pub mode: u32,
}

/// What a mount point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MountPointKind {
    /// A directory.
    Directory,
    /// A file.
    File,
}

struct Bind<'a> {
    point: MountPoint,
    source: &'a Path,
    writable: bool,
}

/// The mount points for [`mounts`].
#[must_use]
pub(crate) fn mount_points(sources: &Sources, tmp_limit: Option<u64>) -> Vec<MountPoint> {
    let kernel = ["/proc", "/dev", "/sys"].map(directory);
    let binds = binds(sources).into_iter().map(|bind| bind.point);

    kernel
        .into_iter()
        .chain(binds)
        .chain(tmp_limit.map(|_| MountPoint {
            mode: 0o1777,
            ..directory("/tmp")
        }))
        .collect()
}

/// All mounts, in order. `tmp_limit` is in bytes; without it there is no
/// writable `/tmp`.
pub(super) fn mounts(sources: &Sources, tmp_limit: Option<u64>) -> Vec<Mount> {
    let mut mounts = kernel_mounts();
    mounts.extend(binds(sources).into_iter().map(|bind| {
        let access = if bind.writable { "rw" } else { "ro" };
        Mount {
            destination: bind.point.path.to_owned(),
            kind: "bind",
            source: bind.source.to_owned(),
            options: options(&["bind", access, "nosuid", "nodev"]),
        }
    }));
    mounts.extend(tmp_limit.map(|limit| {
        let mut tmp = mount(
            "/tmp",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=1777"],
        );
        tmp.options.push(format!("size={limit}"));
        tmp
    }));

    mounts
}

fn binds(sources: &Sources) -> Vec<Bind<'_>> {
    let read_only = |point, source| Bind {
        point,
        source,
        writable: false,
    };
    let writable = |point, source| Bind {
        point,
        source,
        writable: true,
    };

    [
        sources
            .nsswitch
            .as_deref()
            .map(|path| read_only(file("/etc/nsswitch.conf"), path)),
        sources
            .ssl
            .as_deref()
            .map(|path| read_only(directory("/etc/ssl"), path)),
        Some(read_only(file("/etc/hosts"), &sources.hosts)),
        Some(read_only(file("/etc/resolv.conf"), &sources.resolv_conf)),
        sources
            .state
            .as_deref()
            .map(|path| writable(file("/state.dat"), path)),
        sources
            .storage
            .as_deref()
            .map(|path| writable(directory("/storage"), path)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn directory(path: &'static str) -> MountPoint {
    MountPoint {
        path,
        kind: MountPointKind::Directory,
        mode: 0o755,
    }
}

fn file(path: &'static str) -> MountPoint {
    MountPoint {
        path,
        kind: MountPointKind::File,
        mode: 0o644,
    }
}

/// Those of runc's default specification.
fn kernel_mounts() -> Vec<Mount> {
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"],
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", "ro"],
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
    ]
}

fn mount(destination: &str, kind: &'static str, source: &str, options_: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind,
        source: source.into(),
        options: options(options_),
    }
}

fn options(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
