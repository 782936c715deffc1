//! How long to wait before the next try.

use std::time::Duration;

/// Exponential delays with jitter, so that the nodes of a unit do not all come
/// at once when a peer is back.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    tries: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::between(Self::MIN, Self::MAX)
    }
}

impl Backoff {
    /// No delay is shorter, if nothing else is said.
    pub const MIN: Duration = Duration::from_secs(1);
    /// No delay is longer, if nothing else is said.
    pub const MAX: Duration = Duration::from_secs(10);

    /// Delays that double from `min` to `max`.
    #[must_use]
    pub const fn between(min: Duration, max: Duration) -> Self {
        Self { min, max, tries: 0 }
    }

    /// The next delay. `random` is in `0.0..1.0`.
    pub fn delay(&mut self, random: f64) -> Duration {
        let longest = self
            .min
            .saturating_mul(2_u32.saturating_pow(self.tries.saturating_add(1)))
            .clamp(self.min, self.max.max(self.min));
        let shortest = (longest / 2).max(self.min);
        self.tries = self.tries.saturating_add(1);

        shortest + (longest - shortest).mul_f64(random.clamp(0.0, 1.0))
    }

    /// Starts again with the shortest delay.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::default();

        let longest = [(); 5].map(|()| backoff.delay(1.0).as_secs());

        assert_eq!(longest, [2, 4, 8, 10, 10]);
    }

    #[test]
    fn reset_starts_again() {
        let mut backoff = Backoff::default();
        backoff.delay(0.0);
        backoff.delay(0.0);

        backoff.reset();

        assert_eq!(backoff.delay(0.0), Backoff::MIN);
    }

    #[test]
    fn bounds_may_be_others() {
        let (min, max) = (Duration::from_secs(3), Duration::from_secs(13));
        let mut backoff = Backoff::between(min, max);

        let delays = [(); 4].map(|()| backoff.delay(1.0).as_secs());

        assert_eq!(delays, [6, 12, 13, 13]);
    }

    proptest! {
        #[test]
        fn every_delay_is_within_the_bounds(tries: u32, random: f64) {
            prop_assume!(!random.is_nan());
            let mut backoff = Backoff {
                tries,
                ..Backoff::default()
            };

            let delay = backoff.delay(random);

            prop_assert!((Backoff::MIN..=Backoff::MAX).contains(&delay));
        }
    }
}
