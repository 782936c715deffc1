//! From calls to operations on the disk.
//!
//! Descriptors are followed, not the paths that the tracer shows beside them: an
//! operation is about an inode, whatever it is named by now.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};

use crate::disk::{Change, Disk, Event, Inode, Kind, Operation, ROOT, Slot, Sync, known};
use crate::strace::{self, Call, field};

/// Traced for these; `ci/cuts/run.sh` has the same list.
const UMASK: u32 = 0o022;

/// An open file, perhaps with several descriptors.
struct Open {
    place: Place,
    offset: usize,
    appends: bool,
}

/// What a name leads to.
#[derive(Clone, Debug)]
enum Place {
    Outside(PathBuf),
    Inside {
        /// `None`: the watched directory itself.
        slot: Option<Slot>,
        /// `None`: nothing is there.
        inode: Option<Inode>,
    },
}

pub struct Reader {
    root: PathBuf,
    marks: PathBuf,
    files: HashMap<i32, Rc<RefCell<Open>>>,
    disk: Disk,
}

/// Reads what happened in `root`; marks are what was written to the file `marks`.
pub fn read(trace: &str, root: &Path, marks: &Path) -> Result<Disk> {
    let mut reader = Reader {
        root: root.to_owned(),
        marks: marks.to_owned(),
        files: HashMap::new(),
        disk: Disk::new(),
    };
    for call in strace::calls(trace)? {
        reader
            .call(&call)
            .with_context(|| format!("in {}({})", call.name, short(&call.arguments.join(", "))))?;
    }
    Ok(reader.disk)
}

fn short(text: &str) -> &str {
    text.get(..300).unwrap_or(text)
}

impl Reader {
    fn call(&mut self, call: &Call) -> Result<()> {
        match call.name.as_str() {
            "open" | "creat" => bail!("nobody uses it"),
            "openat" => {
                let mode = call.number(3).unwrap_or_default();
                self.open(call, 2, mode)
            }
            "openat2" => {
                let mode = field(call.argument(2)?, "mode").map_or(Ok(0), strace::number)?;
                self.open(call, 2, mode)
            }
            "dup" | "dup2" | "dup3" => self.duplicate(call),
            "fcntl" if call.has_flag(1, "F_DUPFD") || call.has_flag(1, "F_DUPFD_CLOEXEC") => {
                self.duplicate(call)
            }
            "fcntl" => Ok(()),
            "lseek" => self.seek(call),
            "read" | "readv" => self.advance(call),
            "write" => {
                let data = call.bytes(1)?;
                self.write(call, data, None)
            }
            "writev" => {
                let data = vector(call.argument(1)?)?;
                self.write(call, data, None)
            }
            "pwrite64" => {
                let (data, offset) = (call.bytes(1)?, call.number(3)?);
                self.write(call, data, Some(offset))
            }
            "pwritev" | "pwritev2" => {
                let (data, offset) = (vector(call.argument(1)?)?, call.number(3)?);
                self.write(call, data, Some(offset))
            }
            "copy_file_range" => self.copy(call),
            "ftruncate" => {
                let size = usize::try_from(call.number(1)?)?;
                self.resize(call, size)
            }
            "fallocate" => self.allocate(call),
            "mkdir" => self.make(call, 0, None, Kind::Directory, call.number(1)?),
            "mkdirat" => self.make(call, 1, Some(0), Kind::Directory, call.number(2)?),
            "mknodat" => self.make_node(call),
            "symlink" => self.make(call, 1, None, Kind::Link(call.bytes(0)?), 0o777),
            "symlinkat" => self.make(call, 2, Some(1), Kind::Link(call.bytes(0)?), 0o777),
            "linkat" => self.link(call),
            "rename" => self.rename(call, (None, 0), (None, 1)),
            "renameat" | "renameat2" => {
                ensure!(
                    !call.has_flag(4, "RENAME_EXCHANGE"),
                    "an exchange is not modelled"
                );
                self.rename(call, (Some(0), 1), (Some(2), 3))
            }
            "unlink" | "rmdir" => self.remove(call, None, 0),
            "unlinkat" => self.remove(call, Some(0), 1),
            "chmod" | "fchmodat" | "chown" | "lchown" | "fchownat" | "utimensat" | "fchmod"
            | "fchown" | "setxattr" | "lsetxattr" | "fsetxattr" | "removexattr"
            | "lremovexattr" | "fremovexattr" => self.change(call),
            "fsync" => self.sync(call, Sync::All),
            "fdatasync" => self.sync(call, Sync::Content),
            "syncfs" => self.sync(call, |_| Sync::Filesystem),
            "mmap" => self.map(call),
            // It promises nothing.
            "sync_file_range" => Ok(()),
            other => bail!("{other} is not modelled"),
        }
    }

