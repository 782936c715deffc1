//! A record held against the tree that it describes.
//!
//! Both come in the order of paths, so that one pass finds what is missing, what
//! is too much and what has changed, in memory that does not grow with the tree.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode};

use super::difference::{Difference, Differences, TOLD, What, difference, is_damage, is_touched};
use crate::layermanager::error::DamageError;
use crate::layermanager::record::{
    self, Entry, Hashes, Kind, Record, RecordError, Walk, hash_content,
};

/// How much is looked at.
pub(super) trait Depth {
    /// Whether the content of a file is read although its attributes are right.
    fn reads_all(&self) -> bool;
    /// A content, to be read as this look at it demands.
    fn reader(&mut self, file: File) -> io::Result<Box<dyn Read + '_>>;
    /// The content of this file was read, or cannot be.
    fn read(&mut self, file: &File);
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Finding {
    /// All is as recorded. So many files were looked at.
    Same(u64),
    /// Content and attributes are right, but times or inodes are not: the tree
    /// was copied here, or restored.
    Touched(u64),
    /// The item has no record: it is from an older release.
    Unrecorded,
    /// It is not what was installed.
    Damaged(DamageError),
}

/// Compares the tree in `directory` with its record.
pub(super) fn compare(
    directory: &Path,
    depth: &mut dyn Depth,
    stopped: &dyn Fn() -> bool,
) -> Result<Finding, RecordError> {
    let path = record::beside(directory);
    let outcome = Record::open(&path).and_then(|record| {
        let mut look = Look {
            directory,
            depth,
            stopped,
            entries: 0,
            touched: false,
            differences: Vec::new(),
        };
        look.at(record)?;
        Ok((look.entries, look.touched, look.differences))
    });

    match outcome {
        Ok((entries, false, differences)) if differences.is_empty() => Ok(Finding::Same(entries)),
        Ok((entries, true, differences)) if differences.is_empty() => Ok(Finding::Touched(entries)),
        // A record that is damaged itself would name what is in order.
        Ok((_, _, differences)) => Ok(Finding::Damaged(match read_through(&path) {
            Err(error) if is_damaged_record(&error) => DamageError::Record(error),
            Ok(()) | Err(_) => DamageError::Files(Differences::new(differences)),
        })),
        Err(RecordError::Read { path: at, source })
            if at == path && source.kind() == io::ErrorKind::NotFound =>
        {
            Ok(Finding::Unrecorded)
        }
        Err(error) if is_damaged_record(&error) => Ok(Finding::Damaged(DamageError::Record(error))),
        Err(error) => Err(error),
    }
}

/// Writes the record of a tree anew, of which only times and inodes differ.
pub(super) fn renew(directory: &Path) -> Result<(), RecordError> {
    let path = record::beside(directory);
    let mut hashes = Hashes::default();
    let mut roots = Vec::new();
    for entry in Record::open(&path)? {
        let entry = entry?;
        let at = place(directory, &entry.path);
        if let Some(name) = root_name(&entry) {
            roots.push((name, at));
        } else if let (Kind::File, Some(hash)) = (entry.kind, entry.hash) {
            let metadata = fs::symlink_metadata(&at).map_err(reading(&at))?;
            hashes.note(std::os::unix::fs::MetadataExt::ino(&metadata), hash);
        }
    }
    let roots: Vec<_> = roots
        .iter()
        .map(|(name, at)| (name.as_str(), at.as_path()))
        .collect();

    in_place(&path, |new| record::write(&roots, hashes, new))
}

/// Records a tree that has no record, as it is now. Whoever calls knows that it
/// is in order.
pub(super) fn record_as_it_is(
    roots: &[PathBuf],
    directory: &Path,
    stopped: &dyn Fn() -> bool,
) -> Result<(), RecordError> {
    let roots: Vec<_> = roots
        .iter()
        .map(|at| {
            let name = at.strip_prefix(directory).unwrap_or(at);
            (name.to_str().unwrap_or_default(), at.as_path())
        })
        .collect();
    in_place(&record::beside(directory), |new| {
        record::write_by_reading(&roots, new, stopped)
    })
}

/// Brings a new record to the disk, and then to its place.
fn in_place(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), RecordError>,
) -> Result<(), RecordError> {
    let writing = |source| RecordError::Write {
        path: path.to_owned(),
        source,
    };
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(writing(error)),
        Ok(()) | Err(_) => {}
    }

    write(&new)?;
    let publish = || {
        File::open(&new)?.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    publish().map_err(writing)
}

struct Look<'a> {
    directory: &'a Path,
    depth: &'a mut dyn Depth,
    stopped: &'a dyn Fn() -> bool,
    entries: u64,
    touched: bool,
    differences: Vec<Difference>,
}

