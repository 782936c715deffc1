//! A directory that an archive is unpacked to.
//!
//! Everything is done relative to descriptors: parents are opened with openat2
//! beneath the root and through no link, the last part of a name is never
//! followed. So nothing outside the root is touched, whatever was unpacked
//! before. Directories stay private until [`Tree::finish`] gives them their
//! attributes, the innermost first.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use aos_package::archive::{Attributes, EntryPath, MisfitError, Timestamp};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, futimens, mkdirat, mknodat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, linkat, symlinkat, unlinkat};
use xattr::FileExt;

use super::beneath::{Owner, Root, chown_link, give, is_same, kind, stat};
use super::budget::Budget;
use super::copy::{copy, is_full};
use super::counting::Counting;
use super::pool::BUFFER;
use super::record::Hashes;
use super::space::NoSpace;
use super::unpack::UnpackError;

/// Overlayfs hides all that is below a directory with this attribute.
const OPAQUE: &str = "trusted.overlay.opaque";
const PRIVATE: Mode = Mode::S_IRWXU;
/// Of directories that no entry describes.
const IMPLICIT: Attributes = Attributes {
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtime: Timestamp {
        seconds: 0,
        nanoseconds: 0,
    },
};

/// Whom unpacked files belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// root and this group: a service's own files.
    Group(u32),
    /// Whom the archive says; what it does not mention, the process: a layer.
    Archive,
}

/// The directory, while it is filled.
pub(super) struct Tree<'a> {
    root: Root,
    place: PathBuf,
    ownership: Ownership,
    budget: Budget<'a>,
    hashes: &'a mut Hashes,
    /// Archives mostly stay in one directory for a while.
    recent: Option<(EntryPath, Rc<OwnedFd>)>,
    /// Attributes to give at the end; `None`: no entry describes the directory.
    directories: BTreeMap<EntryPath, Option<Attributes>>,
    buffer: Vec<u8>,
}

impl<'a> Tree<'a> {
    /// Takes the empty directory `root`, to put no more than `budget` has into it.
    /// `hashes` get those of all files.
    pub(super) fn new(
        root: &Path,
        ownership: Ownership,
        budget: Budget<'a>,
        hashes: &'a mut Hashes,
    ) -> io::Result<Self> {
        Ok(Self {
            root: Root::open(root)?,
            place: root.to_owned(),
            ownership,
            budget,
            hashes,
            recent: None,
            directories: BTreeMap::from([(EntryPath::default(), None)]),
            buffer: vec![0; BUFFER],
        })
    }

    pub(super) fn directory(
        &mut self,
        path: EntryPath,
        attributes: Attributes,
    ) -> Result<(), UnpackError> {
        // An owner that cannot be must not wait for the end to be found.
        self.owner(&path, Some(attributes))?;
        drop(self.open_directory(&path, Obstacle::Remove)?);
        self.directories.insert(path, Some(attributes));
        Ok(())
    }

    /// Writes a new file with all that `content` gives, which is `size` bytes.
    pub(super) fn file(
        &mut self,
        path: &EntryPath,
        attributes: Attributes,
        size: u64,
        content: &mut impl Read,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), UnpackError> {
        let owner = self.owner(path, Some(attributes))?;
        self.budget.file(size)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = mode_of(attributes);
        let file = self.create(path, |parent, name| openat(parent, name, flags, mode))?;
        let mut file = File::from(file);

        let (budget, mut taken) = (&mut self.budget, 0);
        let mut take = |bytes| {
            budget.content(bytes)?;
            taken += bytes;
            Ok(())
        };
        let buffer = &mut self.buffer;
        let hash = match copy(content, &mut file, buffer, stopped, path, &mut take) {
            Err(UnpackError::Write { source, .. }) if is_full(&source) => {
                return Err(self.budget.refuse(&self.place).into());
            }
            copied => copied.inspect_err(|_| self.budget.taken_for_nothing(taken))?,
        };
        let inode = give(&file, owner, mode, &time_of(attributes));
        let inode = inode.map_err(|errno| failed(path, errno))?;
        self.hashes.note(inode, hash);
        Ok(())
    }