    // --- names -----------------------------------------------------------------

    fn place(&self, call: &Call, directory: Option<usize>, name: usize) -> Result<Place> {
        let name = call.bytes(name)?;
        let path = PathBuf::from(String::from_utf8(name.clone())?);
        let at = match directory {
            None => None,
            Some(index) if call.argument(index)?.starts_with("AT_FDCWD") => None,
            Some(index) => Some(call.descriptor(index)?),
        };
        if let Ok(rest) = path.strip_prefix("/proc/self/fd") {
            let mut parts = rest.components();
            let number = parts.next().context("no descriptor")?;
            let number = number.as_os_str().to_string_lossy().parse()?;
            return self.below(number, parts.as_path());
        }
        match at {
            Some(descriptor) if !path.is_absolute() => self.below(descriptor, &path),
            _ if path.is_absolute() => self.absolute(&path),
            // The program stays where it was started: not inside.
            _ => Ok(Place::Outside(path)),
        }
    }

    fn below(&self, descriptor: i32, path: &Path) -> Result<Place> {
        let Some(open) = self.files.get(&descriptor) else {
            return Ok(Place::Outside(path.to_owned()));
        };
        match &open.borrow().place {
            Place::Outside(base) => self.absolute(&base.join(path)),
            Place::Inside { inode, slot } => {
                let inode = known(*inode, "an open inode")?;
                if path.as_os_str().is_empty() {
                    let (slot, inode) = (slot.clone(), Some(inode));
                    return Ok(Place::Inside { slot, inode });
                }
                self.walk(inode, path)
            }
        }
    }

    fn absolute(&self, path: &Path) -> Result<Place> {
        match path.strip_prefix(&self.root) {
            Ok(rest) => self.walk(ROOT, rest),
            Err(_) => Ok(Place::Outside(path.to_owned())),
        }
    }

    fn walk(&self, start: Inode, path: &Path) -> Result<Place> {
        let (mut slot, mut inode) = (None, Some(start));
        for part in path.components() {
            match part {
                Component::CurDir => continue,
                Component::Normal(name) => {
                    let directory = known(inode, "a directory on the way")?;
                    ensure!(
                        *self.disk.kind(directory) == Kind::Directory,
                        "the way goes through something that is no directory"
                    );
                    let name = name.as_encoded_bytes().to_vec();
                    inode = self.disk.lookup(directory, &name);
                    slot = Some((directory, name));
                }
                _ => bail!("`..` is not modelled"),
            }
        }
        Ok(Place::Inside { slot, inode })
    }

    fn open_inode(&self, call: &Call, index: usize) -> Result<Option<Inode>> {
        let open = self.files.get(&call.descriptor(index)?);
        Ok(open.and_then(|open| match open.borrow().place {
            Place::Inside { inode, .. } => inode,
            Place::Outside(_) => None,
        }))
    }

    fn text(&self, what: &str, slot: &Slot) -> String {
        format!("{what} {}", self.disk.name_of(slot))
    }

