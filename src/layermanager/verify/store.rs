//! What of tables `services` and `layers` the check wants to know besides.

use std::collections::HashSet;

use crate::layermanager::shared::Item;
use crate::model::{ServiceId, ServiceKey};
use crate::storage::{Database, StorageError};

/// Items that are in use, not only cached.
pub(super) async fn in_use(database: &Database) -> Result<HashSet<Item>, StorageError> {
    database
        .call(|connection| {
            let mut items = HashSet::new();
            let mut services = connection
                .prepare("SELECT id, aos_version FROM services WHERE cached_since IS NULL")?;
            let mut rows = services.query([])?;
            while let Some(row) = rows.next()? {
                // What cannot be read is no item anywhere else either.
                if let (Ok(id), Ok(version)) = (row.get::<_, String>(0), row.get::<_, i64>(1)) {
                    let (id, version) = (ServiceId::new(id), version.cast_unsigned());
                    items.insert(Item::Service(ServiceKey { id, version }));
                }
            }
            let mut layers =
                connection.prepare("SELECT digest FROM layers WHERE cached_since IS NULL")?;
            let mut rows = layers.query([])?;
            while let Some(row) = rows.next()? {
                if let Ok(digest) = row.get::<_, String>(0) {
                    items.insert(Item::Layer(digest));
                }
            }
            Ok(items)
        })
        .await
}
