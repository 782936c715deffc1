//! What a name or a descriptor leads to.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{Place, Reader};
use crate::disk::{Inode, Kind, ROOT, Slot, known};
use crate::strace::{self, Call};

impl Reader {
    pub(super) fn place(
        &self,
        call: &Call,
        directory: Option<usize>,
        name: usize,
    ) -> Result<Place> {
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

    pub(super) fn below(&self, descriptor: i32, path: &Path) -> Result<Place> {
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

    pub(super) fn absolute(&self, path: &Path) -> Result<Place> {
        match path.strip_prefix(&self.root) {
            Ok(rest) => self.walk(ROOT, rest),
            Err(_) => Ok(Place::Outside(path.to_owned())),
        }
    }

    pub(super) fn walk(&self, start: Inode, path: &Path) -> Result<Place> {
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

    pub(super) fn open_inode(&self, call: &Call, index: usize) -> Result<Option<Inode>> {
        let open = self.files.get(&call.descriptor(index)?);
        Ok(open.and_then(|open| match open.borrow().place {
            Place::Inside { inode, .. } => inode,
            Place::Outside(_) => None,
        }))
    }

    pub(super) fn text(&self, what: &str, slot: &Slot) -> String {
        format!("{what} {}", self.disk.name_of(slot))
    }

    pub(super) fn inode_text(&self, what: &str, call: &Call) -> String {
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
}
