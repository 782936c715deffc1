//! The thread that owns the connection.

use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::reserve::{Reserve, is_full};

/// Calls that may wait for the thread before a caller has to.
const QUEUE: usize = 64;

/// Tells whether it found no room.
type Job = Box<dyn FnOnce(&mut Connection) -> bool + Send>;

/// A database call failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// SQLite refused.
    #[error("database call failed")]
    Sqlite(#[source] rusqlite::Error),
    /// SQLite found no room.
    #[error("the disk is full: the database cannot be written")]
    Full(#[source] rusqlite::Error),
    /// A stored value is not what was written.
    #[error("stored value of {what} cannot be read")]
    Value {
        /// Table and column.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The database thread has ended.
    #[error("the database is closed")]
    Closed,
}

impl From<rusqlite::Error> for StorageError {
    fn from(error: rusqlite::Error) -> Self {
        if is_full(&error) {
            Self::Full(error)
        } else {
            Self::Sqlite(error)
        }
    }
}

impl StorageError {
    /// Whether it is for lack of room: then it may do later.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }
}

/// Handle of the database. The thread ends, and closes the file, when the last
/// handle is gone.
#[derive(Clone, Debug)]
pub struct Database {
    jobs: mpsc::Sender<Job>,
}

impl Database {
    /// Starts the owner thread of `connection`.
    ///
    /// A call that finds no room fails, but not those that come after it: they
    /// have the reserve.
    pub(super) fn start(
        mut connection: Connection,
        mut reserve: Option<Reserve>,
    ) -> std::io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        thread::Builder::new()
            .name("database".into())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    let is_full = job(&mut connection);
                    match &mut reserve {
                        Some(reserve) if is_full => _ = reserve.release(),
                        Some(reserve) => reserve.restore(),
                        None => {}
                    }
                }
            })?;

        Ok(Self { jobs })
    }

    /// Runs `work` on the owner thread. Several statements that belong together
    /// go in one transaction, opened by `work`.
    ///
    /// # Errors
    ///
    /// Those of `work`, and [`StorageError::Closed`] after the thread's end.
    pub async fn call<T, F>(&self, work: F) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StorageError> + Send + 'static,
    {
        #[cfg(test)]
        let _clock = hold_clock();
        let (answer, outcome) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = work(connection);
            let is_full = outcome.as_ref().is_err_and(StorageError::is_full);
            // The caller may have gone away; the work is done all the same.
            drop(answer.send(outcome));
            is_full
        });

        self.jobs
            .send(job)
            .await
            .map_err(|_| StorageError::Closed)?;
        outcome.await.map_err(|_| StorageError::Closed)?
    }
}

/// The paused clock of a test leaps to its next timer when all tasks wait, and does
/// not see that the owner thread works for one of them. It sees blocking tasks: one
/// lives until what this returns is dropped.
#[cfg(test)]
fn hold_clock() -> std::sync::mpsc::Sender<()> {
    let (held, released) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || released.recv());

    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn thousand_parallel_calls_all_take_effect() {
        let directory = tempfile::tempdir().unwrap();
        let opened = Database::open(&directory.path().join("sm.db"), &[]).unwrap();
        let database = opened.database;
        let add = |database: Database| async move {
            database
                .call(|connection| {
                    connection.execute(
                        "INSERT INTO traffic VALUES ('all', 0, 1)
                         ON CONFLICT (chain) DO UPDATE SET bytes = bytes + 1",
                        [],
                    )?;
                    Ok(())
                })
                .await
        };

        let calls: Vec<_> = (0..1000)
            .map(|_| tokio::spawn(add(database.clone())))
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }

        let bytes: i64 = database
            .call(|connection| {
                Ok(connection.query_row("SELECT bytes FROM traffic", [], |row| row.get(0))?)
            })
            .await
            .unwrap();
        assert_eq!(bytes, 1000);
    }

    #[tokio::test]
    async fn failed_call_leaves_its_transaction_undone_and_the_thread_alive() {
        let database = Database::in_memory().unwrap();

        let outcome: Result<(), _> = database
            .call(|connection| {
                let transaction = connection.transaction()?;
                transaction.execute("INSERT INTO config VALUES ('cursor', 'half')", [])?;
                Err(StorageError::Closed)
            })
            .await;

        assert!(outcome.is_err());
        assert_eq!(database.value("cursor").await.unwrap(), None);
    }
}
