//! A private place to unpack to, and the way from there to the final one.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
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

    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

/// Content in its final place.
#[derive(Debug)]
pub(super) struct Published {
    /// Where it is.
    pub(super) target: PathBuf,
    /// What was there before; something may still run on it.
    pub(super) replaced: Option<PathBuf>,
}

/// Moves staged content to `target`, below `directory`.
pub(super) fn publish(
    staging: Staging,
    directory: &Path,
    target: &Path,
) -> Result<Published, InstallError> {
    move_into_place(staging, directory, target)
        .map(|replaced| Published {
            target: target.to_owned(),
            replaced,
        })
        .map_err(|source| InstallError::Write {
            path: target.to_owned(),
            source,
        })
}

fn move_into_place(
    staging: Staging,
    directory: &Path,
    target: &Path,
) -> io::Result<Option<PathBuf>> {
    let parent = target.parent().unwrap_or(directory);
    if parent != directory {
        fs::create_dir_all(parent)?;
        File::open(directory)?.sync_all()?;
    }

    let content = staging.content();
    let rename = |flags| renameat2(AT_FDCWD, &content, AT_FDCWD, target, flags);
    let replaced = match rename(RenameFlags::RENAME_NOREPLACE) {
        Err(Errno::EEXIST) => {
            rename(RenameFlags::RENAME_EXCHANGE)?;
            true
        }
        renamed => {
            renamed?;
            false
        }
    };
    File::open(parent)?.sync_all()?;

    Ok(replaced.then(|| staging.keep()))
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            // It is tried again at the next start.
            tracing::warn!(path = %self.path.display(), %error, "cannot remove staging directory");
        }
    }
}
