//! Room for the database on a full disk.
//!
//! While it is open it needs none: its journal and the file are grown once by
//! [`grow`], and from then on written in place. What that does not cover, above
//! all opening, has a file of random bytes beside the database that is given up
//! when SQLite finds the disk full, and made again when there is room.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use rusqlite::{Connection, ErrorCode, ffi};
use tracing::{info, warn};

use super::aside::with;

/// Bytes of the file.
const SIZE: usize = 1 << 20;

/// Bytes that the journal can hold, and the file grow by, without the disk.
const GROWTH: u32 = 512 << 10;

/// Pages in the journal at which they are moved to the file. The journal of a
/// large transaction more fits in what it was grown to.
const CHECKPOINT: u32 = 32;

/// A file that can be given up.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    is_there: bool,
}

impl Reserve {
    /// That of the database at `path`.
    pub(super) fn of(path: &Path) -> Self {
        let path = with(path, ".reserve");
        let is_there = fs::metadata(&path).is_ok_and(|it| it.len() >= SIZE as u64);
        Self { path, is_there }
    }

    /// Gives it up. Tells whether there was any of it.
    pub(super) fn release(&mut self) -> bool {
        self.is_there = false;
        let removed = fs::remove_file(&self.path).is_ok();
        if removed {
            warn!(path = %self.path.display(), "the disk is full: the database has its reserve");
        }
        removed
    }

    /// Makes it again if it is missing, and there is much more room than that.
    pub(super) fn restore(&mut self) {
        if self.is_there || !self.has_room() {
            return;
        }
        match self.write() {
            Ok(()) => {
                self.is_there = true;
                info!(path = %self.path.display(), "the database has a reserve");
            }
            Err(error) => {
                warn!(path = %self.path.display(), %error, "the database has no reserve");
                // Part of one helps nobody.
                drop(fs::remove_file(&self.path));
            }
        }
    }

    fn has_room(&self) -> bool {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        statvfs(directory).is_ok_and(|figures| {
            let free = figures
                .fragment_size()
                .saturating_mul(figures.blocks_available());
            free >= 4 * SIZE as u64
        })
    }

    /// A file of zeros may take no space at all.
    fn write(&self) -> io::Result<()> {
        let mut random = fastrand::Rng::with_seed(1);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
            .take(SIZE)
            .collect();
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        file.write_all(&bytes)?;
        file.sync_all()
    }
}

/// Whether SQLite found no room on the disk.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        // The index of the journal cannot be made.
        || error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHMSIZE)
}

/// Makes journal and file large enough that what is written from now on needs
/// no more of the disk.
///
/// What is written and removed again leaves pages in the file that are free, and
/// a journal that is never cut.
pub(super) fn grow(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
    connection.execute(
        "INSERT OR REPLACE INTO config (key, value) VALUES ('reserve', hex(zeroblob(?1)))",
        [GROWTH / 2],
    )?;
    connection.execute("DELETE FROM config WHERE key = 'reserve'", [])?;
    connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journal_and_file_are_grown_and_nothing_is_left_in_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sm.db");
        let connection = Connection::open(&path).unwrap();
        let wal = |_: &rusqlite::Row<'_>| Ok(());
        connection
            .pragma_update_and_check(None, "journal_mode", "WAL", wal)
            .unwrap();
        connection
            .execute_batch("CREATE TABLE config (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
            .unwrap();

        grow(&connection).unwrap();

        let rows: i64 = connection
            .query_row("SELECT count(*) FROM config", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 0);
        for file in [path.clone(), with(&path, "-wal")] {
            let size = fs::metadata(&file).unwrap().len();
            assert!(size >= u64::from(GROWTH), "{file:?} has {size}");
        }
        let before = fs::metadata(&path).unwrap().len();
        grow(&connection).unwrap();
        let after = fs::metadata(&path).unwrap().len();
        assert!(after <= before + 8192, "it grows once: {before} {after}");
    }

    #[test]
    fn reserve_is_made_given_up_and_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sm.db");
        let file = directory.path().join("sm.db.reserve");
        let mut reserve = Reserve::of(&path);
        assert!(!reserve.release(), "there is none yet");

        reserve.restore();
        assert_eq!(fs::metadata(&file).unwrap().len(), SIZE as u64);
        assert!(reserve.release());
        assert!(!file.exists());
        reserve.restore();

        assert!(file.exists());
        assert!(Reserve::of(&path).is_there);
    }

    #[test]
    fn part_of_a_reserve_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sm.db");
        fs::write(with(&path, ".reserve"), "short").unwrap();

        let mut reserve = Reserve::of(&path);
        reserve.restore();

        let size = fs::metadata(with(&path, ".reserve")).unwrap().len();
        assert_eq!(size, SIZE as u64);
    }

    #[test]
    fn only_lack_of_room_is_a_full_disk() {
        let error = |code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);

        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE] {
            assert!(is_full(&error(code)), "{code}");
        }
        for code in [
            ffi::SQLITE_IOERR,
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_CORRUPT,
        ] {
            assert!(!is_full(&error(code)), "{code}");
        }
    }
}
