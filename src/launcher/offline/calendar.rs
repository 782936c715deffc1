//! The time of day, also on a device that does not know it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::launcher::host::Moment;

/// Tells the time: the wall clock's, or, where that has not been set yet, the
/// latest that was known, going on since SM was started.
#[derive(Clone, Copy, Debug)]
pub(in crate::launcher) struct Calendar {
    known: SystemTime,
    since_boot: Duration,
}

impl Calendar {
    /// No moment is earlier than `latest`, in seconds since 1970.
    pub(in crate::launcher) fn new(latest: i64, now: &Moment) -> Self {
        let latest = Duration::from_secs(u64::try_from(latest).unwrap_or_default());
        Self {
            known: UNIX_EPOCH.checked_add(latest).unwrap_or(UNIX_EPOCH),
            since_boot: now.since_boot,
        }
    }

    /// The time at this moment.
    pub(in crate::launcher) fn time(&self, now: &Moment) -> SystemTime {
        let elapsed = now.since_boot.saturating_sub(self.since_boot);
        let reckoned = self.known.checked_add(elapsed).unwrap_or(self.known);
        now.wall.max(reckoned)
    }
}
