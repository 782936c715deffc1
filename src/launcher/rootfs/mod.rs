//! The root filesystem of an instance, mounted and unmounted.
//!
//! `<runtime dir>/mounts` holds the mount points and lies on top of the
//! image's layers in a read-only overlay at `<runtime dir>/rootfs`. The host
//! directories that an instance may see are mounted on that, as
//! [`rootfs_plan`](crate::launcher::rootfs_plan) decides. Every directory is opened
//! without following links and handed to the kernel as `/proc/self/fd/N`: no
//! image can lead a mount astray, and no path can break a list of options.
//!
//! Invariant: nothing is removed as long as something is mounted below. All
//! calls block.

mod sysfs;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2, readlinkat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::launcher::mounted::mounts_below;
use crate::launcher::rootfs_plan::{BindKind, HostEntry, LayerEntry, View, points_at, view};
use crate::launcher::spec::{MountPoint, MountPointKind};

pub(crate) use sysfs::{has_sysfs, mount_sysfs};

/// Marks a directory that hides those below it.
const OPAQUE: &str = "trusted.overlay.opaque";

/// A root filesystem cannot be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootfsError {
    /// Part of the image, or of the host, cannot be opened.
    #[error("cannot open {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A mount point cannot be made.
    #[error("cannot make mount point {}", path.display())]
    MountPoint {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The kernel refused a mount.
    #[error("cannot mount {}", path.display())]
    Mount {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The kernel refused to unmount.
    #[error("cannot unmount {}", path.display())]
    Unmount {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The mounts are gone, the directory is not.
    #[error("cannot remove {}", path.display())]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What a root filesystem is made of.
#[derive(Debug)]
pub(crate) struct Ingredients<'a> {
    /// The host's root.
    pub host_root: &'a Path,
    /// Top entries of the host that are shown.
    pub host_binds: &'a [String],
    /// Directories of the image, the top first.
    pub layers: Vec<&'a Path>,
    /// What will be mounted on.
    pub points: &'a [MountPoint],
}

/// A host entry that is mounted on the image.
struct HostMount {
    name: String,
    kind: BindKind,
    host: OwnedFd,
    /// Laid over the host's directory, the top first.
    over: Vec<OwnedFd>,
}

/// Mounts a root filesystem in `directory`, which it makes. On an error
/// nothing is left.
pub(crate) fn mount_root(directory: &Path, from: &Ingredients<'_>) -> Result<(), RootfsError> {
    remove_root(directory)?;

    let result = try_mount(directory, from);
    if result.is_err()
        && let Err(error) = remove_root(directory)
    {
        tracing::warn!(%error, directory = %directory.display(), "remains of a root are left");
    }

    result
}

/// Unmounts all below `directory` and removes it.
pub(crate) fn remove_root(directory: &Path) -> Result<(), RootfsError> {
    let refused = |path: &Path, source| RootfsError::Unmount {
        path: path.to_owned(),
        source,
    };
    let below = || mounts_below(directory).map_err(|source| refused(directory, source));

    for path in below()?.iter().rev() {
        match umount2(path, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => return Err(refused(path, errno.into())),
        }
    }
    // Removing must never reach through a mount.
    if let Some(path) = below()?.first() {
        return Err(refused(path, Errno::EBUSY.into()));
    }

    match fs::remove_dir_all(directory) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(RootfsError::Remove {
            path: directory.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn try_mount(directory: &Path, from: &Ingredients<'_>) -> Result<(), RootfsError> {
    let layers = from
        .layers
        .iter()
        .map(|path| open_directory(path))
        .collect::<Result<Vec<_>, _>>()?;
    let host = open_directory(from.host_root)?;

    let points = directory.join("mounts");
    let root = directory.join("rootfs");
    make_directory(directory, 0o700)?;
    make_directory(&points, 0o755)?;
    make_directory(&root, 0o755)?;
    for point in from.points {
        make_mount_point(&points, point)?;
    }

    let mut mounts = Vec::new();
    for name in from.host_binds {
        mounts.extend(plan_host_entry(name, &host, &layers, &points, from)?);
    }

    let lower = std::iter::once(open_directory(&points)?)
        .chain(layers)
        .collect::<Vec<_>>();
    mount_overlay(&lower, &root, &root)?;

    let top = open_directory(&root)?;
    for mount in &mounts {
        mount_host_entry(&top, mount, &root.join(&mount.name))?;
    }

    Ok(())
}

/// Looks at one host entry and makes its mount point, or its link.
fn plan_host_entry(
    name: &str,
    host: &OwnedFd,
    layers: &[OwnedFd],
    points: &Path,
    from: &Ingredients<'_>,
) -> Result<Option<HostMount>, RootfsError> {
    let refused = |directory: &Path| {
        let path = directory.join(name);
        move |errno: Errno| RootfsError::Open {
            path,
            source: errno.into(),
        }
    };

    let (host_entry, host) = host_entry(host, name).map_err(refused(from.host_root))?;
    let mut entries = Vec::new();
    let mut opened = Vec::new();
    for (layer, path) in layers.iter().zip(&from.layers) {
        let (entry, fd) = layer_entry(layer, name).map_err(refused(path))?;
        entries.push(entry);
        opened.push(fd);
    }

    let own = points.join(name);
    let (kind, mut over, used) = match view(host_entry, &entries, points_at(name, from.points)) {
        View::Hidden => return Ok(None),
        View::Link(target) => {
            symlink(target, &own)
                .map_err(|source| RootfsError::MountPoint { path: own, source })?;
            return Ok(None);
        }
        View::Bind(kind) => (kind, Vec::new(), Vec::new()),
        View::Overlay {
            points: true,
            layers,
        } => (BindKind::Directory, vec![open_directory(&own)?], layers),
        View::Overlay {
            points: false,
            layers,
        } => (BindKind::Directory, Vec::new(), layers),
    };
    over.extend(
        opened
            .into_iter()
            .enumerate()
            .filter(|(index, _)| used.contains(index))
            .filter_map(|(_, fd)| fd),
    );
    // On top of the image: what is mounted on is a directory of ours.
    match kind {
        BindKind::Directory => make_directory(&own, 0o755)?,
        BindKind::File => make_file(&own, 0o644)?,
    }

    Ok(host.map(|host| HostMount {
        name: name.to_owned(),
        kind,
        host,
        over,
    }))
}

fn mount_host_entry(top: &OwnedFd, entry: &HostMount, path: &Path) -> Result<(), RootfsError> {
    let refused = |errno: Errno| RootfsError::Mount {
        path: path.to_owned(),
        source: errno.into(),
    };
    let (_, target) = open_entry(top, &entry.name)
        .map_err(refused)?
        .ok_or(Errno::ENOENT)
        .map_err(refused)?;

    if entry.kind == BindKind::Directory && !entry.over.is_empty() {
        let lower = entry.over.iter().chain([&entry.host]).collect::<Vec<_>>();
        return mount_overlay(&lower, &fd_path(&target), path);
    }

    let none = None::<&str>;
    mount(
        Some(&fd_path(&entry.host)),
        &fd_path(&target),
        none,
        MsFlags::MS_BIND,
        none,
    )
    .map_err(refused)?;
    // The name now leads to the new mount.
    let (_, bound) = open_entry(top, &entry.name)
        .map_err(refused)?
        .ok_or(Errno::ENOENT)
        .map_err(refused)?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | READ_ONLY;
    mount(none, &fd_path(&bound), none, read_only, none).map_err(refused)
}

const READ_ONLY: MsFlags = MsFlags::MS_RDONLY
    .union(MsFlags::MS_NOSUID)
    .union(MsFlags::MS_NODEV);

/// `path` is `target` as humans know it.
fn mount_overlay(lower: &[impl AsFd], target: &Path, path: &Path) -> Result<(), RootfsError> {
    let lower = lower
        .iter()
        .map(|fd| fd_path(fd).display().to_string())
        .collect::<Vec<_>>()
        .join(":");
    let options = format!("lowerdir={lower}");

    mount(
        Some("overlay"),
        target,
        Some("overlay"),
        READ_ONLY,
        Some(options.as_str()),
    )
    .map_err(|errno| RootfsError::Mount {
        path: path.to_owned(),
        source: errno.into(),
    })
}

fn host_entry(host: &OwnedFd, name: &str) -> nix::Result<(HostEntry, Option<OwnedFd>)> {
    Ok(match open_entry(host, name)? {
        Some((SFlag::S_IFDIR, fd)) => (HostEntry::Directory, Some(fd)),
        Some((SFlag::S_IFREG, fd)) => (HostEntry::File, Some(fd)),
        Some((SFlag::S_IFLNK, _)) => (HostEntry::Link(readlinkat(host, name)?), None),
        _ => (HostEntry::Absent, None),
    })
}

fn layer_entry(layer: &OwnedFd, name: &str) -> nix::Result<(LayerEntry, Option<OwnedFd>)> {
    match open_entry(layer, name)? {
        None => Ok((LayerEntry::Absent, None)),
        Some((SFlag::S_IFDIR, fd)) => {
            let opaque = xattr::get_deref(fd_path(&fd), OPAQUE)
                .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
            if opaque.as_deref() == Some(b"y") {
                Ok((LayerEntry::Opaque, None))
            } else {
                Ok((LayerEntry::Directory, Some(fd)))
            }
        }
        Some(_) => Ok((LayerEntry::Other, None)),
    }
}

/// Opens what is at `name`, a link itself and not what it leads to.
fn open_entry(directory: &OwnedFd, name: &str) -> nix::Result<Option<(SFlag, OwnedFd)>> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let fd = match openat2(directory, name, how) {
        Err(Errno::ENOENT) => return Ok(None),
        other => other?,
    };
    let kind = SFlag::from_bits_truncate(fstat(&fd)?.st_mode) & SFlag::S_IFMT;

    Ok(Some((kind, fd)))
}

fn open_directory(path: &Path) -> Result<OwnedFd, RootfsError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;

    open(path, flags, Mode::empty()).map_err(|errno| RootfsError::Open {
        path: path.to_owned(),
        source: errno.into(),
    })
}

fn fd_path(fd: &impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()).into()
}

fn make_mount_point(points: &Path, point: &MountPoint) -> Result<(), RootfsError> {
    let path = points.join(point.path.trim_start_matches('/'));
    if let Some(parent) = path.parent() {
        make_directory(parent, 0o755)?;
    }

    match point.kind {
        MountPointKind::Directory => make_directory(&path, point.mode),
        MountPointKind::File => make_file(&path, point.mode),
    }
}

/// Whatever the process's umask.
fn make_directory(path: &Path, mode: u32) -> Result<(), RootfsError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(|source| RootfsError::MountPoint {
            path: path.to_owned(),
            source,
        })
}

fn make_file(path: &Path, mode: u32) -> Result<(), RootfsError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .and_then(|file: File| file.set_permissions(Permissions::from_mode(mode)))
        .map_err(|source| RootfsError::MountPoint {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests;