    pub(super) fn symlink(
        &mut self,
        path: &EntryPath,
        target: &OsStr,
        attributes: Attributes,
    ) -> Result<(), UnpackError> {
        let owner = self.owner(path, Some(attributes))?;
        self.budget.symlink(target.len() as u64)?;
        let mtime = time_of(attributes);
        self.create(path, |parent, name| {
            symlinkat(target, parent, name)?;
            chown_link(parent, name, owner)?;
            utimensat(
                parent,
                name,
                &mtime,
                &mtime,
                UtimensatFlags::NoFollowSymlink,
            )
        })
    }

    /// Gives `target`, which has to be a file, another name.
    pub(super) fn hard_link(
        &mut self,
        path: &EntryPath,
        target: &EntryPath,
    ) -> Result<(), UnpackError> {
        let refused = || MisfitError::LinkTarget {
            path: path.as_path().to_owned(),
            target: target.as_path().to_owned(),
        };
        let (directory, target_name) = target.split().ok_or_else(refused)?;
        let directory = self.root.open_existing(&directory).map_err(|_| refused())?;
        let target = stat(&directory, target_name).map_err(|_| refused())?;
        if kind(&target) != SFlag::S_IFREG {
            return Err(refused().into());
        }

        self.create(path, |parent, name| {
            match linkat(&directory, target_name, parent, name, AtFlags::empty()) {
                // It may be the same file already.
                Err(Errno::EEXIST) if is_same(&stat(parent, name)?, &target) => Ok(()),
                linked => linked,
            }
        })
    }

    /// Hides what lower layers have at `path`. What this archive has there stays
    /// visible.
    pub(super) fn whiteout(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        let owner = self.owner(path, None)?;
        let (parent, name) = self.parent_of(path)?;

        self.budget.file(0)?;
        match mknodat(&parent, name, SFlag::S_IFCHR, Mode::empty(), 0) {
            Ok(()) => chown_link(&parent, name, owner).map_err(|errno| failed(path, errno)),
            Err(Errno::EEXIST) => {
                let existing = stat(&parent, name).map_err(|errno| failed(path, errno))?;
                if kind(&existing) == SFlag::S_IFDIR {
                    self.opaque(path)?;
                }
                Ok(())
            }
            Err(errno) => Err(failed(path, errno)),
        }
    }

    /// Hides all that lower layers have in the directory `path`.
    pub(super) fn opaque(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        drop(self.open_directory(path, Obstacle::Refuse)?);
        self.root
            .open_readable(path)
            .and_then(|directory| directory.set_xattr(OPAQUE, b"y"))
            .map_err(|source| UnpackError::Write {
                path: path.as_path().to_owned(),
                source,
            })
    }

