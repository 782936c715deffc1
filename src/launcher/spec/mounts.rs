//! What is mounted into a container, and the mount points that takes.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::oci::Mount;
use crate::model::ResourceMount;

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
    /// What the resources of the service bring along.
    pub lent: Vec<LentMount>,
}

/// A mount of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LentMount {
    /// As the unit configuration has it.
    pub mount: ResourceMount,
    /// What it is mounted on.
    pub kind: MountPointKind,
}

/// Something that must exist in the root before it can be mounted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountPoint {
    /// Absolute, inside.
    pub path: Cow<'static, str>,
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
    let mut points: Vec<_> = kernel
        .into_iter()
        .chain(binds)
        .chain(tmp_limit.map(|_| MountPoint {
            mode: 0o1777,
            ..directory("/tmp")
        }))
        .collect();

    for lent in &sources.lent {
        let destination = Path::new(&lent.mount.destination);
        points.retain(|point| Path::new(&*point.path) != destination);
        // What is mounted on a mount has its mount point there.
        let is_below = |point: &MountPoint| destination.starts_with(&*point.path);
        if points.iter().any(is_below) {
            continue;
        }
        let default = match lent.kind {
            MountPointKind::Directory => 0o755,
            MountPointKind::File => 0o644,
        };
        points.push(MountPoint {
            path: lent.mount.destination.clone().into(),
            kind: lent.kind,
            mode: lent.mount.mode.unwrap_or(default),
        });
    }

    points
}

/// All mounts, in order. `tmp_limit` is in bytes; without it there is no
/// writable `/tmp`.
pub(super) fn mounts(sources: &Sources, tmp_limit: Option<u64>) -> Vec<Mount> {
    let mut mounts = kernel_mounts();
    mounts.extend(binds(sources).into_iter().map(|bind| {
        let access = if bind.writable { "rw" } else { "ro" };
        Mount {
            destination: bind.point.path.into_owned(),
            kind: "bind".into(),
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
    for lent in &sources.lent {
        let lent = lent_mount(&lent.mount);
        mounts.retain(|mount| mount.destination != lent.destination);
        mounts.push(lent);
    }

    mounts
}

fn lent_mount(lent: &ResourceMount) -> Mount {
    let mut options = lent.options.clone();
    let is_bind = |option: &String| option == "bind" || option == "rbind";
    if lent.kind == "bind" && !options.iter().any(is_bind) {
        options.push("bind".to_owned());
    }
    // What it is called, for filesystems without a source.
    let source = if lent.source == Path::new("") {
        PathBuf::from(&lent.kind)
    } else {
        lent.source.clone()
    };

    Mount {
        destination: lent.destination.clone(),
        kind: lent.kind.clone().into(),
        source,
        options,
    }
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
        path: path.into(),
        kind: MountPointKind::Directory,
        mode: 0o755,
    }
}

fn file(path: &'static str) -> MountPoint {
    MountPoint {
        path: path.into(),
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
        kind: kind.into(),
        source: source.into(),
        options: options(options_),
    }
}

fn options(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
