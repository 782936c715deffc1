//! When the cloud was last there, as it is stored.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Calendar;
use crate::launcher::host::Moment;

/// How long the cloud had been away, and when that was so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::launcher) struct LastOnline {
    away_ms: u64,
    /// Since 1970.
    time_ms: u64,
    boot: String,
    since_boot_ms: u64,
}

/// All that may be found.
#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Own(LastOnline),
    /// Of release 7.2.3: the last second with the cloud, since 1970.
    Second(i64),
}

impl LastOnline {
    /// The cloud had been away for so long now.
    pub(super) fn new(away: Duration, calendar: &Calendar, now: &Moment) -> Self {
        Self {
            away_ms: millis(away),
            time_ms: since_1970(calendar.time(now)),
            boot: now.boot.to_string(),
            since_boot_ms: millis(now.since_boot),
        }
    }

    /// How long the cloud has been away now, if it did not come back since.
    pub(super) fn away_until(&self, calendar: &Calendar, now: &Moment) -> Duration {
        let since = if self.boot == *now.boot {
            millis(now.since_boot).saturating_sub(self.since_boot_ms)
        } else {
            since_1970(calendar.time(now)).saturating_sub(self.time_ms)
        };
        Duration::from_millis(self.away_ms.saturating_add(since))
    }

    /// The text that is stored.
    pub(in crate::launcher) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }

    /// What was stored, by this release or by 7.2.3.
    pub(in crate::launcher) fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        Ok(match serde_json::from_str(text)? {
            Form::Own(own) => own,
            Form::Second(second) => Self {
                away_ms: 0,
                time_ms: u64::try_from(second)
                    .unwrap_or_default()
                    .saturating_mul(1000),
                boot: String::new(),
                since_boot_ms: 0,
            },
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn since_1970(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
