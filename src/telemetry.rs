//! Where the log goes, and what is in it.
//!
//! To the journal each field of an entry goes as a field of its own, in upper
//! case: `instance_id` as `INSTANCE_ID=`, `service_id` and `subject_id`
//! likewise, so that `journalctl INSTANCE_ID=…` has the story of one instance.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, warn};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::arguments::Level;

const OURS: [&str; 2] = ["aos_servicemanager", "aos_package"];

/// The log is set up already.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the log")]
pub struct TelemetryError(#[from] TryInitError);

/// Sets up the log of the process, once. Without a journal it goes to stdout,
/// which systemd takes too: no service shall be down for want of a log.
///
/// # Errors
///
/// When the log is set up already.
pub fn init(level: Level, journal: bool) -> Result<(), TelemetryError> {
    let journal = journal.then(tracing_journald::layer);
    let (output, missed) = match journal {
        Some(Ok(journal)) => (to_journal(journal).boxed(), None),
        Some(Err(error)) => (to_stdout().boxed(), Some(error)),
        None => (to_stdout().boxed(), None),
    };

    tracing_subscriber::registry()
        .with(output.with_filter(targets(level)))
        .try_init()?;
    if let Some(error) = missed {
        warn!(%error, "cannot reach the systemd journal, logging to stdout");
    }

    Ok(())
}

fn to_journal<S>(journal: tracing_journald::Layer) -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    journal
        .with_field_prefix(None)
        .with_priority_mappings(priorities())
}

fn to_stdout<S>() -> impl Layer<S>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    tracing_subscriber::fmt::layer()
        .compact()
        .with_ansi(io::stdout().is_terminal())
}

/// As release 7.2.3 has them: alerts are made of entries by their priority.
fn priorities() -> PriorityMappings {
    PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    }
}

/// Libraries are heard from warnings on: what they do each second is of no use
/// to who looks for a fault of ours.
fn targets(level: Level) -> Targets {
    let ours = match level {
        Level::Trace => LevelFilter::TRACE,
        Level::Debug => LevelFilter::DEBUG,
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
        Level::Error => LevelFilter::ERROR,
    };
    let libraries = match level {
        Level::Trace => LevelFilter::TRACE,
        _ => ours.min(LevelFilter::WARN),
    };

    Targets::new()
        .with_default(libraries)
        .with_targets(OURS.map(|name| (name, ours)))
}

#[cfg(test)]
mod tests {
    use tracing::Level as Importance;

    use super::*;

    #[test]
    fn libraries_are_quieter_than_we_are() {
        let targets = targets(Level::Debug);

        assert!(targets.would_enable("aos_servicemanager::launcher", &Importance::DEBUG));
        assert!(targets.would_enable("aos_package", &Importance::DEBUG));
        assert!(!targets.would_enable("aos_servicemanager", &Importance::TRACE));
        assert!(!targets.would_enable("h2::codec", &Importance::INFO));
        assert!(targets.would_enable("h2::codec", &Importance::WARN));
    }

    #[test]
    fn libraries_follow_when_only_errors_are_asked_for() {
        let targets = targets(Level::Error);

        assert!(!targets.would_enable("zbus", &Importance::WARN));
        assert!(!targets.would_enable("aos_servicemanager", &Importance::WARN));
        assert!(targets.would_enable("zbus", &Importance::ERROR));
    }

    #[test]
    fn trace_shows_everything() {
        assert!(targets(Level::Trace).would_enable("hyper", &Importance::TRACE));
    }

    #[test]
    fn second_set_up_is_refused() {
        init(Level::Error, false).unwrap();

        let again = init(Level::Error, false);

        assert!(again.is_err());
    }
}
