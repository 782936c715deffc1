//! Conditions in the `config` table.

use tracing::error;

use crate::launcher::offline::LastOnline;
use crate::launcher::overrides::Overrides;
use crate::storage::{Clock, Database, StorageError};

/// Key of the overridden variables.
const ENV_VARS: &str = "launcher.envVars";

/// Key of the last time with the cloud.
const ONLINE: &str = "launcher.onlineTime";

/// What was stored.
#[derive(Debug)]
pub(super) struct StoredConditions {
    pub(super) overrides: Overrides,
    pub(super) online: Option<LastOnline>,
    /// The latest time that is known, in seconds since 1970.
    pub(super) latest: i64,
}

/// The part of the database.
#[derive(Debug)]
pub(super) struct ConditionStore {
    database: Database,
}

impl ConditionStore {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    /// A value that cannot be read is as good as none: to fail at each start would
    /// help nobody.
    pub(super) async fn load(&self) -> Result<StoredConditions, StorageError> {
        let overrides = self.database.value(ENV_VARS).await?;
        let overrides = overrides.and_then(|text| {
            Overrides::from_text(&text)
                .inspect_err(|error| {
                    error!(%error, "the stored environment variables cannot be read and are lost");
                })
                .ok()
        });
        let online = self.database.value(ONLINE).await?;
        let online = online.and_then(|text| {
            LastOnline::from_text(&text)
                .inspect_err(|error| error!(text, %error, "the stored online time cannot be read"))
                .ok()
        });

        Ok(StoredConditions {
            overrides: overrides.unwrap_or_default(),
            online,
            latest: Clock::latest(&self.database).await?,
        })
    }

    pub(super) async fn save_overrides(&self, list: &Overrides) -> Result<(), StorageError> {
        self.database.set_value(ENV_VARS, list.to_text()).await
    }

    pub(super) async fn save_online(&self, last: &LastOnline) -> Result<(), StorageError> {
        self.database.set_value(ONLINE, last.to_text()).await
    }
}
