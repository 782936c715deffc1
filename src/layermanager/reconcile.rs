//! Start: rows and directories are made to agree again.

use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aos_package::Algorithm;

use super::error::ContentError;
use super::record::{SUFFIX, beside};
use crate::model::Chain;

/// Made by mkfs in the root of a partition, and not ours.
const LOST_AND_FOUND: &str = "lost+found";

/// Makes the directory if need be.
pub(super) fn prepare(directory: &Path) -> Result<(), ContentError> {
    DirBuilder::new()
        .mode(0o755)
        .recursive(true)
        .create(directory)
        .map_err(refused(directory))
}

/// Removes all that `known`, paths relative to `directory`, does not name:
/// staging of an install that was cut off, content whose row was not written any
/// more or is gone already.
pub(super) fn sweep_services(
    directory: &Path,
    known: &HashSet<String>,
) -> Result<(), ContentError> {
    for entry in entries(directory)? {
        if !known.contains(item_of(&entry.name)) {
            remove_stray(&entry.path);
        }
    }
    Ok(())
}

/// As [`sweep_services`]; layers lie one level deeper, by algorithm.
pub(super) fn sweep_layers(directory: &Path, known: &HashSet<String>) -> Result<(), ContentError> {
    for entry in entries(directory)? {
        let algorithm = Algorithm::ALL
            .iter()
            .any(|algorithm| algorithm.name() == entry.name);
        if !algorithm || !entry.path.is_dir() {
            remove_stray(&entry.path);
            continue;
        }
        for layer in entries(&entry.path)? {
            let item = format!("{}/{}", entry.name, item_of(&layer.name));
            if !known.contains(&item) {
                remove_stray(&layer.path);
            }
        }
    }
    Ok(())
}

/// Removes all that is in a directory; one that does not exist is empty.
pub(super) fn clear(directory: &Path) -> Result<(), ContentError> {
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        _ => {}
    }
    for entry in entries(directory)? {
        remove_stray(&entry.path);
    }
    Ok(())
}

/// Whether there is certainly no directory at `path`. One that cannot be looked
/// at may come back.
pub(super) fn is_absent(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(metadata) => !metadata.is_dir(),
        Err(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
    }
}

/// What nobody knows is in nobody's way: the next start tries again.
fn remove_stray(path: &Path) {
    if let Err(error) = remove(path) {
        tracing::warn!(error = %Chain(&error), "content that is not in use is left");
    }
}

/// The name of the directory that a file of this name belongs to: a record to the
/// one that it is of.
fn item_of(name: &str) -> &str {
    name.strip_suffix(SUFFIX).unwrap_or(name)
}

struct Entry {
    name: String,
    path: PathBuf,
}

fn entries(directory: &Path) -> Result<Vec<Entry>, ContentError> {
    let read = || -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != LOST_AND_FOUND {
                let path = entry.path();
                entries.push(Entry { name, path });
            }
        }
        Ok(entries)
    };
    read().map_err(refused(directory))
}

/// Removes a file or a directory with all that is in it, and then the record of
/// an item's directory. Links are not followed.
pub(super) fn remove(path: &Path) -> Result<(), ContentError> {
    remove_only(path)?;
    let record = beside(path);
    match fs::remove_file(&record) {
        Err(_) if is_absent(&record) => Ok(()),
        removed => removed.map_err(refused(&record)),
    }
}

fn remove_only(path: &Path) -> Result<(), ContentError> {
    tracing::info!(path = %path.display(), "removing content that is not in use");
    let metadata = match fs::symlink_metadata(path) {
        Err(_) if is_absent(path) => return Ok(()),
        metadata => metadata.map_err(refused(path))?,
    };
    if metadata.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
    .map_err(refused(path))
}

fn refused(path: &Path) -> impl FnOnce(io::Error) -> ContentError + use<> {
    let path = path.to_owned();
    move |source| ContentError::Directory { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn only_what_is_certainly_not_there_is_absent() {
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "").unwrap();
        symlink(directory.path(), at("link")).unwrap();

        for absent in ["missing", "file/below", "file", "link"] {
            assert!(is_absent(&at(absent)), "{absent}");
        }
        assert!(!is_absent(directory.path()));
        assert!(!is_absent(&at("cannot\0look")));
    }

    #[test]
    fn stray_that_cannot_be_removed_is_passed_over() {
        // The kernel lets nobody remove these.
        for stuck in ["/proc/self/status", "/proc/self/fd"] {
            remove_stray(Path::new(stuck));

            assert!(Path::new(stuck).exists());
        }
    }
}
