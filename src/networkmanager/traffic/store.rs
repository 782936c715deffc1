//! The table of traffic.
//!
//! All rows are of one day. What the clock has shown is a value beside them, in
//! the same transaction.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use tracing::{error, warn};

use super::accounts::Key;
use super::days::Days;
use crate::storage::{Database, StorageError, readable};

/// Key of the days in `config`.
const DAYS: &str = "traffic.days";

/// What is stored.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// Not there after a takeover.
    pub(super) days: Option<Days>,
    pub(super) rows: Vec<Row>,
    /// There are rows that say nothing.
    pub(super) unreadable: bool,
}

/// Bytes of one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) day: i64,
    pub(super) bytes: u64,
}

/// What is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Save {
    /// All other rows go.
    pub(super) replace: bool,
    pub(super) days: Days,
    pub(super) rows: BTreeMap<Key, u64>,
}

/// All rows and the days. What cannot be read is logged and left out.
pub(super) async fn load(database: &Database) -> Result<Loaded, StorageError> {
    database
        .call(|connection| {
            let days = connection
                .query_row("SELECT value FROM config WHERE key = ?1", [DAYS], |row| {
                    row.get(0)
                })
                .optional();
            let days: Option<String> = readable("the days of traffic", days).transpose()?.flatten();
            let mut statement = connection.prepare("SELECT chain, day, bytes FROM traffic")?;
            let mut found = 0;
            let rows = statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .inspect(|_| found += 1)
                .filter_map(|row| readable("traffic", row))
                .collect::<Result<Vec<(String, i64, i64)>, _>>()?;
            let rows: Vec<_> = rows.into_iter().filter_map(row).collect();

            Ok(Loaded {
                days: days.as_deref().and_then(read_days),
                unreadable: rows.len() < found,
                rows,
            })
        })
        .await
}

/// Stores in one transaction.
pub(super) async fn save(database: &Database, save: Save) -> Result<(), StorageError> {
    database
        .call(move |connection| write(connection, &save))
        .await
}

fn read_days(text: &str) -> Option<Days> {
    serde_json::from_str(text)
        .inspect_err(|error| error!(text, %error, "the stored days of traffic cannot be read"))
        .ok()
}

fn row((chain, day, bytes): (String, i64, i64)) -> Option<Row> {
    let row = match (Key::parse(&chain), u64::try_from(bytes)) {
        (Some(key), Ok(bytes)) => Some(Row { key, day, bytes }),
        (None, _) | (_, Err(_)) => None,
    };
    if row.is_none() {
        warn!(chain, bytes, "a stored row of traffic makes no sense");
    }
    row
}

