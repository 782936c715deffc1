//! Setting a damaged database aside, with all that belongs to it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use time::macros::format_description;

/// Files that SQLite keeps beside a database. The name of each is the
/// database's with this appended.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Gives the database at `path` another name and returns it.
///
/// The database goes first: should the power fail in between, SQLite drops the
/// companions of a database that is not there, while a database without its
/// companions would look sound and be old.
pub(super) fn set_aside(path: &Path, now: OffsetDateTime) -> io::Result<PathBuf> {
    let aside = free_name(path, now)?;

    fs::rename(path, &aside)?;
    for companion in COMPANIONS {
        match fs::rename(with(path, companion), with(&aside, companion)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_directory(path)?;

    Ok(aside)
}

/// Makes the names in the directory of `path` durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// `path` with `suffix` appended to its name.
pub(super) fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);

    PathBuf::from(name)
}

fn free_name(path: &Path, now: OffsetDateTime) -> io::Result<PathBuf> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let time = now.format(format).map_err(io::Error::other)?;

    let mut name = with(path, &format!(".damaged-{time}"));
    let mut number = 1;
    while name.try_exists()? {
        number += 1;
        name = with(path, &format!(".damaged-{time}-{number}"));
    }

    Ok(name)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn companions_follow_the_database_under_its_new_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sm.db");
        fs::write(&path, "db").unwrap();
        fs::write(with(&path, "-wal"), "wal").unwrap();

        let aside = set_aside(&path, datetime!(2026-11-21 13:47:04.5 UTC)).unwrap();

        assert_eq!(aside, with(&path, ".damaged-20261121T134704Z"));
        assert_eq!(fs::read(&aside).unwrap(), b"db");
        assert_eq!(fs::read(with(&aside, "-wal")).unwrap(), b"wal");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn earlier_evidence_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sm.db");
        let now = datetime!(2026-11-21 13:47:04 UTC);
        fs::write(&path, "first").unwrap();
        let first = set_aside(&path, now).unwrap();
        fs::write(&path, "second").unwrap();

        let second = set_aside(&path, now).unwrap();

        assert_eq!(fs::read(first).unwrap(), b"first");
        assert_eq!(fs::read(second).unwrap(), b"second");
    }

    #[test]
    fn missing_database_cannot_be_set_aside() {
        let directory = tempfile::tempdir().unwrap();

        let outcome = set_aside(&directory.path().join("sm.db"), OffsetDateTime::UNIX_EPOCH);

        assert!(outcome.is_err());
    }
}
