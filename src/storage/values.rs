//! Small values, each under a name of its own.

use rusqlite::OptionalExtension;

use super::worker::{Database, StorageError};

impl Database {
    /// The value under `key`, if there is one.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn value(&self, key: &'static str) -> Result<Option<String>, StorageError> {
        self.call(move |connection| {
            let value = connection
                .query_row("SELECT value FROM config WHERE key = ?1", [key], |row| {
                    row.get(0)
                })
                .optional()?;
            Ok(value)
        })
        .await
    }

    /// Stores `value` under `key`, in place of the one before.
    ///
    /// # Errors
    ///
    /// When the database cannot be written; then the one before is still there.
    pub async fn set_value(
        &self,
        key: &'static str,
        value: impl Into<String>,
    ) -> Result<(), StorageError> {
        let value = value.into();
        self.call(move |connection| {
            connection.execute(
                "INSERT INTO config (key, value) VALUES (?1, ?2)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn absent_value_is_none() {
        let database = Database::in_memory().unwrap();

        assert_eq!(database.value("cursor").await.unwrap(), None);
    }

    #[tokio::test]
    async fn later_value_replaces_the_earlier() {
        let database = Database::in_memory().unwrap();
        database.set_value("cursor", "a").await.unwrap();

        database.set_value("cursor", "b").await.unwrap();

        assert_eq!(database.value("cursor").await.unwrap().unwrap(), "b");
    }

    #[tokio::test]
    async fn refused_value_leaves_the_earlier() {
        let database = Database::in_memory().unwrap();
        database.set_value("cursor", "a").await.unwrap();
        // What a full disk does.
        database
            .call(|connection| Ok(connection.pragma_update(None, "max_page_count", 1)?))
            .await
            .unwrap();

        let refused = database.set_value("cursor", "b".repeat(1 << 20)).await;

        assert!(matches!(refused, Err(StorageError::Full(_))), "{refused:?}");
        assert_eq!(database.value("cursor").await.unwrap().unwrap(), "a");
    }
}
