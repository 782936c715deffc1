//! What may be wrong with a configuration file.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {path}; name the file with -c")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not JSON. The cause has line and column.
    #[error("configuration {path} is not JSON; correct it")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The file is JSON, with values that cannot be used.
    #[error("configuration {path} cannot be used: {problems}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All of them.
        problems: Problems,
    },
}

/// All problems of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }

        Ok(())
    }
}

/// One key that makes the file unusable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, such as `monitoring.partitions[0].path`.
    pub key: String,
    /// The value as it is in the file; `None`: there is none.
    pub value: Option<String>,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} is {value}, must be {}", self.key, self.allowed),
            None => write!(f, "{} is missing, must be {}", self.key, self.allowed),
        }
    }
}

/// Something in the file that is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A key that means nothing. Often a spelling mistake.
    UnknownKey {
        /// Path of the key.
        key: String,
    },
    /// A key that is there more than once; the last one counts.
    RepeatedKey {
        /// Path of the key.
        key: String,
    },
    /// A value that is replaced.
    Replaced {
        /// Path of the key.
        key: String,
        /// The value as it is in the file.
        value: String,
        /// What is allowed.
        allowed: String,
        /// What is used.
        instead: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key } => write!(f, "configuration key {key} is unknown, ignored"),
            Self::RepeatedKey { key } => {
                write!(
                    f,
                    "configuration key {key} is there more than once, the last one counts"
                )
            }
            Self::Replaced {
                key,
                value,
                allowed,
                instead,
            } => write!(
                f,
                "configuration key {key} is {value}, must be {allowed}; {instead} is used"
            ),
        }
    }
}
