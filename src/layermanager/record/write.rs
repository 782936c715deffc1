//! A walk over a tree, and what it writes down.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::format::{self, HEAD, PATH_MAX, SUM};
use super::hash::{ContentHasher, Hashes, hash_content};
use super::{Entry, Kind, RecordError};
use crate::layermanager::beneath::{kind, stat};

/// Records `roots`, each with the name that it has in the item's directory (none
/// if it is that directory), into the new file `to`. All attributes have been
/// given, all files have been written and their `hashes` noted. Brings nothing
/// to the disk.
///
/// # Errors
///
/// A file cannot be looked at or was not hashed, or the record cannot be written.
pub(in crate::layermanager) fn write(
    roots: &[(&str, &Path)],
    hashes: Hashes,
    to: &Path,
) -> Result<(), RecordError> {
    let hashes = hashes.sorted();
    record(roots, to, &|| false, &mut |_, _, stat| {
        Ok(hashes.get(stat.st_ino))
    })
}

/// As [`write`], for a tree that is there already: its files are read.
///
/// # Errors
///
/// A file cannot be read, the record cannot be written, or `stopped` says so.
pub(in crate::layermanager) fn write_by_reading(
    roots: &[(&str, &Path)],
    to: &Path,
    stopped: &dyn Fn() -> bool,
) -> Result<(), RecordError> {
    record(roots, to, stopped, &mut |parent, name, _| {
        // Were it no file by now, we would not wait for it.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(parent, name, flags, Mode::empty())?;
        hash_content(&mut File::from(file), stopped)
    })
}

/// Hashes the file of this name in a directory. `None`: not known.
type HashFile<'a> = dyn FnMut(&OwnedFd, &OsStr, &FileStat) -> io::Result<Option<u128>> + 'a;

fn record(
    roots: &[(&str, &Path)],
    to: &Path,
    stopped: &dyn Fn() -> bool,
    hash_file: &mut HashFile<'_>,
) -> Result<(), RecordError> {
    let mut lines = Lines::new(to).map_err(writing(to))?;
    for (name, root) in roots {
        let mut walk = Walk::new(name, root).map_err(reading(root))?;
        lines.add(&walk.root).map_err(writing(to))?;
        while let Some(entry) = walk.next(root, hash_file)? {
            if stopped() {
                return Err(RecordError::Stopped);
            }
            if entry.hash.is_some() != entry.kind.has_hash() {
                return Err(RecordError::NotHashed { path: entry.path });
            }
            lines.add(&entry).map_err(writing(to))?;
        }
    }
    lines.finish().map_err(writing(to))
}

/// The file that is written.
struct Lines {
    file: BufWriter<File>,
    sum: ContentHasher,
    line: Vec<u8>,
}

impl Lines {
    fn new(to: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)?;
        let mut lines = Self {
            file: BufWriter::with_capacity(64 * 1024, file),
            sum: ContentHasher::new(),
            line: HEAD.to_vec(),
        };
        lines.put()?;
        Ok(lines)
    }

    fn add(&mut self, entry: &Entry) -> io::Result<()> {
        entry.write(&mut self.line);
        self.put()
    }

    fn put(&mut self) -> io::Result<()> {
        self.sum.update(&self.line);
        self.file.write_all(&self.line)?;
        self.line.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.file.write_all(SUM)?;
        writeln!(self.file, "{:032x}", self.sum.finish())?;
        self.file.flush()
    }
}

/// The directories that the walk is in, the root first.
struct Walk {
    root: Entry,
    inside: Vec<Inside>,
}

struct Inside {
    path: PathBuf,
    directory: OwnedFd,
    /// Not looked at yet, the next one last.
    names: Vec<OsString>,
}

impl Inside {
    fn new(path: PathBuf, directory: OwnedFd) -> io::Result<Self> {
        let mut names = Vec::new();
        let mut listed = Dir::from_fd(directory.try_clone()?)?;
        for entry in listed.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));

        Ok(Self {
            path,
            directory,
            names,
        })
    }
}

impl Walk {
    fn new(name: &str, root: &Path) -> io::Result<Self> {
        let directory = open(root, directory_flags(), Mode::empty())?;
        let stat = fstat(&directory)?;
        let inside = Inside::new(format::root(name), directory)?;
        let root = Entry {
            mtime_ns: None,
            ctime_ns: None,
            ..described(inside.path.clone(), Kind::Directory, &stat, None)
        };
        Ok(Self {
            root,
            inside: vec![inside],
        })
    }

    /// The next one below the root, which is at `at`.
    fn next(
        &mut self,
        at: &Path,
        hash_file: &mut HashFile<'_>,
    ) -> Result<Option<Entry>, RecordError> {
        let (inside, name) = loop {
            let Some(inside) = self.inside.last_mut() else {
                return Ok(None);
            };
            if let Some(name) = inside.names.pop() {
                break (inside, name);
            }
            self.inside.pop();
        };
        let path = format::below(&inside.path, &name);
        let shown = || {
            let below = path.strip_prefix(&self.root.path).unwrap_or(&path);
            at.join(below)
        };

        let mut look = || -> io::Result<(Entry, Option<Inside>)> {
            if path.as_os_str().len() > PATH_MAX {
                return Err(Errno::ENAMETOOLONG.into());
            }
            let stat = stat(&inside.directory, &name)?;
            let kind = kind_of(&stat);
            let (mut hash, mut deeper) = (None, None);
            match kind {
                Kind::Directory => {
                    let flags = directory_flags();
                    let directory = openat(&inside.directory, &*name, flags, Mode::empty())?;
                    deeper = Some(Inside::new(path.clone(), directory)?);
                }
                Kind::File => hash = hash_file(&inside.directory, &name, &stat)?,
                Kind::Symlink => {
                    let target = readlinkat(&inside.directory, &*name)?.into_vec();
                    hash = Some(ContentHasher::of(&target));
                }
                _ => {}
            }
            Ok((described(path.clone(), kind, &stat, hash), deeper))
        };
        let (entry, deeper) = look().map_err(|source| reading(&shown())(source))?;
        self.inside.extend(deeper);
        Ok(Some(entry))
    }
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

fn kind_of(stat: &FileStat) -> Kind {
    match kind(stat) {
        SFlag::S_IFDIR => Kind::Directory,
        SFlag::S_IFLNK => Kind::Symlink,
        SFlag::S_IFCHR => Kind::CharacterDevice,
        SFlag::S_IFBLK => Kind::BlockDevice,
        SFlag::S_IFIFO => Kind::Fifo,
        SFlag::S_IFSOCK => Kind::Socket,
        _ => Kind::File,
    }
}

/// What `stat` says of the file at `path`.
pub(in crate::layermanager) fn described(
    path: PathBuf,
    kind: Kind,
    stat: &FileStat,
    hash: Option<u128>,
) -> Entry {
    let time = |seconds: i64, nanoseconds: i64| {
        Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
    };
    let size = match kind {
        Kind::File | Kind::Symlink => u64::try_from(stat.st_size).unwrap_or_default(),
        Kind::CharacterDevice | Kind::BlockDevice => stat.st_rdev,
        Kind::Directory | Kind::Fifo | Kind::Socket => 0,
    };
    Entry {
        path,
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size,
        mtime_ns: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: time(stat.st_ctime, stat.st_ctime_nsec),
        inode: stat.st_ino,
        hash,
    }
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> RecordError + use<> {
    let path = path.to_owned();
    move |source| RecordError::Read { path, source }
}

fn writing(path: &Path) -> impl FnOnce(io::Error) -> RecordError + use<> {
    let path = path.to_owned();
    move |source| RecordError::Write { path, source }
}