impl Look<'_> {
    /// Goes through the record and the tree until enough is known.
    fn at(&mut self, mut record: Record) -> Result<(), RecordError> {
        let mut next = record.next().transpose()?;
        while let Some(root) = next {
            let Some(name) = root_name(&root) else {
                // It is below no root.
                self.differs(&root.path, What::Missing);
                return Ok(());
            };
            let at = place(self.directory, &root.path);
            let walk = match Walk::new(&name, &at) {
                Ok(walk) => walk,
                Err(error) => {
                    self.failed(&at, error)?;
                    return Ok(());
                }
            };
            self.judge(&root, &walk.root);
            next = self.below(walk, &at, &mut record)?;
            if self.differences.len() >= TOLD {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One root. Returns the record's entry of the next one.
    fn below(
        &mut self,
        mut walk: Walk,
        at: &Path,
        record: &mut Record,
    ) -> Result<Option<Entry>, RecordError> {
        let mut expected = record.next().transpose()?;
        let mut actual = self.step(&mut walk, at, expected.as_ref())?;
        loop {
            if self.differences.len() >= TOLD {
                return Ok(None);
            }
            if (self.stopped)() {
                return Err(RecordError::Stopped);
            }
            let in_record = expected.as_ref().filter(|entry| root_name(entry).is_none());
            match (in_record, &actual) {
                (None, None) => return Ok(expected),
                (Some(entry), None) => {
                    self.differs(&entry.path, What::Missing);
                    expected = record.next().transpose()?;
                }
                (Some(entry), Some(found)) if entry.path < found.path => {
                    self.differs(&entry.path, What::Missing);
                    expected = record.next().transpose()?;
                }
                (Some(entry), Some(found)) if entry.path == found.path => {
                    self.judge(entry, found);
                    expected = record.next().transpose()?;
                    actual = self.step(&mut walk, at, expected.as_ref())?;
                }
                (_, Some(found)) => {
                    let path = found.path.clone();
                    self.differs(&path, What::Unexpected);
                    actual = self.step(&mut walk, at, expected.as_ref())?;
                }
            }
        }
    }

    /// The next one of the tree; its content is read if `expected`, which is what
    /// it should be, asks for that.
    fn step(
        &mut self,
        walk: &mut Walk,
        at: &Path,
        expected: Option<&Entry>,
    ) -> Result<Option<Entry>, RecordError> {
        loop {
            let depth = &mut *self.depth;
            let stopped = self.stopped;
            let found = walk.next(at, &mut |parent, name, stat| {
                let is_it = expected.is_some_and(|entry| entry.path.file_name() == Some(name));
                if !is_it || !(depth.reads_all() || is_changed(expected, stat)) {
                    return Ok(None);
                }
                hash_file(depth, parent, name, stopped)
            });
            match found {
                Err(RecordError::Read { path, source }) => {
                    self.failed(&path, source)?;
                    if self.differences.len() >= TOLD {
                        return Ok(None);
                    }
                }
                found => return found,
            }
        }
    }

    fn judge(&mut self, expected: &Entry, actual: &Entry) {
        self.entries += 1;
        if let Some(what) = difference(expected, actual) {
            self.differs(&expected.path, what);
        } else if root_name(expected).is_none() && is_touched(expected, actual) {
            self.touched = true;
        }
    }

    fn differs(&mut self, path: &Path, what: What) {
        let path = place(self.directory, path);
        self.differences.push(Difference { path, what });
    }

    /// What cannot be read is damaged, unless it is us who cannot read.
    fn failed(&mut self, path: &Path, error: io::Error) -> Result<(), RecordError> {
        if !is_damage(&error) {
            return Err(reading(path)(error));
        }
        let what = match error.kind() {
            io::ErrorKind::NotFound => What::Missing,
            io::ErrorKind::NotADirectory => What::Kind,
            _ => What::Unreadable(error),
        };
        self.differences.push(Difference {
            path: path.to_owned(),
            what,
        });
        Ok(())
    }
}

fn is_changed(expected: Option<&Entry>, stat: &FileStat) -> bool {
    let time = |seconds: i64, nanoseconds: i64| {
        Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
    };
    expected.is_none_or(|entry| {
        entry.inode != stat.st_ino
            || entry.mtime_ns != time(stat.st_mtime, stat.st_mtime_nsec)
            || entry.ctime_ns != time(stat.st_ctime, stat.st_ctime_nsec)
    })
}

/// Looking leaves no trace in the time of access, where that is allowed.
fn hash_file(
    depth: &mut dyn Depth,
    parent: &OwnedFd,
    name: &std::ffi::OsStr,
    stopped: &dyn Fn() -> bool,
) -> io::Result<Option<u128>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(parent, name, flags | OFlag::O_NOATIME, Mode::empty()) {
        Err(Errno::EPERM) => openat(parent, name, flags, Mode::empty()),
        opened => opened,
    }?;
    let file = File::from(file);
    let mut reader = depth.reader(file.try_clone()?)?;
    let hash = hash_content(&mut reader, stopped);
    drop(reader);
    depth.read(&file);
    hash
}

/// The name of a root, if the entry is one.
fn root_name(entry: &Entry) -> Option<String> {
    let is_root = entry.kind == Kind::Directory && entry.mtime_ns.is_none();
    is_root.then(|| match entry.path.to_string_lossy() {
        name if name == "." => String::new(),
        name => name.into_owned(),
    })
}

fn place(directory: &Path, path: &Path) -> PathBuf {
    if path == Path::new(".") {
        directory.to_owned()
    } else {
        directory.join(path)
    }
}

fn read_through(path: &Path) -> Result<(), RecordError> {
    Record::open(path)?.try_for_each(|entry| entry.map(drop))
}

fn is_damaged_record(error: &RecordError) -> bool {
    match error {
        RecordError::Damaged { .. } => true,
        RecordError::Read { source, .. } => is_damage(source),
        RecordError::Write { .. } | RecordError::NotHashed { .. } | RecordError::Stopped => false,
    }
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> RecordError + use<> {
    let path = path.to_owned();
    move |source| RecordError::Read { path, source }
}
