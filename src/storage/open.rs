//! Opening the file: new, ours, an older release's, or damaged.

use std::path::PathBuf;

use rusqlite::Connection;

use super::schema;
use super::worker::Database;

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
    /// The owner thread cannot be started.
    #[error("cannot start the database thread")]
    Thread(#[source] std::io::Error),
}

/// An open database.
#[derive(Debug)]
pub struct Opened {
    /// Its handle.
    pub database: Database,
    /// Where a damaged file was set aside, if there was one.
    pub set_aside: Option<PathBuf>,
}

impl Database {
    /// A new database in memory, for tests.
    pub fn in_memory() -> Result<Self, OpenError> {
        let open = |source| OpenError::Open {
            path: ":memory:".into(),
            source,
        };
        let mut connection = Connection::open_in_memory().map_err(open)?;
        schema::create(&mut connection).map_err(open)?;
        Self::start(connection).map_err(OpenError::Thread)
    }
}