    fn inode_text(&self, what: &str, call: &Call) -> String {
        let path = call.argument(0).ok().and_then(|text| {
            let path = strace::bytes(&format!(
                "\"{}\"",
                text.split_once('<')?.1.strip_suffix('>')?
            ));
            let path = PathBuf::from(String::from_utf8(path.ok()?).ok()?);
            Some(path.strip_prefix(&self.root).ok()?.display().to_string())
        });
        format!("{what} {}", path.unwrap_or_default())
    }

    // --- descriptors -----------------------------------------------------------

    fn open(&mut self, call: &Call, flags: usize, mode: u64) -> Result<()> {
        ensure!(
            !call.has_flag(flags, "O_TMPFILE"),
            "O_TMPFILE is not modelled"
        );
        let mut place = self.place(call, Some(0), 1)?;
        if let Place::Inside { slot, inode } = &mut place {
            match (*inode, call.has_flag(flags, "O_CREAT")) {
                (None, true) => {
                    let slot = known(slot.clone(), "the name")?;
                    *inode = Some(self.enter(&slot, Kind::File, mode)?);
                }
                (None, false) => bail!("opened what is not there"),
                (Some(inode), _) if call.has_flag(flags, "O_TRUNC") => {
                    let text = self.inode_text("truncate", call);
                    self.disk.record(Operation::Resize { inode, size: 0 }, text);
                }
                (Some(_), _) => {}
            }
        }
        let open = Open {
            place,
            offset: 0,
            appends: call.has_flag(flags, "O_APPEND"),
        };
        let descriptor = i32::try_from(call.result)?;
        self.files.insert(descriptor, Rc::new(RefCell::new(open)));
        Ok(())
    }

    fn duplicate(&mut self, call: &Call) -> Result<()> {
        let (from, to) = (call.descriptor(0)?, i32::try_from(call.result)?);
        match self.files.get(&from).cloned() {
            Some(open) => drop(self.files.insert(to, open)),
            None => drop(self.files.remove(&to)),
        }
        Ok(())
    }

    fn seek(&mut self, call: &Call) -> Result<()> {
        if let Some(open) = self.files.get(&call.descriptor(0)?) {
            open.borrow_mut().offset = usize::try_from(call.result)?;
        }
        Ok(())
    }

    fn advance(&mut self, call: &Call) -> Result<()> {
        if let Some(open) = self.files.get(&call.descriptor(0)?) {
            open.borrow_mut().offset += usize::try_from(call.result)?;
        }
        Ok(())
    }

    // --- content ---------------------------------------------------------------

    fn write(&mut self, call: &Call, mut data: Vec<u8>, at: Option<u64>) -> Result<()> {
        data.truncate(usize::try_from(call.result)?);
        let Some(open) = self.files.get(&call.descriptor(0)?).cloned() else {
            return Ok(());
        };
        let mut open = open.borrow_mut();
        let inode = match &open.place {
            Place::Outside(path) if *path == self.marks => {
                self.disk.events.push(Event::Mark(String::from_utf8(data)?));
                return Ok(());
            }
            Place::Outside(_) => return Ok(()),
            Place::Inside { inode, .. } => known(*inode, "an open inode")?,
        };
        let offset = match at {
            Some(offset) => usize::try_from(offset)?,
            None if open.appends => self.disk.now.contents.get(&inode).map_or(0, Vec::len),
            None => open.offset,
        };
        if at.is_none() {
            open.offset = offset + data.len();
        }
        let text = self.inode_text(&format!("write {} bytes at {offset} of", data.len()), call);
        self.disk.record(
            Operation::Write {
                inode,
                offset,
                data,
            },
            text,
        );
        Ok(())
    }

