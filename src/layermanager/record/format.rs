//! The lines of a record.
//!
//! The first is [`HEAD`], the last is `sum` and XXH3-128 of all bytes before it.
//! Between them is a line for each entry, its fields divided by tabs: kind, mode
//! (octal), uid, gid, size, mtime and ctime in nanoseconds since 1970, inode,
//! hash, path. `-` is what an entry does not have. Names may have any bytes: all
//! but printing ASCII is percent-encoded. There is one way only to write an entry.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

/// First line.
pub(super) const HEAD: &[u8] = b"aos-record 1\n";
/// How the last line begins.
pub(super) const SUM: &[u8] = b"sum\t";
/// Bytes of a path, as the kernel takes it.
pub(super) const PATH_MAX: usize = 4095;
/// Bytes of a line: of a path whose bytes are all encoded, and the numbers.
pub(super) const LINE_MAX: usize = 3 * PATH_MAX + 512;

const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
const NONE: &str = "-";
/// Stands for the root of an item that is a tree as a whole.
const ROOT: &str = ".";

/// One file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::layermanager) struct Entry {
    /// Below the item's directory, `.` for that itself.
    pub(in crate::layermanager) path: PathBuf,
    pub(in crate::layermanager) kind: Kind,
    /// Permissions, with set-id and sticky bits.
    pub(in crate::layermanager) mode: u32,
    pub(in crate::layermanager) uid: u32,
    pub(in crate::layermanager) gid: u32,
    /// Bytes of a file or link, the number of a device, else 0.
    pub(in crate::layermanager) size: u64,
    /// `None` for a root.
    pub(in crate::layermanager) mtime_ns: Option<i128>,
    /// `None` for a root.
    pub(in crate::layermanager) ctime_ns: Option<i128>,
    /// Names with the same inode are links to one file.
    pub(in crate::layermanager) inode: u64,
    /// XXH3-128 of the content of a file, the target of a link.
    pub(in crate::layermanager) hash: Option<u128>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::layermanager) enum Kind {
    Directory,
    File,
    Symlink,
    /// Number 0 is a whiteout.
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
}

const KINDS: [(Kind, &str); 7] = [
    (Kind::Directory, "directory"),
    (Kind::File, "file"),
    (Kind::Symlink, "symlink"),
    (Kind::CharacterDevice, "character"),
    (Kind::BlockDevice, "block"),
    (Kind::Fifo, "fifo"),
    (Kind::Socket, "socket"),
];

impl Kind {
    /// Whether its content is hashed.
    pub(super) fn has_hash(self) -> bool {
        matches!(self, Self::File | Self::Symlink)
    }

    fn word(self) -> &'static str {
        KINDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or(NONE, |(_, word)| word)
    }
}

impl Entry {
    /// Appends its line.
    pub(super) fn write(&self, line: &mut Vec<u8>) {
        let time = |time: Option<i128>| match time {
            Some(time) => Cow::Owned(time.to_string()),
            None => Cow::Borrowed(NONE),
        };
        let hash = self
            .hash
            .map_or(Cow::Borrowed(NONE), |hash| format!("{hash:032x}").into());

        writeln!(
            line,
            "{}\t{:o}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            self.kind.word(),
            self.mode,
            self.uid,
            self.gid,
            self.size,
            time(self.mtime_ns),
            time(self.ctime_ns),
            self.inode,
            hash,
            percent_encode(self.path.as_os_str().as_bytes(), ENCODED),
        )
        .expect("writing to memory cannot fail");
    }

    /// Reads a line, with its end. The reason, if it is none.
    pub(super) fn parse(line: &[u8]) -> Result<Self, &'static str> {
        let entry = str::from_utf8(line)
            .ok()
            .and_then(Self::fields)
            .ok_or("it is no entry")?;
        if !is_inside(&entry.path) {
            return Err("its path is none below the directory");
        }
        if entry.hash.is_some() != entry.kind.has_hash() {
            return Err("a hash is missing, or is there where none can be");
        }

        let mut same = Vec::with_capacity(line.len());
        entry.write(&mut same);
        if same == line {
            Ok(entry)
        } else {
            Err("it is not written as entries are")
        }
    }

    fn fields(line: &str) -> Option<Self> {
        let mut fields = line.strip_suffix('\n')?.split('\t');
        let mut next = || fields.next();
        let word = next()?;
        let entry = Self {
            kind: KINDS.iter().find(|(_, known)| *known == word)?.0,
            mode: u32::from_str_radix(next()?, 8).ok()?,
            uid: next()?.parse().ok()?,
            gid: next()?.parse().ok()?,
            size: next()?.parse().ok()?,
            mtime_ns: optional(next()?, |text| text.parse().ok())?,
            ctime_ns: optional(next()?, |text| text.parse().ok())?,
            inode: next()?.parse().ok()?,
            hash: optional(next()?, |text| u128::from_str_radix(text, 16).ok())?,
            path: OsStr::from_bytes(&Cow::from(percent_decode(next()?.as_bytes()))).into(),
        };
        fields.next().is_none().then_some(entry)
    }
}

/// The path of `name` in the directory `parent`.
pub(super) fn below(parent: &Path, name: &OsStr) -> PathBuf {
    if parent == Path::new(ROOT) {
        return name.into();
    }
    let mut path = parent.as_os_str().to_owned().into_vec();
    path.push(b'/');
    path.extend_from_slice(name.as_bytes());
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

/// The path of the root that is called `name`.
pub(super) fn root(name: &str) -> PathBuf {
    PathBuf::from(if name.is_empty() { ROOT } else { name })
}

fn optional<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text == NONE {
        return Some(None);
    }
    parse(text).map(Some)
}

fn is_inside(path: &Path) -> bool {
    let path = path.as_os_str().as_bytes();
    path == ROOT.as_bytes()
        || (path.len() <= PATH_MAX
            && !path.contains(&0)
            && path
                .split(|byte| *byte == b'/')
                .all(|part| !matches!(part, b"" | b"." | b"..")))
}
