//! Start: rows and directories are made to agree again.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aos_package::Algorithm;

use super::error::ContentError;
use super::staging::PREFIX;

/// Ends the names of the records of what is in a directory. They lie beside it.
const RECORD: &str = "files";
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

/// All that lies in the directory of the services. One that does not exist is
/// empty.
pub(super) fn services(directory: &Path) -> Result<Vec<PathBuf>, ContentError> {
    entries(directory)
}

/// As [`services`]; layers lie one level deeper, by algorithm.
pub(super) fn layers(directory: &Path) -> Result<Vec<PathBuf>, ContentError> {
    let mut found = Vec::new();
    for path in entries(directory)? {
        let is_algorithm = Algorithm::ALL
            .iter()
            .any(|algorithm| path.file_name() == Some(algorithm.name().as_ref()));
        if is_algorithm && path.symlink_metadata().is_ok_and(|it| it.is_dir()) {
            found.extend(entries(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// What a record, which lies beside a directory, describes; any other path is
/// its own.
pub(super) fn described(path: &Path) -> PathBuf {
    if path
        .extension()
        .is_some_and(|extension| extension == RECORD)
    {
        path.with_extension("")
    } else {
        path.to_owned()
    }
}

/// Whether an install that was cut off left it.
pub(super) fn is_staging(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(PREFIX.as_bytes())
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

/// All that is in a directory; one that does not exist is empty.
pub(super) fn entries(directory: &Path) -> Result<Vec<PathBuf>, ContentError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut entries = Vec::new();
        let found = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(entries),
            found => found?,
        };
        for entry in found {
            let entry = entry?;
            if entry.file_name() != LOST_AND_FOUND {
                entries.push(entry.path());
            }
        }
        Ok(entries)
    };
    read().map_err(refused(directory))
}

/// Removes what is at `path`, and the record beside it.
pub(super) fn remove_content(path: &Path) -> Result<(), ContentError> {
    remove(path)?;
    let mut record = path.as_os_str().to_owned();
    record.push(".");
    record.push(RECORD);
    let record = PathBuf::from(record);
    match fs::remove_file(&record) {
        Err(_) if is_absent(path) && record.symlink_metadata().is_err() => Ok(()),
        removed => removed.map_err(refused(&record)),
    }
}

/// Removes a file or a directory with all that is in it. Links are not followed.
pub(super) fn remove(path: &Path) -> Result<(), ContentError> {
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
    fn record_goes_with_its_directory_and_alone_when_that_has_gone() {
        let directory = TempDir::new().unwrap();
        let (item, record) = (directory.path().join("a"), directory.path().join("a.files"));
        let other = directory.path().join("b.files");
        fs::create_dir_all(item.join("rootfs")).unwrap();
        fs::write(&record, "").unwrap();
        fs::write(&other, "").unwrap();

        remove_content(&item).unwrap();

        assert!(!item.exists() && !record.exists() && other.exists());
        fs::write(&record, "").unwrap();
        remove_content(&item).unwrap();
        assert!(!record.exists());
        remove_content(&item).unwrap();
        remove_content(&other).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn record_describes_the_directory_beside_it() {
        assert_eq!(described(Path::new("/a/b.files")), Path::new("/a/b"));
        assert_eq!(described(Path::new("/a/b.file")), Path::new("/a/b.file"));
        assert!(is_staging(Path::new("/a/.staging-1")));
        assert!(!is_staging(Path::new("/.staging-1/a")));
    }

    #[test]
    fn what_the_kernel_does_not_let_go_is_an_error() {
        for stuck in ["/proc/self/status", "/proc/self/fd"] {
            let error = remove_content(Path::new(stuck)).unwrap_err();

            assert!(error.to_string().contains(stuck), "{error}");
        }
    }
}
