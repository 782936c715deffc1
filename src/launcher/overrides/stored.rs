//! The list as it is stored: in the form of release 7.2.3, which is taken over.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Overrides;
use crate::model::{EnvVar, EnvVarsOverride, InstanceFilter, ServiceId, SubjectId};

/// A stored list cannot be read. What it holds is not shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::launcher) enum StoredError {
    /// It has another form.
    #[error("line {line}, column {column} is not as expected")]
    Form { line: usize, column: usize },
    /// A moment is none.
    #[error("the end of variable {id:?} is no time")]
    Time { id: String },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    #[serde(default, alias = "serviceID", skip_serializing_if = "Option::is_none")]
    service_id: Option<String>,
    #[serde(default, alias = "subjectID", skip_serializing_if = "Option::is_none")]
    subject_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<i64>,
    #[serde(default)]
    env_vars: Option<Vec<Variable>>,
}

#[derive(Serialize, Deserialize)]
struct Variable {
    #[serde(alias = "ID")]
    id: String,
    variable: String,
    #[serde(default)]
    ttl: Option<String>,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Variable").finish_non_exhaustive()
    }
}

impl Overrides {
    /// The text that is stored.
    pub(in crate::launcher) fn to_text(&self) -> String {
        let items: Vec<_> = self.list.iter().map(item).collect();
        serde_json::to_string(&items).expect("texts and numbers are JSON")
    }

    /// The list that was stored, by this release or by 7.2.3.
    pub(in crate::launcher) fn from_text(text: &str) -> Result<Self, StoredError> {
        let items: Vec<Item> = serde_json::from_str(text).map_err(|error| StoredError::Form {
            line: error.line(),
            column: error.column(),
        })?;
        let list = items
            .into_iter()
            .map(overridden)
            .collect::<Result<_, _>>()?;
        Ok(Self { list })
    }
}

fn item(each: &EnvVarsOverride) -> Item {
    let InstanceFilter {
        service_id,
        subject_id,
        index,
    } = &each.filter;
    let variable = |var: &EnvVar| Variable {
        id: var.id.clone(),
        variable: var.variable.clone(),
        ttl: var.expires.and_then(written),
    };

    Item {
        service_id: service_id.as_ref().map(|id| id.as_str().to_owned()),
        subject_id: subject_id.as_ref().map(|id| id.as_str().to_owned()),
        instance: *index,
        env_vars: Some(each.vars.iter().map(variable).collect()),
    }
}

fn overridden(item: Item) -> Result<EnvVarsOverride, StoredError> {
    // The older release kept an empty id for all.
    let named = |id: Option<String>| id.filter(|id| !id.is_empty());
    let variable = |var: Variable| {
        let expires = match var.ttl {
            Some(text) => {
                Some(read(&text).ok_or_else(|| StoredError::Time { id: var.id.clone() })?)
            }
            None => None,
        };
        Ok(EnvVar {
            id: var.id,
            variable: var.variable,
            expires,
        })
    };
    let vars = item.env_vars.unwrap_or_default().into_iter().map(variable);

    Ok(EnvVarsOverride {
        filter: InstanceFilter {
            service_id: named(item.service_id).map(ServiceId::new),
            subject_id: named(item.subject_id).map(SubjectId::new),
            index: item.instance,
        },
        vars: vars.collect::<Result<_, _>>()?,
    })
}

/// Nothing for a moment past the year 9999: that is as good as never.
fn written(moment: SystemTime) -> Option<String> {
    let since = moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let nanos = i128::try_from(since.as_nanos()).ok()?;
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
    moment.format(&Rfc3339).ok()
}

fn read(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(Into::into)
}
