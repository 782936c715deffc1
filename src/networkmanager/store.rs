//! The table of networks.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tracing::error;

use super::existing::Link;
use super::names;
use crate::model::NetworkParameters;
use crate::storage::{Database, StorageError, readable};

/// A network as it is kept across restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// Name of its bridge.
    pub(super) bridge: String,
    /// CM no longer wants it, but instances were in it.
    #[serde(default)]
    pub(super) removed: bool,
    /// Release 7.2.3 made it: a bridge of that name without an alias is its own.
    #[serde(default)]
    pub(super) inherited: bool,
    /// As CM sent them.
    pub(super) parameters: NetworkParameters,
}

impl Stored {
    /// Whether a link of the bridge's name is this network's: by its alias, or as
    /// release 7.2.3 left it.
    pub(super) fn owns(&self, link: &Link) -> bool {
        link.alias == names::network_alias(&self.parameters.network_id)
            || self.inherited && link.bridge && link.alias.is_empty()
    }
}

/// All networks. A row that cannot be read is logged and left out: CM sends the
/// network again.
pub(super) async fn load(database: &Database) -> Result<Vec<Stored>, StorageError> {
    database
        .call(|connection| {
            let mut statement =
                connection.prepare("SELECT network_id, parameters FROM networks")?;
            let rows = statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .filter_map(|row| readable("a network", row))
                .collect::<Result<Vec<(String, String)>, _>>()?;

            Ok(rows.into_iter().filter_map(read).collect())
        })
        .await
}

/// Replaces all networks.
pub(super) async fn save(database: &Database, networks: Vec<Stored>) -> Result<(), StorageError> {
    database
        .call(move |connection| replace(connection, &networks))
        .await
}

fn read((network, text): (String, String)) -> Option<Stored> {
    match serde_json::from_str(&text) {
        Ok(stored) => Some(stored),
        Err(error) => {
            error!(%network, %error, "stored network cannot be read");
            None
        }
    }
}

fn replace(connection: &mut Connection, networks: &[Stored]) -> Result<(), StorageError> {
    let transaction = connection.transaction()?;
    transaction.execute("DELETE FROM networks", [])?;
    for network in networks {
        insert(&transaction, network)?;
    }
    transaction.commit()?;

    Ok(())
}

/// Writes the row of a network that has none.
pub(super) fn insert(connection: &Connection, network: &Stored) -> Result<(), StorageError> {
    let text = serde_json::to_string(network).map_err(|source| StorageError::Value {
        what: "networks.parameters",
        source,
    })?;
    connection.execute(
        "INSERT INTO networks (network_id, parameters) VALUES (?1, ?2)",
        (network.parameters.network_id.as_str(), text),
    )?;

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(id: &str) -> Stored {
        Stored {
            bridge: format!("br-{id}"),
            removed: id == "gone",
            inherited: id == "old",
            parameters: NetworkParameters {
                network_id: id.into(),
                subnet: "10.0.0.0/24".into(),
                ip: "10.0.0.1".into(),
                vlan_id: 4096,
                dns_servers: vec!["10.0.0.53".into()],
                ..NetworkParameters::default()
            },
        }
    }

    #[tokio::test]
    async fn networks_come_back_as_they_were_saved() {
        let database = Database::in_memory().unwrap();
        save(&database, vec![network("old")]).await.unwrap();
        let networks = vec![network("gone"), network("here")];

        save(&database, networks.clone()).await.unwrap();

        assert_eq!(load(&database).await.unwrap(), networks);
    }

    #[tokio::test]
    async fn row_that_cannot_be_read_hides_no_other() {
        let database = Database::in_memory().unwrap();
        save(&database, vec![network("here")]).await.unwrap();
        database
            .call(|connection| {
                connection.execute("INSERT INTO networks VALUES ('bad', '{')", [])?;
                let no_text = "INSERT INTO networks VALUES ('worse', CAST(x'ff' AS TEXT))";
                connection.execute(no_text, [])?;
                Ok(())
            })
            .await
            .unwrap();

        let loaded = load(&database).await.unwrap();

        assert_eq!(loaded, [network("here")]);
    }
}
