//! How systemd restarts an instance.

use std::time::Duration;

use aos_package::RunParameters;
use serde_json::Value;

/// systemd counts in microseconds.
const LEAST: Duration = Duration::from_micros(1);

/// The run parameters of a service cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyError {
    /// Not a duration.
    #[error("invalid run parameters: {name}: {reason}")]
    Duration { name: &'static str, reason: String },
    /// Too short for systemd.
    #[error("invalid run parameters: {name} is below 1 us")]
    TooShort { name: &'static str },
    /// Not a number of starts.
    #[error("invalid run parameters: startBurst is {0}, not 1 to 4294967295")]
    Burst(u64),
}

/// How systemd restarts an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartPolicy {
    /// In this time systemd starts it
    pub interval: Duration,
    /// so many times, then gives up.
    pub burst: u32,
    /// The pause before a restart.
    pub restart: Duration,
}

impl Default for StartPolicy {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            burst: 3,
            restart: Duration::from_millis(100),
        }
    }
}

impl StartPolicy {
    /// Reads the run parameters of a service. `read` understands durations as
    /// the configuration does.
    pub(crate) fn read<E: ToString>(
        parameters: &RunParameters,
        read: impl Fn(&Value) -> Result<Duration, E>,
    ) -> Result<Self, PolicyError> {
        let duration = |name, value: Option<&Value>, default| match value {
            None | Some(Value::Null) => Ok(default),
            Some(value) => match read(value) {
                Ok(duration) if duration < LEAST => Err(PolicyError::TooShort { name }),
                Ok(duration) => Ok(duration),
                Err(error) => Err(PolicyError::Duration {
                    name,
                    reason: error.to_string(),
                }),
            },
        };
        let default = Self::default();
        let burst = parameters.start_burst.unwrap_or(u64::from(default.burst));

        Ok(Self {
            interval: duration(
                "startInterval",
                parameters.start_interval.as_ref(),
                default.interval,
            )?,
            burst: u32::try_from(burst)
                .ok()
                .filter(|&burst| burst > 0)
                .ok_or(PolicyError::Burst(burst))?,
            restart: duration(
                "restartInterval",
                parameters.restart_interval.as_ref(),
                default.restart,
            )?,
        })
    }

    /// An instance that stayed active for so long has started.
    pub(crate) fn window(self) -> Duration {
        self.interval.saturating_add(self.interval / 5)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn millis(value: &Value) -> Result<Duration, String> {
        value
            .as_u64()
            .map(Duration::from_millis)
            .ok_or_else(|| format!("{value} is no duration"))
    }

    #[test]
    fn without_parameters_the_defaults_hold() {
        let policy = StartPolicy::read(&RunParameters::default(), millis).unwrap();

        assert_eq!(policy, StartPolicy::default());
        assert_eq!(policy.window(), Duration::from_millis(1200));
    }

    #[test]
    fn parameters_replace_the_defaults() {
        let parameters = RunParameters {
            start_interval: Some(json!(5000)),
            start_burst: Some(7),
            restart_interval: Some(json!(2)),
        };

        let policy = StartPolicy::read(&parameters, millis).unwrap();

        assert_eq!(policy.interval, Duration::from_secs(5));
        assert_eq!(policy.burst, 7);
        assert_eq!(policy.restart, Duration::from_millis(2));
        assert_eq!(policy.window(), Duration::from_secs(6));
    }

    #[test]
    fn what_is_no_duration_is_named() {
        let parameters = RunParameters {
            restart_interval: Some(json!("soon")),
            ..RunParameters::default()
        };

        let refused = StartPolicy::read(&parameters, millis).unwrap_err();

        assert_eq!(
            refused.to_string(),
            "invalid run parameters: restartInterval: \"soon\" is no duration"
        );
    }

    #[test]
    fn what_systemd_cannot_count_is_refused() {
        let short = RunParameters {
            start_interval: Some(json!(0)),
            ..RunParameters::default()
        };
        let refused = StartPolicy::read(&short, millis);
        assert_eq!(
            refused,
            Err(PolicyError::TooShort {
                name: "startInterval"
            })
        );

        for burst in [0, 1 << 32] {
            let parameters = RunParameters {
                start_burst: Some(burst),
                ..RunParameters::default()
            };
            let refused = StartPolicy::read(&parameters, millis);
            assert_eq!(refused, Err(PolicyError::Burst(burst)));
        }
    }
}
