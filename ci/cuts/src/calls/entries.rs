//! Entries of directories, attributes, synchronisation.

use anyhow::{Result, bail, ensure};

use super::{Place, Reader, UMASK};
use crate::disk::{Change, Inode, Kind, Operation, Slot, Sync, known};
use crate::strace::{Call, field};

impl Reader {
    pub(super) fn enter(&mut self, slot: &Slot, kind: Kind, mode: u64) -> Result<Inode> {
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

    pub(super) fn make(
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

    pub(super) fn make_node(&mut self, call: &Call) -> Result<()> {
        ensure!(
            call.argument(2)?.starts_with("S_IFCHR"),
            "only devices are modelled"
        );
        self.make(call, 1, Some(0), Kind::Device, 0)
    }

    pub(super) fn link(&mut self, call: &Call) -> Result<()> {
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

    pub(super) fn remove(
        &mut self,
        call: &Call,
        directory: Option<usize>,
        name: usize,
    ) -> Result<()> {
        if let Place::Inside { slot, inode } = self.place(call, directory, name)? {
            let (slot, inode) = (known(slot, "the name")?, known(inode, "what is removed")?);
            let text = self.text("remove", &slot);
            self.disk.record(Operation::Remove { slot, inode }, text);
        }
        Ok(())
    }

    pub(super) fn rename(
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

    pub(super) fn change(&mut self, call: &Call) -> Result<()> {
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

    pub(super) fn target(
        &self,
        call: &Call,
        directory: Option<usize>,
        name: usize,
    ) -> Result<Option<Inode>> {
        match self.place(call, directory, name)? {
            Place::Outside(_) => Ok(None),
            Place::Inside { inode, .. } => Ok(Some(known(inode, "what is changed")?)),
        }
    }

    pub(super) fn sync(&mut self, call: &Call, of: impl Fn(Inode) -> Sync) -> Result<()> {
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
