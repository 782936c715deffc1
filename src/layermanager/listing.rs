//! What is installed, as an operator is shown it.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, Row};

use crate::model::{ContentItem, ContentOverview, ServiceId, ServiceKey};
use crate::storage::{Database, StorageError, readable};

/// All services, then all layers. A row that cannot be read is left out.
pub(super) async fn all(database: &Database) -> Result<Vec<ContentOverview>, StorageError> {
    database
        .call(|connection| {
            let mut listed = select(
                connection,
                "SELECT aos_version, vendor_version, size, cached_since, id, '' FROM services \
                 ORDER BY id, aos_version",
                |name, version| {
                    let id = ServiceId::new(name);
                    ContentItem::Service(ServiceKey { id, version })
                },
            )?;
            listed.extend(select(
                connection,
                "SELECT aos_version, vendor_version, size, cached_since, digest, layer_id \
                 FROM layers ORDER BY layer_id, aos_version",
                |digest, _| ContentItem::Layer(digest),
            )?);
            Ok(listed)
        })
        .await
}

fn select(
    connection: &Connection,
    sql: &str,
    item: fn(String, u64) -> ContentItem,
) -> rusqlite::Result<Vec<ContentOverview>> {
    connection
        .prepare(sql)?
        .query_map([], |row| listed(row, item))?
        .filter_map(|row| readable("a service or layer", row))
        .collect()
}

fn listed(
    row: &Row<'_>,
    item: fn(String, u64) -> ContentItem,
) -> rusqlite::Result<ContentOverview> {
    let version = row.get::<_, i64>(0)?.cast_unsigned();
    let cached_since: Option<i64> = row.get(3)?;

    Ok(ContentOverview {
        item: item(row.get(4)?, version),
        name: row.get(5)?,
        version,
        vendor_version: row.get(1)?,
        size: u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default(),
        cached_since: cached_since.map(moment),
    })
}

/// Seconds since 1970; what cannot be a moment is its begin.
fn moment(seconds: i64) -> SystemTime {
    u64::try_from(seconds)
        .ok()
        .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn services_and_layers_are_listed_with_what_is_only_cached() {
        let database = Database::in_memory().unwrap();
        database
            .call(|connection| {
                connection.execute_batch(
                    "INSERT INTO services VALUES
                       ('b', 2, '2.0', '', '', 0, 'p', 'd', NULL, 20, NULL),
                       ('a', 1, '1.0', '', '', 0, 'q', 'd', NULL, 10, 7);
                     INSERT INTO layers VALUES ('sha256:x', 'base', 3, '3.0', '', 'r', 30, -1);",
                )?;
                Ok(())
            })
            .await
            .unwrap();

        let listed = all(&database).await.unwrap();

        let service = |id: &str, version| {
            let id = ServiceId::from(id);
            ContentItem::Service(ServiceKey { id, version })
        };
        let items: Vec<_> = listed.iter().map(|each| each.item.clone()).collect();
        let layer = ContentItem::Layer("sha256:x".to_owned());
        assert_eq!(items, [service("a", 1), service("b", 2), layer]);
        let cached: Vec<_> = listed.iter().map(|each| each.cached_since).collect();
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(cached, [at(7), None, at(0)]);
        assert_eq!(
            (listed[2].name.as_str(), listed[2].size, listed[2].version),
            ("base", 30, 3)
        );
    }
}
