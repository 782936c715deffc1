//! Reading what an older release has written, whatever it is.

use std::collections::BTreeMap;
use std::fmt;

use aos_package::Short;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Row, Transaction};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::warn;

/// Before the names of the old tables while they are read.
const APART: &str = "old_";

/// Numbers of seconds above this are milliseconds, as the older release's
/// driver reads them.
const MILLISECONDS: i64 = 1_000_000_000_000;

/// The tables of the older release, in the transaction that takes them over.
#[derive(Debug)]
pub struct OldRelease<'a> {
    transaction: &'a Transaction<'a>,
}

/// A value of a row makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{column} {problem}")]
pub struct Nonsense {
    column: &'static str,
    problem: &'static str,
}

impl Nonsense {
    /// `problem` continues a sentence that begins with the column.
    #[must_use]
    pub fn new(column: &'static str, problem: &'static str) -> Self {
        Self { column, problem }
    }
}

impl<'a> OldRelease<'a> {
    /// Gives all tables other names, so that there is room for ours.
    pub(super) fn set_apart(transaction: &'a Transaction<'a>) -> rusqlite::Result<Self> {
        let old = Self { transaction };
        // The older release has neither; either could refer to what is renamed.
        for kind in ["trigger", "view"] {
            for name in old.names(kind)? {
                transaction.execute_batch(&format!("DROP {kind} {}", quoted(&name)))?;
            }
        }
        for name in old.names("table")? {
            transaction.execute_batch(&format!(
                "ALTER TABLE {} RENAME TO {}",
                quoted(&name),
                quoted(&format!("{APART}{name}"))
            ))?;
        }
        Ok(old)
    }

