//! From calls to operations on the disk.
//!
//! Descriptors are followed, not the paths that the tracer shows beside them: an
//! operation is about an inode, whatever it is named by now.

mod content;
mod entries;
mod names;

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};

use crate::disk::{Disk, Inode, Kind, Operation, Slot, Sync, known};
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
                let data = content::vector(call.argument(1)?)?;
                self.write(call, data, None)
            }
            "pwrite64" => {
                let (data, offset) = (call.bytes(1)?, call.number(3)?);
                self.write(call, data, Some(offset))
            }
            "pwritev" | "pwritev2" => {
                let (data, offset) = (content::vector(call.argument(1)?)?, call.number(3)?);
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
}