fn write(connection: &mut Connection, save: &Save) -> Result<(), StorageError> {
    let days = serde_json::to_string(&save.days).map_err(|source| StorageError::Value {
        what: "the days of traffic",
        source,
    })?;

    let transaction = connection.transaction()?;
    if save.replace {
        transaction.execute("DELETE FROM traffic", [])?;
    }
    transaction.execute(
        "INSERT INTO config (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (DAYS, days),
    )?;
    let mut upsert = transaction.prepare(
        "INSERT INTO traffic (chain, day, bytes) VALUES (?1, ?2, ?3)
         ON CONFLICT (chain) DO UPDATE SET day = excluded.day, bytes = excluded.bytes",
    )?;
    for (key, bytes) in &save.rows {
        let bytes = i64::try_from(*bytes).unwrap_or(i64::MAX);
        upsert.execute(params![key.to_string(), save.days.today(), bytes])?;
    }
    drop(upsert);
    transaction.commit()?;

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networkmanager::take_over;
    use crate::storage::OldDatabase;

    const TODAY: i64 = 20_000;

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    fn of(rows: &[(&str, u64)], replace: bool) -> Save {
        Save {
            replace,
            days: Days::starting(TODAY),
            rows: rows
                .iter()
                .map(|(chain, bytes)| (key(chain), *bytes))
                .collect(),
        }
    }

    async fn rows(database: &Database) -> Vec<(String, i64, u64)> {
        let loaded = load(database).await.unwrap();
        let mut rows: Vec<_> = loaded
            .rows
            .iter()
            .map(|row| (row.key.to_string(), row.day, row.bytes))
            .collect();
        rows.sort();
        rows
    }

    #[tokio::test]
    async fn what_is_saved_comes_back_and_changes_leave_the_rest() {
        let database = Database::in_memory().unwrap();
        let first = of(&[("AOS_SYSTEM_IN", 1), ("AOS_ab_OUT", 2)], false);
        save(&database, first).await.unwrap();

        save(&database, of(&[("AOS_ab_OUT", u64::MAX)], false))
            .await
            .unwrap();

        let most = i64::MAX.unsigned_abs();
        let expected = [("AOS_SYSTEM_IN", 1), ("AOS_ab_OUT", most)];
        let expected = expected.map(|(chain, bytes)| (chain.to_owned(), TODAY, bytes));
        assert_eq!(rows(&database).await, expected);
        let loaded = load(&database).await.unwrap();
        assert_eq!(loaded.days, Some(Days::starting(TODAY)));
        assert!(!loaded.unreadable);
    }

    #[tokio::test]
    async fn replacing_removes_what_is_gone() {
        let database = Database::in_memory().unwrap();
        let first = of(&[("AOS_SYSTEM_IN", 1), ("AOS_ab_OUT", 2)], false);
        save(&database, first).await.unwrap();

        save(&database, of(&[("AOS_SYSTEM_IN", 3)], true))
            .await
            .unwrap();

        assert_eq!(rows(&database).await, [("AOS_SYSTEM_IN".into(), TODAY, 3)]);
    }

    #[tokio::test]
    async fn row_that_cannot_be_read_hides_no_other() {
        let database = Database::in_memory().unwrap();
        save(&database, of(&[("AOS_SYSTEM_IN", 1)], false))
            .await
            .unwrap();
        database
            .call(|connection| {
                connection.execute_batch(
                    "INSERT INTO traffic VALUES (CAST(x'ff' AS TEXT), 20000, 1);
                     INSERT INTO traffic VALUES ('AOS_SYSTEM_OUT', 20000, -1);
                     INSERT INTO traffic VALUES ('somebody', 20000, 1);
                     UPDATE config SET value = '{' WHERE key = 'traffic.days';",
                )?;
                Ok(())
            })
            .await
            .unwrap();

        let loaded = load(&database).await.unwrap();

        assert_eq!(loaded.days, None);
        assert!(loaded.unreadable);
        assert_eq!(rows(&database).await, [("AOS_SYSTEM_IN".into(), TODAY, 1)]);
    }

    #[tokio::test]
    async fn days_that_are_no_text_hide_no_row() {
        let database = Database::in_memory().unwrap();
        save(&database, of(&[("AOS_SYSTEM_IN", 1)], false))
            .await
            .unwrap();
        database
            .call(|connection| {
                let sql = "UPDATE config SET value = CAST(x'ff' AS TEXT)";
                Ok(connection.execute(sql, [])?)
            })
            .await
            .unwrap();

        let loaded = load(&database).await.unwrap();

        assert_eq!(loaded.days, None);
        assert_eq!(loaded.rows.len(), 1);
    }

    #[tokio::test]
    async fn rows_of_the_older_release_are_ours() {
        let old = OldDatabase::new(6);
        old.execute(
            "INSERT INTO trafficmonitor VALUES ('AOS_SYSTEM_IN', '2024-10-04 23:59:59+00:00', 12);
             INSERT INTO trafficmonitor VALUES ('AOS_ab_OUT', '2024-10-04 00:00:00+00:00', 34);",
        );

        let database = old.taken_over(take_over());

        let expected = [
            ("AOS_SYSTEM_IN".into(), TODAY, 12),
            ("AOS_ab_OUT".into(), TODAY, 34),
        ];
        assert_eq!(rows(&database).await, expected);
        assert_eq!(load(&database).await.unwrap().days, None);
    }
}
