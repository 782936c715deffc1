//! A copy of the old database, whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::Connection;

use super::super::aside::{sync_directory, with};
use super::TakeOverError;

/// Copies all of the database, with what its WAL has, to `path`. An older copy
/// is replaced: it belongs to an attempt that was cut off, or to a release that
/// has been in use again since.
pub(super) fn keep(connection: &Connection, path: &Path) -> Result<(), TakeOverError> {
    let refused = |source| TakeOverError::Copy {
        path: path.to_owned(),
        source,
    };
    let staged = with(path, ".new");

    prepare(&staged).map_err(refused)?;
    if let Err(error) = connection.execute("VACUUM INTO ?1", [staged.to_string_lossy()]) {
        // What is wrong with the database itself is told as that.
        return Err(match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                TakeOverError::Tables(error)
            }
            _ => refused(io::Error::other(error)),
        });
    }
    publish(&staged, path).map_err(refused)
}

/// An empty file that only we can read: SQLite would make it for everybody.
fn prepare(staged: &Path) -> io::Result<()> {
    match fs::remove_file(staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(staged)?;
    Ok(())
}

fn publish(staged: &Path, path: &Path) -> io::Result<()> {
    File::open(staged)?.sync_all()?;
    fs::rename(staged, path)?;
    sync_directory(path)
}