    /// Where ours are written.
    #[must_use]
    pub fn transaction(&self) -> &Transaction<'a> {
        self.transaction
    }

    /// Reads the rows of an old table. One that makes no sense is left out with
    /// a warning; a table that is not there has none.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub fn rows<T>(
        &self,
        table: &str,
        mut read: impl FnMut(&OldRow) -> Result<T, Nonsense>,
    ) -> rusqlite::Result<Vec<T>> {
        let name = format!("{APART}{table}");
        if !self.transaction.table_exists(None, name.as_str())? {
            warn!(table, "the older release's database has no such table");
            return Ok(Vec::new());
        }

        let mut select = self
            .transaction
            .prepare(&format!("SELECT * FROM {}", quoted(&name)))?;
        let mut rows = select.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let row = OldRow::of(row)?;
            match read(&row) {
                Ok(value) => found.push(value),
                Err(error) => warn!(table, %row, %error, "a row of the older release is left out"),
            }
        }
        Ok(found)
    }

    /// Drops all that was set apart.
    pub(super) fn drop_tables(&self) -> rusqlite::Result<()> {
        for name in self.names("table")? {
            if name.starts_with(APART) {
                let sql = format!("DROP TABLE {}", quoted(&name));
                self.transaction.execute_batch(&sql)?;
            }
        }
        Ok(())
    }

    fn names(&self, kind: &str) -> rusqlite::Result<Vec<String>> {
        self.transaction
            .prepare(
                "SELECT name FROM sqlite_schema WHERE type = ?1 AND name NOT LIKE 'sqlite\\_%' \
                 ESCAPE '\\'",
            )?
            .query_map([kind], |row| row.get(0))?
            .collect()
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A row of an old table. Columns are found whatever their case.
#[derive(Clone, Debug)]
pub struct OldRow {
    columns: BTreeMap<String, Value>,
    /// Its first columns, for humans.
    name: String,
}

impl OldRow {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let statement: &rusqlite::Statement<'_> = row.as_ref();
        let mut columns = BTreeMap::new();
        let mut name = Vec::new();
        for (index, column) in statement.column_names().enumerate() {
            let value = match row.get_ref(index)? {
                // SQLite stores any bytes as text.
                ValueRef::Text(bytes) => String::from_utf8(bytes.to_vec())
                    .map_or_else(|error| Value::Blob(error.into_bytes()), Value::Text),
                other => Value::try_from(other)?,
            };
            if index < 2 {
                name.push(format!("{column} {}", shown(&value)));
            }
            columns.insert(column.to_ascii_lowercase(), value);
        }
        let name = name.join(", ");
        Ok(Self { columns, name })
    }

    fn value(&self, column: &'static str) -> Option<&Value> {
        match self.columns.get(&column.to_ascii_lowercase()) {
            None | Some(Value::Null) => None,
            value => value,
        }
    }

    /// A text; `None` where there is none.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn text(&self, column: &'static str) -> Result<Option<String>, Nonsense> {
        let Some(value) = self.value(column) else {
            return Ok(None);
        };
        let text = match value {
            Value::Text(text) => Some(text.clone()),
            Value::Integer(number) => Some(number.to_string()),
            Value::Blob(bytes) => String::from_utf8(bytes.clone()).ok(),
            Value::Real(_) | Value::Null => None,
        };
        text.filter(|text| !text.contains('\0'))
            .map(Some)
            .ok_or(Nonsense::new(column, "is no text"))
    }

    /// A text that has to be there, and not empty.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn name(&self, column: &'static str) -> Result<String, Nonsense> {
        self.text(column)?
            .filter(|text| !text.is_empty())
            .ok_or(Nonsense::new(column, "is missing"))
    }

    /// A whole number; `None` where there is none.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn integer(&self, column: &'static str) -> Result<Option<i64>, Nonsense> {
        let number = match self.value(column) {
            None => return Ok(None),
            Some(Value::Integer(number)) => Some(*number),
            Some(Value::Text(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        number
            .map(Some)
            .ok_or(Nonsense::new(column, "is no number"))
    }

    /// A number that has to be there, in the range of its type.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, Nonsense> {
        let number = self
            .integer(column)?
            .ok_or(Nonsense::new(column, "is missing"))?;
        T::try_from(number).map_err(|_| Nonsense::new(column, "is out of range"))
    }

    /// Whether a flag is set; one that is not there is not.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn flag(&self, column: &'static str) -> Result<bool, Nonsense> {
        Ok(self.integer(column)?.unwrap_or(0) != 0)
    }

    /// The bytes of a value; `None` where there is none.
    #[must_use]
    pub fn bytes(&self, column: &'static str) -> Option<&[u8]> {
        match self.value(column)? {
            Value::Blob(bytes) => Some(bytes),
            Value::Text(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// A moment, in seconds since 1970: a number, or a text as Go writes it.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn time(&self, column: &'static str) -> Result<Option<i64>, Nonsense> {
        let seconds = match self.value(column) {
            None => return Ok(None),
            Some(Value::Integer(number)) if number.unsigned_abs() > MILLISECONDS.unsigned_abs() => {
                Some(number / 1000)
            }
            Some(Value::Integer(number)) => Some(*number),
            Some(Value::Text(text)) => seconds_of(text),
            Some(_) => None,
        };
        seconds.map(Some).ok_or(Nonsense::new(column, "is no time"))
    }
}

impl fmt::Display for OldRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        Value::Text(text) => format!("{:?}", Short(text)),
        Value::Blob(bytes) => format!("({} bytes)", bytes.len()),
    }
}

/// `2024-05-06 07:08:09.123456789+00:00`, with or without fraction and zone,
/// and `2024-05-06 07:08:09 +0000 UTC`.
pub(super) fn seconds_of(text: &str) -> Option<i64> {
    let mut words = text.split([' ', 'T']).filter(|word| !word.is_empty());
    let (date, clock) = (words.next()?, words.next()?);
    let zone = match words.next() {
        Some(zone) if zone.len() == 5 && zone.is_ascii() => {
            let (hours, minutes) = zone.split_at(3);
            format!("{hours}:{minutes}")
        }
        Some(_) => return None,
        None if clock.ends_with('Z') || clock.contains(['+', '-']) => String::new(),
        None => "Z".to_owned(),
    };
    let moment = OffsetDateTime::parse(&format!("{date}T{clock}{zone}"), &Rfc3339).ok()?;
    Some(moment.unix_timestamp())
}
