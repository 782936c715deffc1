//! The thread that owns the connection.

use std::thread;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

/// Calls that may wait for the thread before a caller has to.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A database call failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// SQLite refused.
    #[error("database call failed")]
    Sqlite(#[from] rusqlite::Error),
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

/// Handle of the database. The thread ends, and closes the file, when the last
/// handle is gone.
#[derive(Clone, Debug)]
pub struct Database {
    jobs: mpsc::Sender<Job>,
}

impl Database {
    /// Starts the owner thread of `connection`.
    pub(super) fn start(mut connection: Connection) -> std::io::Result<Self> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        thread::Builder::new()
            .name("database".into())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    job(&mut connection);
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
        let (answer, outcome) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // The caller may have gone away; the work is done all the same.
            drop(answer.send(work(connection)));
        });

        self.jobs
            .send(job)
            .await
            .map_err(|_| StorageError::Closed)?;
        outcome.await.map_err(|_| StorageError::Closed)?
    }
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
