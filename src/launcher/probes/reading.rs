//! From the service's configuration to its probes.

use std::time::Duration;

use aos_package as package;
use serde_json::Value;

use super::{Check, Probe};

/// A service with more has misunderstood them.
const MOST: usize = 8;

/// More often would cost the device more than it tells.
const SHORTEST: Duration = Duration::from_millis(100);

/// What is waited for longer is waited for in vain.
const LONGEST: Duration = Duration::from_secs(3600);

const MOST_TRIES: u64 = 1000;

/// Bytes of a path, or of a command with its arguments.
const LONGEST_TEXT: usize = 4096;

/// The probes of a service cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProbeError {
    /// Too many.
    #[error("the service has {0} probes, and {MOST} are allowed")]
    TooMany(usize),
    /// One of them. The first has number 1.
    #[error("probe {number}: {fault}")]
    Probe { number: usize, fault: Fault },
}

/// What is wrong with a probe.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it has to have exactly one of exec, tcp and http")]
    Kind,
    #[error("{0} is no key of a probe")]
    UnknownKey(String),
    #[error("the command is empty")]
    NoCommand,
    #[error("the command is longer than {LONGEST_TEXT} bytes, or has a zero byte")]
    Command,
    #[error("port {0} is not 1 to 65535")]
    Port(u64),
    #[error("path {0:?} does not begin with /, is too long, or has other than visible ASCII")]
    Path(String),
    #[error("scheme {0:?} is not http")]
    Scheme(String),
    #[error("{key}: {reason}")]
    Duration { key: &'static str, reason: String },
    #[error("{key} is not 100 ms to 1 h")]
    OutOfRange { key: &'static str },
    #[error("initialDelay is above 1 h")]
    Delay,
    #[error("{key} {value} is not 1 to {MOST_TRIES}")]
    Tries { key: &'static str, value: u64 },
}

/// Reads the probes of a service. `duration` understands durations as the
/// configuration does.
pub(crate) fn read<E: ToString>(
    probes: &[package::Probe],
    duration: impl Fn(&Value) -> Result<Duration, E>,
) -> Result<Vec<Probe>, ProbeError> {
    if probes.len() > MOST {
        return Err(ProbeError::TooMany(probes.len()));
    }

    let numbered = probes.iter().zip(1..);
    numbered
        .map(|(probe, number)| {
            read_one(probe, &duration).map_err(|fault| ProbeError::Probe { number, fault })
        })
        .collect()
}

fn read_one<E: ToString>(
    probe: &package::Probe,
    read: impl Fn(&Value) -> Result<Duration, E>,
) -> Result<Probe, Fault> {
    let parts = [
        Some(&probe.unknown),
        probe.exec.as_ref().map(|exec| &exec.unknown),
        probe.tcp.as_ref().map(|tcp| &tcp.unknown),
        probe.http.as_ref().map(|http| &http.unknown),
    ];
    if let Some(key) = parts
        .into_iter()
        .flatten()
        .flat_map(|keys| keys.keys())
        .next()
    {
        return Err(Fault::UnknownKey(key.clone()));
    }
    let duration = |key, value: Option<&Value>, default| match value {
        None | Some(Value::Null) => Ok(default),
        Some(value) => read(value).map_err(|error| Fault::Duration {
            key,
            reason: error.to_string(),
        }),
    };
    let period = |key, value, default| match duration(key, value, default)? {
        period if (SHORTEST..=LONGEST).contains(&period) => Ok(period),
        _ => Err(Fault::OutOfRange { key }),
    };

    Ok(Probe {
        check: check(probe)?,
        interval: period("interval", probe.interval.as_ref(), Duration::from_secs(10))?,
        timeout: period("timeout", probe.timeout.as_ref(), Duration::from_secs(1))?,
        threshold: tries("threshold", probe.threshold, 3)?,
        success_threshold: tries("successThreshold", probe.success_threshold, 1)?,
        initial_delay: duration("initialDelay", probe.initial_delay.as_ref(), Duration::ZERO)
            .and_then(|delay| match delay {
                delay if delay <= LONGEST => Ok(delay),
                _ => Err(Fault::Delay),
            })?,
    })
}

fn check(probe: &package::Probe) -> Result<Check, Fault> {
    match (&probe.exec, &probe.tcp, &probe.http) {
        (Some(exec), None, None) => {
            let length: usize = exec.command.iter().map(String::len).sum();
            if exec.command.first().is_none_or(String::is_empty) {
                return Err(Fault::NoCommand);
            }
            if length > LONGEST_TEXT || exec.command.iter().any(|word| word.contains('\0')) {
                return Err(Fault::Command);
            }
            Ok(Check::Exec(exec.command.clone()))
        }
        (None, Some(tcp), None) => Ok(Check::Tcp(port(tcp.port)?)),
        (None, None, Some(http)) => {
            let path = http.path.as_deref().unwrap_or("/");
            let visible = path.bytes().all(|byte| byte.is_ascii_graphic());
            if !path.starts_with('/') || !visible || path.len() > LONGEST_TEXT {
                return Err(Fault::Path(path.to_owned()));
            }
            if let Some(scheme) = http.scheme.as_deref()
                && !scheme.eq_ignore_ascii_case("http")
            {
                return Err(Fault::Scheme(scheme.to_owned()));
            }
            Ok(Check::Http {
                port: port(http.port)?,
                path: path.to_owned(),
            })
        }
        _ => Err(Fault::Kind),
    }
}

fn port(port: u64) -> Result<u16, Fault> {
    u16::try_from(port)
        .ok()
        .filter(|&port| port > 0)
        .ok_or(Fault::Port(port))
}

fn tries(key: &'static str, value: Option<u64>, default: u32) -> Result<u32, Fault> {
    let Some(value) = value else {
        return Ok(default);
    };
    u32::try_from(value)
        .ok()
        .filter(|_| (1..=MOST_TRIES).contains(&value))
        .ok_or(Fault::Tries { key, value })
}
