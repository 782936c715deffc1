//! The configuration file: parsed, checked, typed.
//!
//! Keys are those of release 7.2.3 and match whatever their case, as Go
//! matches them; deployed files rely on it. A key that nobody knows is a
//! [`Warning`]; what cannot be used is a [`Problem`]. All problems of a file
//! come in one [`ConfigError`], so that one look is enough to repair it.
//!
//! Invariant: a [`Config`] is complete. Paths are absolute, defaults are filled
//! in, and no component checks a value again.

mod check;
mod directories;
mod durations;
mod error;
mod file;
mod section;
mod settings;
mod user_namespaces;

#[cfg(test)]
mod duration_tests;
#[cfg(test)]
mod problem_tests;
#[cfg(test)]
mod tests;

pub use durations::{DurationError, duration_from_json, parse_duration};
pub use error::{ConfigError, Problem, Problems, Warning};
pub use settings::{
    AlertRules, Config, DiskRule, HostEntry, JournalAlerts, Logging, Migration, Monitoring,
    PartitionConfig, RuleConfig, SeccompPolicy, UpdatePolicy,
};
pub use user_namespaces::UserNamespaces;
