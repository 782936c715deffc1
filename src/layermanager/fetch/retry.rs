//! Whether and when to try again (pure).

use std::time::Duration;

use tokio::time::Instant;

use super::limits::Patience;
use crate::model::Backoff;

/// Counts what came to nothing. Each byte that came makes it start again.
#[derive(Debug)]
pub(super) struct Retry {
    patience: Patience,
    backoff: Backoff,
    attempts: u32,
    progressed: Instant,
}

/// What to do after an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait so long, then try again.
    Wait(Duration),
    /// It has been tried often or long enough.
    GiveUp {
        /// Without a byte.
        attempts: u32,
        /// Since the last byte.
        time: Duration,
    },
}

impl Retry {
    pub(super) fn new(patience: Patience, now: Instant) -> Self {
        Self {
            patience,
            backoff: Backoff::between(patience.backoff_min, patience.backoff_max),
            attempts: 0,
            progressed: now,
        }
    }

    /// Bytes came.
    pub(super) fn progressed(&mut self, now: Instant) {
        self.backoff.reset();
        self.attempts = 0;
        self.progressed = now;
    }

    /// An attempt failed; the server may have said when to come back. `random`
    /// is in `0.0..1.0`.
    pub(super) fn failed(&mut self, now: Instant, after: Option<Duration>, random: f64) -> Next {
        self.attempts += 1;
        let time = now.saturating_duration_since(self.progressed);
        let asked = after.unwrap_or_default().min(self.patience.retry_after_max);
        let delay = self.backoff.delay(random).max(asked);
        if self.attempts >= self.patience.attempts || time + delay > self.patience.progress {
            return Next::GiveUp {
                attempts: self.attempts,
                time,
            };
        }
        Next::Wait(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> (Retry, Instant) {
        let now = Instant::now();
        (Retry::new(Patience::default(), now), now)
    }

    #[test]
    fn delays_double_to_a_minute_and_the_eighth_attempt_is_the_last() {
        let (mut retry, now) = retry();

        let waits = [(); 7].map(|()| match retry.failed(now, None, 0.0) {
            Next::Wait(delay) => delay.as_secs(),
            Next::GiveUp { .. } => panic!("too early"),
        });

        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        let last = retry.failed(now, None, 0.0);
        assert!(matches!(last, Next::GiveUp { attempts: 8, .. }), "{last:?}");
    }

    #[test]
    fn progress_starts_again() {
        let (mut retry, now) = retry();
        for _ in 0..7 {
            retry.failed(now, None, 0.0);
        }

        retry.progressed(now);

        let next = retry.failed(now, None, 0.0);
        assert_eq!(next, Next::Wait(Duration::from_secs(1)));
    }

    #[test]
    fn ten_minutes_without_a_byte_are_the_end() {
        let (mut retry, now) = retry();
        let time = Duration::from_secs(9 * 60 + 58);

        let next = retry.failed(now + time, None, 0.0);
        assert_eq!(next, Next::Wait(Duration::from_secs(1)));
        let next = retry.failed(now + time + Duration::from_secs(1), None, 0.0);
        assert!(matches!(next, Next::GiveUp { attempts: 2, .. }), "{next:?}");
    }

    #[test]
    fn server_may_ask_for_more_time_within_a_bound() {
        for (asked, waited) in [(0, 1), (1, 1), (90, 90), (1_000_000, 300)] {
            let (mut retry, now) = retry();

            let next = retry.failed(now, Some(Duration::from_secs(asked)), 0.0);

            assert_eq!(next, Next::Wait(Duration::from_secs(waited)), "{asked}");
        }
    }
}
