//! The launcher's tables: what is desired, and what was started.
//!
//! A row of `instances` lives as long as its ident is desired or the instance
//! holds anything. `position` and `info` say what is desired; `held` says what
//! the running instance was started with and changed to since, so that it can be
//! recognised.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::event::{Refused, Trial};
use super::host::Blueprint;
use crate::model::{
    DesiredState, InstanceId, InstanceIdent, InstanceInfo, LayerInfo, ServiceId, ServiceInfo,
    ServiceKey, SubjectId,
};
use crate::storage::{Database, StorageError};

/// Key of the desired services and layers in `config`.
const DESIRED_CONTENT: &str = "desiredContent";

/// What an instance was started with, and changed to since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) fingerprint: String,
    pub(super) info: InstanceInfo,
    pub(super) service: ServiceKey,
    /// What is still open about it; absent for almost all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trial: Option<HeldTrial>,
}

/// A [`Trial`], as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum HeldTrial {
    Runs { before: Option<Box<Held>> },
    Refused(Refused),
}

impl Held {
    pub(super) fn of(blueprint: &Blueprint, trial: Option<&Trial>) -> Self {
        Self {
            fingerprint: blueprint.fingerprint.clone(),
            info: blueprint.info.clone(),
            service: blueprint.service.key.clone(),
            trial: trial.map(|trial| match trial {
                Trial::Runs { before } => HeldTrial::Runs {
                    before: before.as_deref().map(|own| Box::new(Self::of(own, None))),
                },
                Trial::Refused(refused) => HeldTrial::Refused(refused.clone()),
            }),
        }
    }

    /// What comes back if a newer version than this fails: the last that is not on
    /// trial itself.
    pub(super) fn proven(&self) -> Option<&Self> {
        match &self.trial {
            Some(HeldTrial::Runs { before }) => before.as_deref(),
            Some(HeldTrial::Refused(_)) | None => Some(self),
        }
    }
}

/// One row of `instances`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredInstance {
    pub(super) id: InstanceId,
    pub(super) ident: InstanceIdent,
    pub(super) held: Option<Held>,
}

/// All that was stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) list: DesiredState,
    pub(super) instances: Vec<StoredInstance>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    services: Vec<ServiceInfo>,
    layers: Vec<LayerInfo>,
}

/// The launcher's part of the database.
#[derive(Clone, Debug)]
pub(super) struct Store {
    database: Database,
}

impl Store {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Makes `list` the desired one. `ids` has one for each of its instances.
    pub(super) async fn save(
        &self,
        list: DesiredState,
        ids: BTreeMap<InstanceIdent, InstanceId>,
    ) -> Result<(), StorageError> {
        self.database
            .call(move |connection| save(connection, list, &ids))
            .await
    }

    /// Reads everything back.
    pub(super) async fn load(&self) -> Result<Stored, StorageError> {
        self.database.call(|connection| load(connection)).await
    }

    /// Remembers what an instance is started with, or was changed to, also if its
    /// list could not be stored yet.
    pub(super) async fn runs_with(&self, id: InstanceId, held: Held) -> Result<(), StorageError> {
        self.database
            .call(move |connection| {
                let ident = &held.info.ident;
                let transaction = connection.transaction()?;
                outdate(&transaction, id, ident)?;
                transaction
                    .prepare_cached(
                        "INSERT INTO instances
                             (instance_id, service_id, subject_id, instance, held)
                         VALUES (?1, ?2, ?3, ?4, ?5)
                         ON CONFLICT (instance_id) DO UPDATE SET held = excluded.held",
                    )?
                    .execute(params![
                        id.to_string(),
                        ident.service_id.as_str(),
                        ident.subject_id.as_str(),
                        ident.index,
                        json("instances.held", &held)?,
                    ])?;
                transaction.commit()?;
                Ok(())
            })
            .await
    }

    /// Forgets an instance, unless it is desired again.
    pub(super) async fn forget(&self, id: InstanceId) -> Result<(), StorageError> {
        self.database
            .call(move |connection| {
                connection
                    .prepare_cached(
                        "DELETE FROM instances WHERE instance_id = ?1 AND position IS NULL",
                    )?
                    .execute([id.to_string()])?;
                Ok(())
            })
            .await
    }
}

