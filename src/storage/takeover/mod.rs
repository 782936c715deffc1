//! The database of release 7.2.3 becomes one of ours, in place.
//!
//! Storage knows no table's meaning: the components that own the data pass a
//! [`TakeOver`] each. All run in one transaction, with the old tables readable
//! under other names; after it there are only ours. So a power cut leaves the
//! old database or the new one. A copy of the old one is kept beside it, for a
//! way back.
//!
//! A row that makes no sense is left out with a warning that names it. Only an
//! error of the database itself ends the attempt.

mod copy;
mod old;
mod values;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tracing::{info, warn};

use super::inspect;
use super::schema;
use super::worker::StorageError;

pub use old::{Nonsense, OldRelease, OldRow};
pub use values::ValueKind;

#[cfg(test)]
pub(crate) use fixture::OldDatabase;

/// Added to the name of the database for its copy.
const COPY: &str = ".7.2.3";

type Step = dyn Fn(&OldRelease<'_>) -> Result<(), StorageError>;

/// How one component takes over its part of an old database.
pub struct TakeOver {
    what: &'static str,
    step: Box<Step>,
}

impl TakeOver {
    /// `step` reads old tables and writes ours; `what` names the part for
    /// humans.
    pub fn new(
        what: &'static str,
        step: impl Fn(&OldRelease<'_>) -> Result<(), StorageError> + 'static,
    ) -> Self {
        Self {
            what,
            step: Box::new(step),
        }
    }
}

impl fmt::Debug for TakeOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TakeOver").field(&self.what).finish()
    }
}

/// An old database was not taken over, and is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverError {
    /// There is no copy of it.
    #[error("cannot keep a copy of it as {path}")]
    Copy {
        /// The copy.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite refuses.
    #[error("cannot change its tables")]
    Tables(#[from] rusqlite::Error),
    /// One part of it.
    #[error("cannot take over its {what}")]
    Part {
        /// Which part.
        what: &'static str,
        /// Why.
        #[source]
        source: StorageError,
    },
}

impl TakeOverError {
    /// SQLite's own error, if it is one.
    pub(super) fn sqlite(&self) -> Option<&rusqlite::Error> {
        match self {
            Self::Tables(source)
            | Self::Part {
                source: StorageError::Sqlite(source),
                ..
            } => Some(source),
            Self::Copy { .. } | Self::Part { .. } => None,
        }
    }
}

/// Where the copy of the old database at `path` is kept.
#[must_use]
pub fn copy_of_old(path: &Path) -> PathBuf {
    super::aside::with(path, COPY)
}

/// Makes the old database behind `connection`, at `path`, one of ours.
pub(super) fn run(
    connection: &mut Connection,
    path: &Path,
    steps: &[TakeOver],
) -> Result<(), TakeOverError> {
    if inspect::is_dirty(connection)? {
        warn!(
            path = %path.display(),
            "the older release was cut off while it changed its database; what can be read is \
             taken over"
        );
    }
    let copy = copy_of_old(path);
    copy::keep(connection, &copy)?;

    let transaction = connection.transaction()?;
    let old = OldRelease::set_apart(&transaction)?;
    transaction.execute_batch(schema::CREATE)?;
    for TakeOver { what, step } in steps {
        step(&old).map_err(|source| TakeOverError::Part { what, source })?;
    }
    old.drop_tables()?;
    inspect::mark(&transaction, schema::FIRST)?;
    transaction.commit()?;

    info!(path = %path.display(), copy = %copy.display(),
        "took over the database of release 7.2.3; a copy of it is kept");
    Ok(())
}
