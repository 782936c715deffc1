//! What is in files.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::{Place, Reader};
use crate::disk::{Event, Operation, known};
use crate::strace::{self, Call};

impl Reader {
    pub(super) fn write(&mut self, call: &Call, mut data: Vec<u8>, at: Option<u64>) -> Result<()> {
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

    pub(super) fn copy(&mut self, call: &Call) -> Result<()> {
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

    pub(super) fn resize(&mut self, call: &Call, size: usize) -> Result<()> {
        if let Some(inode) = self.open_inode(call, 0)? {
            let text = self.inode_text(&format!("resize to {size}"), call);
            self.disk.record(Operation::Resize { inode, size }, text);
        }
        Ok(())
    }

    pub(super) fn allocate(&mut self, call: &Call) -> Result<()> {
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
    pub(super) fn map(&mut self, call: &Call) -> Result<()> {
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
}

/// The bytes of a vector of buffers.
pub(super) fn vector(text: &str) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    for part in text.split("iov_base=").skip(1) {
        let (quoted, _) = part.split_once(", iov_len").context("no length")?;
        data.extend(strace::bytes(quoted)?);
    }
    Ok(data)
}