    /// For an archive that there is no room for: what is not written is counted.
    pub(super) fn into_counting(self, refused: NoSpace) -> Counting<'a> {
        Counting::new(self.budget, self.directories.into_keys(), refused)
    }

    /// Gives all directories their attributes.
    pub(super) fn finish(self) -> Result<(), UnpackError> {
        for (path, attributes) in self.directories.iter().rev() {
            let owner = self.owner(path, *attributes)?;
            let attributes = attributes.unwrap_or(IMPLICIT);
            let mtime = time_of(attributes);
            let apply = || -> io::Result<()> {
                let directory = self.root.open_readable(path)?;
                if let Some((uid, gid)) = owner {
                    fchown(&directory, Some(uid), Some(gid))?;
                }
                fchmod(&directory, mode_of(attributes))?;
                futimens(&directory, &mtime, &mtime)?;
                Ok(())
            };
            apply().map_err(|source| UnpackError::Write {
                path: path.as_path().to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    fn owner(&self, path: &EntryPath, wanted: Option<Attributes>) -> Result<Owner, UnpackError> {
        let id = |id: u64| {
            u32::try_from(id)
                .ok()
                // The kernel takes the largest one for "leave it as it is".
                .filter(|id| *id != u32::MAX)
                .ok_or_else(|| MisfitError::Owner {
                    path: path.as_path().to_owned(),
                })
        };
        Ok(match (self.ownership, wanted) {
            (Ownership::Group(gid), _) => Some((Uid::from_raw(0), Gid::from_raw(gid))),
            (Ownership::Archive, None) => None,
            (Ownership::Archive, Some(attributes)) => Some((
                Uid::from_raw(id(attributes.uid)?),
                Gid::from_raw(id(attributes.gid)?),
            )),
        })
    }

    /// Makes something at `path`; what is there makes way.
    fn create<T>(
        &mut self,
        path: &EntryPath,
        make: impl Fn(&OwnedFd, &OsStr) -> nix::Result<T>,
    ) -> Result<T, UnpackError> {
        let (parent, name) = self.parent_of(path)?;
        let mut made = make(&parent, name);
        if matches!(made, Err(Errno::EEXIST)) {
            self.remove(path, &parent, name)?;
            made = make(&parent, name);
        }
        made.map_err(|errno| failed(path, errno))
    }

    fn parent_of<'p>(
        &mut self,
        path: &'p EntryPath,
    ) -> Result<(Rc<OwnedFd>, &'p OsStr), UnpackError> {
        let (parent, name) = path
            .split()
            .expect("plans have no root where a name is needed");
        let recent = match self.recent.take() {
            Some((recent, descriptor)) if recent == parent => descriptor,
            _ => Rc::new(self.open_directory(&parent, Obstacle::Refuse)?),
        };
        self.recent = Some((parent, Rc::clone(&recent)));
        Ok((recent, name))
    }

    /// Opens a directory, which is made if it is not there.
    fn open_directory(
        &mut self,
        path: &EntryPath,
        obstacle: Obstacle,
    ) -> Result<OwnedFd, UnpackError> {
        match self.root.open_existing(path) {
            Ok(directory) => return Ok(directory),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
            Err(errno) => return Err(failed(path, errno)),
        }

        let Some((parent, name)) = path.split() else {
            return Err(failed(path, Errno::ENOENT));
        };
        let parent = self.open_directory(&parent, Obstacle::Refuse)?;
        self.budget.directory(path)?;
        let mut made = mkdirat(&parent, name, PRIVATE);
        let mut hides = false;
        if made == Err(Errno::EEXIST) {
            let existing = stat(&parent, name).map_err(|errno| failed(path, errno))?;
            hides = kind(&existing) == SFlag::S_IFCHR;
            if !hides && obstacle == Obstacle::Refuse {
                return Err(MisfitError::NotDirectory {
                    path: path.as_path().to_owned(),
                }
                .into());
            }
            self.remove(path, &parent, name)?;
            made = mkdirat(&parent, name, PRIVATE);
        }
        made.map_err(|errno| failed(path, errno))?;
        self.directories.insert(path.clone(), None);
        if hides {
            // The archive wants what is below gone, and this here.
            self.opaque(path)?;
        }

        self.root
            .open_existing(path)
            .map_err(|errno| failed(path, errno))
    }

    fn remove(
        &mut self,
        path: &EntryPath,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<(), UnpackError> {
        self.recent = None;
        match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR | Errno::EPERM) => {}
            unlinked => return unlinked.map_err(|errno| failed(path, errno)),
        }

        let directory = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
        fs::remove_dir_all(directory).map_err(|source| UnpackError::Write {
            path: path.as_path().to_owned(),
            source,
        })?;
        let gone = self
            .directories
            .range(path.clone()..)
            .take_while(|(inner, _)| inner.as_bytes().starts_with(path.as_bytes()))
            .filter(|(inner, _)| inner.as_path().starts_with(path.as_path()))
            .map(|(inner, _)| inner.clone())
            .collect::<Vec<_>>();
        for inner in gone {
            self.directories.remove(&inner);
        }
        Ok(())
    }
}

/// What to do with a file where a directory has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// Nothing may go through it: it could be a link.
    Refuse,
    /// The directory is an entry of its own, and the later entry counts.
    Remove,
}

fn mode_of(attributes: Attributes) -> Mode {
    Mode::from_bits_truncate(attributes.mode)
}

fn time_of(attributes: Attributes) -> TimeSpec {
    TimeSpec::new(
        attributes.mtime.seconds,
        i64::from(attributes.mtime.nanoseconds),
    )
}

fn failed(path: &EntryPath, errno: Errno) -> UnpackError {
    UnpackError::Write {
        path: path.as_path().to_owned(),
        source: errno.into(),
    }
}
