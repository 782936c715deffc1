//! The old `config` table, one row with a column for each value.

use rusqlite::params;
use serde_json::Value;

use super::super::worker::StorageError;
use super::old::{Nonsense, OldRow};
use super::{OldRelease, TakeOver};

/// How an old value becomes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// A text becomes a JSON string.
    Text,
    /// A text that is JSON stays as it is.
    Json,
    /// A whole number.
    Integer,
    /// A moment becomes its seconds since 1970.
    Time,
}

impl TakeOver {
    /// Takes over values of the old `config` table: from which column, under
    /// which key. They are stored as JSON; empty ones are not.
    #[must_use]
    pub fn values(values: &'static [(&'static str, &'static str, ValueKind)]) -> Self {
        Self::new("configuration", move |old| take_over(old, values))
    }
}

fn take_over(
    old: &OldRelease<'_>,
    values: &[(&'static str, &'static str, ValueKind)],
) -> Result<(), StorageError> {
    for (column, key, kind) in values {
        let found = old.rows("config", |row| json(row, column, *kind))?;
        let Some(value) = found.into_iter().flatten().next() else {
            continue;
        };
        old.transaction().execute(
            "INSERT OR REPLACE INTO config (key, value) VALUES (?1, ?2)",
            params![key, value.to_string()],
        )?;
    }
    Ok(())
}

fn json(row: &OldRow, column: &'static str, kind: ValueKind) -> Result<Option<Value>, Nonsense> {
    Ok(match kind {
        ValueKind::Text => non_empty(row.text(column)?).map(Value::from),
        ValueKind::Json => non_empty(row.text(column)?)
            .map(|text| {
                serde_json::from_str(&text).map_err(|_| Nonsense::new(column, "is no JSON"))
            })
            .transpose()?
            .filter(|value| !Value::is_null(value)),
        ValueKind::Integer => row.integer(column)?.map(Value::from),
        ValueKind::Time => row.time(column)?.map(Value::from),
    })
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
