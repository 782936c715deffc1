//! What an archive would need that there is no room for.

use std::collections::BTreeSet;
use std::io::Read;

use aos_package::archive::{Archive, EntryPath, Step};

use super::budget::Budget;
use super::space::NoSpace;
use super::unpack::UnpackError;

/// Goes on where unpacking had to end, and writes nothing.
pub(super) struct Counting<'a> {
    budget: Budget<'a>,
    /// Those that are there, or have been counted.
    directories: BTreeSet<EntryPath>,
    refused: NoSpace,
}

impl<'a> Counting<'a> {
    /// Of an archive of which `directories` are there already, after room was
    /// `refused`.
    pub(super) fn new(
        budget: Budget<'a>,
        directories: impl IntoIterator<Item = EntryPath>,
        refused: NoSpace,
    ) -> Self {
        Self {
            refused,
            budget,
            directories: directories.into_iter().collect(),
        }
    }

    /// Counts what is left of the archive, from the step on that was refused, with
    /// the bytes of its content. Returns what is missing in all.
    pub(super) fn rest(
        mut self,
        first: Option<(&Step, u64)>,
        archive: &mut Archive<impl Read>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<NoSpace, UnpackError> {
        if let Some((step, size)) = first {
            self.step(step, size)?;
        }
        while let Some(entry) = archive.next_entry()? {
            if stopped() {
                return Err(UnpackError::Stopped);
            }
            self.step(&Step::plan(&entry)?.step, entry.size)?;
        }
        Ok(self.budget.refused().unwrap_or(self.refused))
    }

    fn step(&mut self, step: &Step, size: u64) -> Result<(), UnpackError> {
        match step {
            Step::Directory { path, .. } | Step::Opaque { directory: path } => {
                self.directories(Some(path.clone()))?;
            }
            Step::File { path, .. } => {
                self.parents(path)?;
                self.budget.count_file(size)?;
            }
            Step::Symlink { path, target, .. } => {
                self.parents(path)?;
                self.budget.count_symlink(target.len() as u64)?;
            }
            Step::HardLink { path, .. } => self.parents(path)?,
            Step::Whiteout { path } => {
                self.parents(path)?;
                self.budget.count_file(0)?;
            }
            Step::LeaveOut(_) => {}
        }
        Ok(())
    }

    fn parents(&mut self, path: &EntryPath) -> Result<(), UnpackError> {
        self.directories(path.split().map(|(parent, _)| parent))
    }

    /// Counts a directory and those that it is in, as far as they are new.
    fn directories(&mut self, mut path: Option<EntryPath>) -> Result<(), UnpackError> {
        while let Some(directory) = path {
            if self.directories.contains(&directory) {
                break;
            }
            self.budget.count_directory(&directory)?;
            path = directory.split().map(|(parent, _)| parent);
            self.directories.insert(directory);
        }
        Ok(())
    }
}
