//! Whether an instance is well. Pure.
//!
//! A service may ask for probes: `read` makes them of its configuration, or says
//! what is wrong with it. [`Probing`] is what their outcomes say of one instance;
//! to ask the machine is the host's part.
//!
//! Invariant: an instance is ready when each probe has succeeded often enough in a
//! row since its service was last started, and fails when one has failed its
//! threshold in a row. No outcome from before the last start counts.

mod probing;
mod reading;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub(crate) use self::probing::{Found, Probing};
pub(crate) use self::reading::{ProbeError, read};

/// One question that is asked again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub check: Check,
    /// Between the end of one try and the next.
    pub interval: Duration,
    /// A try takes no longer.
    pub timeout: Duration,
    /// Tries in a row that fail until the instance has failed.
    pub threshold: u32,
    /// Tries in a row that succeed until the instance is ready.
    pub success_threshold: u32,
    /// Before the first try after a start.
    pub initial_delay: Duration,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Whether this command in the container ends with 0.
    Exec(Vec<String>),
    /// Whether this port takes a connection.
    Tcp(u16),
    /// Whether this page is answered with 200 to 399.
    Http {
        /// The port.
        port: u16,
        /// Path and query.
        path: String,
    },
}

impl Probe {
    /// The longest that the instance may take to be ready, or to fail.
    pub(crate) fn longest(&self) -> Duration {
        let tries = self.threshold.max(self.success_threshold);
        let each = self.interval.saturating_add(self.timeout);
        self.initial_delay
            .saturating_add(each.saturating_mul(tries))
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec(command) => {
                let program = command.first().map_or("", String::as_str);
                write!(f, "exec probe {program}")
            }
            Self::Tcp(port) => write!(f, "tcp probe of port {port}"),
            Self::Http { port, path } => write!(f, "http probe of port {port}{path}"),
        }
    }
}
