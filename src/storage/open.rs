//! Opening the file: new, ours, another release's, or damaged.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use time::OffsetDateTime;
use tracing::{error, warn};

use super::aside::{set_aside, sync_directory};
use super::inspect::{self, Origin};
use super::reserve::{self, Reserve, is_full};
use super::schema;
use super::takeover::{self, TakeOver, TakeOverError};
use super::worker::Database;
use crate::model::Chain;

/// KiB of pages that are kept in memory. After the start little is read twice.
const CACHE: i32 = 256;

/// How long a call waits for a foreign reader, such as a `sqlite3` shell.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite cannot open or set up the file.
    #[error("cannot open database {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The file cannot be made.
    #[error("cannot make database {path}; its directory must be writable")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is that of a release before 7.2.3, and as it was.
    #[error(
        "database {path} is of version {version}, made by a release before 7.2.3, and this one cannot \
         take it over; run release 7.2.3 once, which brings it up to date, or move the file away to \
         start without services"
    )]
    OldRelease {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// The file is another release's, and as it was.
    #[error(
        "database {path} is of version {version}, made by another release, and this one works with \
         its own up to {known}; run the other release, or move the file away to start without \
         services"
    )]
    OtherRelease {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The newest version of ours that is known.
        known: u32,
    },
    /// The file is release 7.2.3's, and as it was.
    #[error("cannot take over database {path} of release 7.2.3, which is as it was")]
    TakeOver {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TakeOverError,
    },
    /// The file is damaged and cannot be set aside.
    #[error("cannot set damaged database {path} aside; move it away")]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The owner thread cannot be started.
    #[error("cannot start the database thread")]
    Thread(#[source] io::Error),
}

impl OpenError {
    /// Whether it is for lack of room.
    fn is_full(&self) -> bool {
        match self {
            Self::Open { source, .. } => is_full(source),
            Self::Create { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

/// An open database.
#[derive(Debug)]
pub struct Opened {
    /// Its handle.
    pub database: Database,
    /// Where a damaged file was set aside, if there was one. The database is
    /// empty then.
    pub set_aside: Option<PathBuf>,
}

impl Database {
    /// Opens the database at `path`, or makes one. That of release 7.2.3 becomes
    /// ours by `take_over`; a file of another release is left as it is. Blocks
    /// while it reads the whole file.
    ///
    /// # Errors
    ///
    /// When there is no usable database afterwards. A damaged file is none: it
    /// is set aside for a new one.
    pub fn open(path: &Path, take_over: &[TakeOver]) -> Result<Opened, OpenError> {
        let mut reserve = Reserve::of(path);
        let mut prepare = |path: &Path| match prepare(path, take_over) {
            Err(error) if error.is_full() && reserve.release() => prepare(path, take_over),
            prepared => prepared,
        };
        let mut aside = None;
        let connection = match prepare(path)? {
            Some(connection) => connection,
            None => {
                let moved = set_aside(path, OffsetDateTime::now_utc()).map_err(|source| {
                    OpenError::SetAside {
                        path: path.to_owned(),
                        source,
                    }
                })?;
                error!(path = %path.display(), to = %moved.display(), "database set aside");
                aside = Some(moved);
                prepare(path)?.ok_or_else(|| OpenError::Open {
                    path: path.to_owned(),
                    source: damaged("a new database is damaged at once"),
                })?
            }
        };

        Ok(Opened {
            database: Self::start(connection, Some(reserve)).map_err(OpenError::Thread)?,
            set_aside: aside,
        })
    }

    /// A new database in memory, for tests.
    ///
    /// # Errors
    ///
    /// When there is no memory.
    pub fn in_memory() -> Result<Self, OpenError> {
        let open = |source| OpenError::Open {
            path: ":memory:".into(),
            source,
        };
        let mut connection = Connection::open_in_memory().map_err(open)?;
        schema::bring_up(&mut connection).map_err(open)?;
        Self::start(connection, None).map_err(OpenError::Thread)
    }
}

/// A connection that is ready for work; `None` if the file is damaged.
fn prepare(path: &Path, take_over: &[TakeOver]) -> Result<Option<Connection>, OpenError> {
    let created = create_if_absent(path).map_err(|source| OpenError::Create {
        path: path.to_owned(),
        source,
    })?;
    if !created {
        match inspect::origin_of_file(path) {
            Ok(origin) if !usable(path, origin)? => return Ok(None),
            Ok(_) => {}
            Err(error) => return none_if_damaged(path, error.into()),
        }
    }

    connect(path, take_over).map_or_else(
        |error| none_if_damaged(path, error),
        |ready| Ok(Some(ready)),
    )
}

/// Whether the file is a new one, without content.
///
/// SQLite would make it readable for everybody. The file is closed before
/// SQLite opens it: closing it later would give SQLite's locks away.
fn create_if_absent(path: &Path) -> io::Result<bool> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let created = file.metadata()?.len() == 0;
    if created {
        sync_directory(path)?;
    }

    Ok(created)
}

/// Whether the file is not damaged, as far as its marks tell.
fn usable(path: &Path, origin: Origin) -> Result<bool, OpenError> {
    let known = schema::VERSION;
    match origin {
        Origin::Empty | Origin::Old(_) => Ok(true),
        Origin::Damaged => Ok(false),
        Origin::Ours(version) if version <= known.into() => Ok(true),
        Origin::Foreign(version) if version < schema::FIRST.into() => Err(OpenError::OldRelease {
            path: path.to_owned(),
            version,
        }),
        Origin::Ours(version) | Origin::Foreign(version) => Err(OpenError::OtherRelease {
            path: path.to_owned(),
            version,
            known,
        }),
    }
}

fn connect(path: &Path, take_over: &[TakeOver]) -> Result<Connection, TakeOverError> {
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // A damaged file is evidence: closing it must not write to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    check(&connection)?;

    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -CACHE)?;
    if let Origin::Old(_) = inspect::origin(&connection)? {
        takeover::run(&mut connection, path, take_over)?;
    }
    schema::bring_up(&mut connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    if let Err(error) = reserve::grow(&connection) {
        warn!(path = %path.display(), %error, "the database may not be writable on a full disk");
    }

    Ok(connection)
}

/// Reads the whole file, indexes included. It is small.
fn check(connection: &Connection) -> rusqlite::Result<()> {
    let verdict: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(damaged(&verdict));
    }

    Ok(())
}

fn damaged(what: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(what.to_owned()),
    )
}

fn none_if_damaged(path: &Path, error: TakeOverError) -> Result<Option<Connection>, OpenError> {
    let code = error.sqlite().and_then(rusqlite::Error::sqlite_error_code);
    if let Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) = code {
        error!(path = %path.display(), error = %Chain(&error), "database is damaged");
        return Ok(None);
    }

    let path = path.to_owned();
    Err(match error {
        TakeOverError::Tables(source) => OpenError::Open { path, source },
        source => OpenError::TakeOver { path, source },
    })
}