fn save(
    connection: &mut Connection,
    list: DesiredState,
    ids: &BTreeMap<InstanceIdent, InstanceId>,
) -> Result<(), StorageError> {
    let transaction = connection.transaction()?;
    write(&transaction, list, ids)?;
    transaction.commit()?;

    Ok(())
}

/// Makes `list` the desired one, in a transaction of the caller's.
pub(super) fn write(
    connection: &Connection,
    list: DesiredState,
    ids: &BTreeMap<InstanceIdent, InstanceId>,
) -> Result<(), StorageError> {
    let content = Content {
        services: list.services,
        layers: list.layers,
    };

    connection.execute(
        "INSERT INTO config (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![DESIRED_CONTENT, json("config.desiredContent", &content)?],
    )?;
    connection.execute("UPDATE instances SET position = NULL, info = NULL", [])?;
    let mut insert = connection.prepare(
        "INSERT INTO instances
             (instance_id, service_id, subject_id, instance, position, info)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (instance_id) DO UPDATE SET
             position = excluded.position, info = excluded.info",
    )?;
    let known = list
        .instances
        .iter()
        .filter_map(|info| Some((ids.get(&info.ident)?, info)));
    for (position, (id, info)) in known.enumerate() {
        outdate(connection, *id, &info.ident)?;
        insert.execute(params![
            id.to_string(),
            info.ident.service_id.as_str(),
            info.ident.subject_id.as_str(),
            info.ident.index,
            i64::try_from(position).unwrap_or(i64::MAX),
            json("instances.info", info)?,
        ])?;
    }

    Ok(())
}

/// The same ident under an older id is on its way out.
fn outdate(connection: &Connection, id: InstanceId, ident: &InstanceIdent) -> rusqlite::Result<()> {
    let (service, subject) = (ident.service_id.as_str(), ident.subject_id.as_str());
    connection
        .prepare_cached(
            "DELETE FROM instances WHERE service_id = ?2 AND subject_id = ?3 AND instance = ?4
                 AND instance_id <> ?1",
        )?
        .execute(params![id.to_string(), service, subject, ident.index])?;
    Ok(())
}

fn load(connection: &Connection) -> Result<Stored, StorageError> {
    let content: Option<String> = connection
        .query_row(
            "SELECT value FROM config WHERE key = ?1",
            [DESIRED_CONTENT],
            |row| row.get(0),
        )
        .optional()?;
    let content: Content = content
        .and_then(|text| readable("config.desiredContent", &text))
        .unwrap_or_default();

    let mut stored = Stored {
        list: DesiredState {
            services: content.services,
            layers: content.layers,
            ..Default::default()
        },
        instances: Vec::new(),
    };
    let mut select = connection.prepare(
        "SELECT instance_id, service_id, subject_id, instance, info, held FROM instances
         ORDER BY position",
    )?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let Ok(id) = id.parse() else {
            tracing::error!(id, "a stored instance has no valid id and is left out");
            continue;
        };
        let ident = InstanceIdent {
            service_id: ServiceId::new(row.get::<_, String>(1)?),
            subject_id: SubjectId::new(row.get::<_, String>(2)?),
            index: row.get(3)?,
        };
        let info: Option<String> = row.get(4)?;
        let held: Option<String> = row.get(5)?;
        if let Some(info) = info {
            stored
                .list
                .instances
                .extend(readable::<InstanceInfo>("instances.info", &info));
        }
        let held = held.and_then(|held| readable("instances.held", &held));
        stored.instances.push(StoredInstance { id, ident, held });
    }

    Ok(stored)
}

fn json<T: Serialize>(what: &'static str, value: &T) -> Result<String, StorageError> {
    serde_json::to_string(value).map_err(|source| StorageError::Value { what, source })
}

/// A value that cannot be read is as good as none: the instance is started anew,
/// or CM names it again. To start over and over would help nobody.
fn readable<T: for<'de> Deserialize<'de>>(what: &'static str, text: &str) -> Option<T> {
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!(what, %error, "a stored value cannot be read and is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests;
