//! A private place to unpack to, and the way from there to the final one.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::unistd::syncfs;
use uuid::Uuid;

use super::error::InstallError;

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
        let staging = Self { path };
        DirBuilder::new().mode(0o700).create(staging.content())?;

        Ok(staging)
    }

    /// What will be published.
    pub(super) fn content(&self) -> PathBuf {
        self.path.join("content")
    }

    /// Brings all that was written to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(syncfs(File::open(&self.path)?)?)
    }
}

/// Moves staged content to `target`, below `directory`, where nothing is yet. On
/// an error nothing is there.
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

    let content = staging.content();
    let flags = RenameFlags::RENAME_NOREPLACE;
    renameat2(AT_FDCWD, &content, AT_FDCWD, target, flags)?;
    sync(parent).inspect_err(|_| {
        // Nobody knows whether a crash would keep it.
        if let Err(error) = fs::remove_dir_all(target) {
            // It has no row: it goes at the next start.
            tracing::warn!(path = %target.display(), %error, "cannot take back what was published");
        }
    })
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

    #[test]
    fn published_content_is_taken_back_when_it_may_not_survive_a_crash() {
        let directory = TempDir::new().unwrap();
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        fs::create_dir(&old).unwrap();
        let staging = Staging::new(directory.path()).unwrap();
        fs::write(staging.content().join("file"), "text").unwrap();
        let refused = |_: &Path| Err(io::Error::other("refused"));

        let error = move_into_place(&staging, directory.path(), &new, refused).unwrap_err();
        drop(staging);

        assert_eq!(error.to_string(), "refused");
        assert!(old.exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn content_never_takes_the_place_of_other_content() {
        let directory = TempDir::new().unwrap();
        let target = directory.path().join("target");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("file"), "in use").unwrap();
        let staging = Staging::new(directory.path()).unwrap();

        publish(&staging, directory.path(), &target).unwrap_err();

        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "in use");
    }
}
