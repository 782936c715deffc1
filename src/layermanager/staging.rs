//! The way of content from a private place to its final one, in five states. A
//! crash in any of them leaves the item as it was before.
//!
//! | state | what is there | cleared by |
//! | --- | --- | --- |
//! | staged | `.staging-…`, private, maybe not whole | dropping [`Staging`], the sweep at start |
//! | synced | the same, whole and on the disk | the same |
//! | recorded | also the record, at its final place | [`publish`], the sweep: its directory has no row |
//! | published | also the directory, at its final place, both on the disk | who cannot write the row, the sweep |
//! | stored | also the row; what it replaced has none any more | removal: row, directory, record |
//!
//! So a row that is found has its directory, and that its record.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::unistd::syncfs;
use uuid::Uuid;

use super::error::InstallError;
use super::record::beside;

/// How names of staging directories begin. What begins so is removed at start.
pub(super) const PREFIX: &str = ".staging-";

/// A directory that is removed with this value.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
}

impl Staging {
    /// Makes one in `parent`, which is on the filesystem of the final place.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("{PREFIX}{}", Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    /// Where whatever is needed meanwhile can be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What will be published. Nobody has made it yet.
    pub(super) fn content(&self) -> PathBuf {
        self.path.join("content")
    }

    /// What will be published as its record.
    pub(super) fn record(&self) -> PathBuf {
        self.path.join("record")
    }

    /// Brings all that was written to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(syncfs(File::open(&self.path)?)?)
    }
}

/// Moves staged and synced content to `target`, below `directory`, where nothing
/// is yet, and its record beside it. On an error neither is there.
pub(super) fn publish(
    staging: &Staging,
    directory: &Path,
    target: &Path,
) -> Result<(), InstallError> {
    move_into_place(staging, directory, target, sync_directory).map_err(|source| {
        InstallError::Write {
            path: target.to_owned(),
            source,
        }
    })
}

fn move_into_place(
    staging: &Staging,
    directory: &Path,
    target: &Path,
    sync: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let parent = target.parent().unwrap_or(directory);
    if parent != directory {
        fs::create_dir_all(parent)?;
        sync(directory)?;
    }

    let record = beside(target);
    rename(&staging.record(), &record)?;
    rename(&staging.content(), target)
        .and_then(|()| {
            sync(parent).inspect_err(|_| {
                // Nobody knows whether a crash would keep it.
                take_back(target, fs::remove_dir_all(target));
            })
        })
        .inspect_err(|_| take_back(&record, fs::remove_file(&record)))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let flags = RenameFlags::RENAME_NOREPLACE;
    Ok(renameat2(AT_FDCWD, from, AT_FDCWD, to, flags)?)
}

fn take_back(path: &Path, removed: io::Result<()>) {
    if let Err(error) = removed {
        // It has no row: it goes at the next start.
        tracing::warn!(path = %path.display(), %error, "cannot take back what was published");
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            // It is tried again at the next start.
            tracing::warn!(path = %self.path.display(), %error, "cannot remove staging directory");
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn staged(directory: &TempDir) -> Staging {
        let staging = Staging::new(directory.path()).unwrap();
        fs::create_dir(staging.content()).unwrap();
        fs::write(staging.content().join("file"), "text").unwrap();
        fs::write(staging.record(), "record").unwrap();
        staging
    }

    fn names(directory: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names = names.collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn content_and_record_are_published_and_staging_goes() {
        let directory = TempDir::new().unwrap();
        let staging = staged(&directory);

        let target = directory.path().join("item");
        publish(&staging, directory.path(), &target).unwrap();
        drop(staging);

        assert_eq!(names(&directory), ["item", "item.files"]);
    }

    #[test]
    fn published_content_is_taken_back_when_it_may_not_survive_a_crash() {
        let directory = TempDir::new().unwrap();
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        fs::create_dir(&old).unwrap();
        let staging = staged(&directory);
        let refused = |_: &Path| Err(io::Error::other("refused"));

        let error = move_into_place(&staging, directory.path(), &new, refused).unwrap_err();
        drop(staging);

        assert_eq!(error.to_string(), "refused");
        assert_eq!(names(&directory), ["old"]);
    }

    #[test]
    fn content_never_takes_the_place_of_other_content() {
        let directory = TempDir::new().unwrap();
        let target = directory.path().join("target");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("file"), "in use").unwrap();
        let staging = staged(&directory);

        publish(&staging, directory.path(), &target).unwrap_err();
        drop(staging);

        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "in use");
        assert_eq!(names(&directory), ["target"]);
    }

    #[test]
    fn record_never_takes_the_place_of_another_record() {
        let directory = TempDir::new().unwrap();
        let target = directory.path().join("target");
        fs::write(beside(&target), "of another").unwrap();
        let staging = staged(&directory);

        publish(&staging, directory.path(), &target).unwrap_err();
        drop(staging);

        assert_eq!(names(&directory), ["target.files"]);
        assert_eq!(fs::read_to_string(beside(&target)).unwrap(), "of another");
    }
}