    fn copy(&mut self, call: &Call) -> Result<()> {
        let size = usize::try_from(call.result)?;
        ensure!(
            call.argument(1)? == "NULL" && call.argument(3)? == "NULL",
            "offsets are not modelled"
        );
        let source = self.files.get(&call.descriptor(0)?).cloned();
        let source = source.context("its source is not known")?;
        let content = match &source.borrow().place {
            Place::Outside(path) => fs::read(path)?,
            Place::Inside { inode, .. } => {
                let inode = known(*inode, "an open inode")?;
                self.disk
                    .now
                    .contents
                    .get(&inode)
                    .cloned()
                    .unwrap_or_default()
            }
        };
        let start = source.borrow().offset;
        source.borrow_mut().offset += size;
        let data = content
            .get(start..start + size)
            .context("the source was longer")?;
        let mut target = call.clone();
        target.arguments.drain(..2);
        self.write(&target, data.to_vec(), None)
    }

    fn resize(&mut self, call: &Call, size: usize) -> Result<()> {
        if let Some(inode) = self.open_inode(call, 0)? {
            let text = self.inode_text(&format!("resize to {size}"), call);
            self.disk.record(Operation::Resize { inode, size }, text);
        }
        Ok(())
    }

    fn allocate(&mut self, call: &Call) -> Result<()> {
        let Some(inode) = self.open_inode(call, 0)? else {
            return Ok(());
        };
        if call.has_flag(1, "FALLOC_FL_KEEP_SIZE") {
            return Ok(());
        }
        ensure!(call.argument(1)? == "0", "this mode is not modelled");
        let end = usize::try_from(call.number(2)? + call.number(3)?)?;
        let size = self.disk.now.contents.get(&inode).map_or(0, Vec::len);
        self.resize(call, end.max(size))
    }

    /// What is written through memory is not seen. SQLite does so with its index
    /// of the log alone, which it makes anew when nobody has the database open.
    fn map(&mut self, call: &Call) -> Result<()> {
        let is_shared = call.has_flag(3, "MAP_SHARED") && call.has_flag(2, "PROT_WRITE");
        if !is_shared || call.argument(4)? == "-1" {
            return Ok(());
        }
        if let Some(open) = self.files.get(&call.descriptor(4)?)
            && let Place::Inside { slot, .. } = &open.borrow().place
        {
            let name = slot
                .as_ref()
                .map(|slot| slot.1.as_slice())
                .unwrap_or_default();
            ensure!(name.ends_with(b"-shm"), "a file is written through memory");
        }
        Ok(())
    }

    // --- entries ---------------------------------------------------------------

    fn enter(&mut self, slot: &Slot, kind: Kind, mode: u64) -> Result<Inode> {
        let mode = u32::try_from(mode)? & 0o7777;
        let mode = if matches!(kind, Kind::Link(_)) {
            mode
        } else {
            mode & !UMASK
        };
        let inode = self.disk.new_inode(kind, mode);
        let slot = slot.clone();
        let text = self.text("make", &slot);
        self.disk.record(Operation::Enter { slot, inode }, text);
        Ok(inode)
    }

    fn make(
        &mut self,
        call: &Call,
        name: usize,
        directory: Option<usize>,
        kind: Kind,
        mode: u64,
    ) -> Result<()> {
        if let Place::Inside { slot, .. } = self.place(call, directory, name)? {
            self.enter(&known(slot, "the name")?, kind, mode)?;
        }
        Ok(())
    }

    fn make_node(&mut self, call: &Call) -> Result<()> {
        ensure!(
            call.argument(2)?.starts_with("S_IFCHR"),
            "only devices are modelled"
        );
        self.make(call, 1, Some(0), Kind::Device, 0)
    }

    fn link(&mut self, call: &Call) -> Result<()> {
        let target = self.place(call, Some(0), 1)?;
        if let (Place::Inside { inode, .. }, Place::Inside { slot, .. }) =
            (target, self.place(call, Some(2), 3)?)
        {
            let (slot, inode) = (known(slot, "the name")?, known(inode, "the target")?);
            let text = self.text("link", &slot);
            self.disk.record(Operation::Enter { slot, inode }, text);
        }
        Ok(())
    }

