//! Calls below a directory that never leave it and follow no link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aos_package::archive::EntryPath;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};

/// `None`: leave it as it is.
pub(super) type Owner = Option<(Uid, Gid)>;

/// The directory that nothing may leave.
pub(super) struct Root(OwnedFd);

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        Ok(Self(open(path, flags, Mode::empty())?))
    }

    /// A directory, as a place for other calls.
    pub(super) fn open_existing(&self, path: &EntryPath) -> nix::Result<OwnedFd> {
        self.open_beneath(path, OFlag::O_PATH)
    }

    /// A directory, as a file that has attributes.
    pub(super) fn open_readable(&self, path: &EntryPath) -> io::Result<File> {
        Ok(File::from(self.open_beneath(path, OFlag::O_RDONLY)?))
    }

    fn open_beneath(&self, path: &EntryPath, flags: OFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_SYMLINKS
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS
                    | ResolveFlag::RESOLVE_NO_XDEV,
            );
        let path = if path.is_root() {
            Path::new(".")
        } else {
            path.as_path()
        };
        openat2(&self.0, path, how)
    }
}

/// What `name` itself is, be it a link.
pub(super) fn stat(parent: impl AsFd, name: &OsStr) -> nix::Result<FileStat> {
    fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

pub(super) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

pub(super) fn is_same(a: &FileStat, b: &FileStat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

/// Gives a new file to `owner`, with this mode and time of change. Returns its
/// inode.
pub(super) fn give(file: &File, owner: Owner, mode: Mode, mtime: &TimeSpec) -> nix::Result<u64> {
    let stat = fstat(file)?;
    if let Some((uid, gid)) = owner
        && (stat.st_uid, stat.st_gid) != (uid.as_raw(), gid.as_raw())
    {
        fchown(file, Some(uid), Some(gid))?;
    }
    // It was made with this mode, but for what the process masks.
    if stat.st_mode & 0o7777 != mode.bits() {
        fchmod(file, mode)?;
    }
    futimens(file, mtime, mtime)?;
    Ok(stat.st_ino)
}

/// Gives `name` itself to `owner`, never what it leads to.
pub(super) fn chown_link(parent: &OwnedFd, name: &OsStr, owner: Owner) -> nix::Result<()> {
    owner.map_or(Ok(()), |(uid, gid)| {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(parent, name, Some(uid), Some(gid), flags)
    })
}
