//! One process for one working directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

const NAME: &str = "servicemanager.lock";

/// Why the working directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another service manager works there.
    #[error(
        "another service manager (process {holder}) works in {directory}; stop it, or give this one \
         another workingDir"
    )]
    Held {
        /// The working directory.
        directory: PathBuf,
        /// Process id of the other, or `unknown`.
        holder: String,
    },
    /// The directory or the lock file in it cannot be made.
    #[error("cannot make {path}; workingDir must be writable")]
    Create {
        /// Which of the two.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file system refuses the lock.
    #[error("cannot lock {path}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The working directory is ours as long as this lives. The kernel gives the
/// lock back whatever the end of the process; the file stays.
#[derive(Debug)]
pub struct WorkdirLock {
    _file: Flock<File>,
}

impl WorkdirLock {
    /// Takes the lock of `directory`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// When another process has the lock, or nothing can be written there.
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        let create = |path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Create { path, source }
        };
        let path = directory.join(NAME);

        fs::create_dir_all(directory).map_err(create(directory))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(create(&path))?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => {
                return Err(LockError::Held {
                    directory: directory.to_owned(),
                    holder: holder(file),
                });
            }
            Err((_, errno)) => {
                return Err(LockError::Lock {
                    path,
                    source: errno.into(),
                });
            }
        };
        if let Err(error) = write_holder(&mut file) {
            // A full disk is no reason not to start.
            tracing::warn!(path = %path.display(), %error, "the lock does not say whose it is");
        }

        Ok(Self { _file: file })
    }
}

/// For the message to the next who wants the lock.
fn write_holder(file: &mut File) -> io::Result<()> {
    let id = std::process::id().to_string();
    // In place, where there is room for sure.
    file.rewind()?;
    file.write_all(id.as_bytes())?;
    file.set_len(id.len() as u64)
}

fn holder(file: File) -> String {
    let mut text = String::new();
    match file.take(20).read_to_string(&mut text) {
        Ok(_) if !text.is_empty() => text,
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_lock_of_a_directory_is_refused_and_names_the_holder() {
        let directory = tempfile::tempdir().unwrap();
        let _first = WorkdirLock::take(directory.path()).unwrap();

        let error = WorkdirLock::take(directory.path()).unwrap_err();

        let holder = std::process::id().to_string();
        assert!(matches!(&error, LockError::Held { holder: found, .. } if *found == holder));
    }

    #[test]
    fn lock_is_free_after_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        drop(WorkdirLock::take(directory.path()).unwrap());

        let again = WorkdirLock::take(directory.path());

        assert!(again.is_ok(), "{again:?}");
    }

    #[test]
    fn missing_directories_are_made() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("a/b");

        let lock = WorkdirLock::take(&below);

        assert!(lock.is_ok(), "{lock:?}");
        assert!(below.join(NAME).is_file());
    }

    #[test]
    fn file_in_place_of_the_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();

        let error = WorkdirLock::take(&file).unwrap_err();

        assert!(matches!(error, LockError::Create { .. }), "{error}");
    }
}