    fn remove(&mut self, call: &Call, directory: Option<usize>, name: usize) -> Result<()> {
        if let Place::Inside { slot, inode } = self.place(call, directory, name)? {
            let (slot, inode) = (known(slot, "the name")?, known(inode, "what is removed")?);
            let text = self.text("remove", &slot);
            self.disk.record(Operation::Remove { slot, inode }, text);
        }
        Ok(())
    }

    fn rename(
        &mut self,
        call: &Call,
        from: (Option<usize>, usize),
        to: (Option<usize>, usize),
    ) -> Result<()> {
        let from = self.place(call, from.0, from.1)?;
        let to = self.place(call, to.0, to.1)?;
        match (from, to) {
            (Place::Outside(_), Place::Outside(_)) => Ok(()),
            (Place::Inside { slot: from, inode }, Place::Inside { slot: to, .. }) => {
                let (from, to) = (known(from, "the name")?, known(to, "the new name")?);
                let inode = known(inode, "what is renamed")?;
                let text = format!(
                    "{} to {}",
                    self.text("rename", &from),
                    self.disk.name_of(&to)
                );
                self.disk
                    .record(Operation::Rename { from, to, inode }, text);
                Ok(())
            }
            _ => bail!("it goes in or out"),
        }
    }

    // --- the rest --------------------------------------------------------------

    fn change(&mut self, call: &Call) -> Result<()> {
        let name = call.name.as_str();
        // At which argument what is to be changed ends.
        let (inode, next) = match name {
            "fchmodat" | "fchownat" => (self.target(call, Some(0), 1)?, 2),
            "utimensat" if call.argument(1)? == "NULL" => (self.open_inode(call, 0)?, 2),
            "utimensat" => (self.target(call, Some(0), 1)?, 2),
            _ if name.starts_with('f') => (self.open_inode(call, 0)?, 1),
            _ => (self.target(call, None, 0)?, 1),
        };
        let Some(inode) = inode else {
            return Ok(());
        };
        let change = if name.contains("chmod") {
            Change::Mode(u32::try_from(call.number(next)?)?)
        } else if name.contains("chown") {
            Change::Owner(id(call.argument(next)?)?, id(call.argument(next + 1)?)?)
        } else if name.contains("removexattr") {
            Change::Extended(call.bytes(next)?, None)
        } else if name.contains("setxattr") {
            Change::Extended(call.bytes(next)?, Some(call.bytes(next + 1)?))
        } else {
            let times = call.argument(next)?;
            let modified = times.rsplit('{').next().unwrap_or(times);
            let seconds = field(modified, "tv_sec")?.parse()?;
            Change::Modified(seconds, field(modified, "tv_nsec")?.parse()?)
        };
        let text = self.inode_text(name, call);
        self.disk.record(Operation::Change { inode, change }, text);
        Ok(())
    }

    fn target(&self, call: &Call, directory: Option<usize>, name: usize) -> Result<Option<Inode>> {
        match self.place(call, directory, name)? {
            Place::Outside(_) => Ok(None),
            Place::Inside { inode, .. } => Ok(Some(known(inode, "what is changed")?)),
        }
    }

    fn sync(&mut self, call: &Call, of: impl Fn(Inode) -> Sync) -> Result<()> {
        if let Some(inode) = self.open_inode(call, 0)? {
            let text = self.inode_text(&call.name, call);
            self.disk.sync(of(inode), text);
        }
        Ok(())
    }
}

fn id(text: &str) -> Result<Option<u32>> {
    Ok(if text == "-1" || text == "4294967295" {
        None
    } else {
        Some(text.parse()?)
    })
}

fn vector(text: &str) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    for part in text.split("iov_base=").skip(1) {
        let (quoted, _) = part.split_once(", iov_len").context("no length")?;
        data.extend(strace::bytes(quoted)?);
    }
    Ok(data)
}
