//! What IAM told last, in the `config` table.

use rusqlite::{OptionalExtension, params};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::NodeInfo;
use crate::storage::{Database, StorageError};

const NODE_INFO: &str = "iam.nodeInfo";
const LOCATION: &str = "iam.certificate";

/// Where SM's certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Location {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What IAM tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) node_info: Option<NodeInfo>,
    pub(super) location: Option<Location>,
}

pub(super) async fn load(database: &Database) -> Result<Told, StorageError> {
    database
        .call(|connection| {
            Ok(Told {
                node_info: read(connection, NODE_INFO)?,
                location: read(connection, LOCATION)?,
            })
        })
        .await
}

pub(super) async fn save(database: &Database, told: Told) -> Result<(), StorageError> {
    database
        .call(move |connection| {
            let transaction = connection.transaction()?;
            write(&transaction, NODE_INFO, told.node_info.as_ref())?;
            write(&transaction, LOCATION, told.location.as_ref())?;
            Ok(transaction.commit()?)
        })
        .await
}

fn read<T: DeserializeOwned>(
    connection: &rusqlite::Connection,
    key: &'static str,
) -> Result<Option<T>, StorageError> {
    let text: Option<String> = connection
        .query_row("SELECT value FROM config WHERE key = ?1", [key], |row| {
            row.get(0)
        })
        .optional()?;

    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|source| StorageError::Value { what: key, source })
}

fn write<T: Serialize>(
    connection: &rusqlite::Connection,
    key: &'static str,
    value: Option<&T>,
) -> Result<(), StorageError> {
    let Some(value) = value else {
        connection.execute("DELETE FROM config WHERE key = ?1", [key])?;
        return Ok(());
    };

    let text =
        serde_json::to_string(value).map_err(|source| StorageError::Value { what: key, source })?;
    connection.execute(
        "INSERT INTO config (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![key, text],
    )?;

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        Told {
            node_info: Some(NodeInfo {
                node_id: "node".into(),
                node_type: "main".into(),
            }),
            location: Some(Location {
                certificate: "file:///cert.pem".into(),
                key: "file:///key.pem".into(),
            }),
        }
    }

    #[tokio::test]
    async fn new_database_knows_nothing() {
        let database = Database::in_memory().unwrap();

        assert_eq!(load(&database).await.unwrap(), Told::default());
    }

    #[tokio::test]
    async fn newest_words_of_iam_are_kept() {
        let database = Database::in_memory().unwrap();
        let newer = Told {
            location: None,
            ..told()
        };

        save(&database, told()).await.unwrap();
        assert_eq!(load(&database).await.unwrap(), told());

        save(&database, newer.clone()).await.unwrap();
        assert_eq!(load(&database).await.unwrap(), newer);
    }

    #[tokio::test]
    async fn damaged_value_is_an_error_that_names_it() {
        let database = Database::in_memory().unwrap();
        database
            .call(|connection| {
                connection.execute("INSERT INTO config VALUES (?1, '{')", [NODE_INFO])?;
                Ok(())
            })
            .await
            .unwrap();

        let error = load(&database).await.unwrap_err();

        assert!(matches!(
            error,
            StorageError::Value {
                what: NODE_INFO,
                ..
            }
        ));
    }
}
