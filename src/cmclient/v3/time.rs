//! Moments on the wire.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;

/// What a `google.protobuf.Timestamp` may say: the years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const MAX_NANOS: u32 = 999_999_999;

/// A moment outside the allowed years becomes the nearest one inside.
pub(super) fn from_wire(timestamp: &Timestamp) -> SystemTime {
    let seconds = timestamp.seconds.clamp(*SECONDS.start(), *SECONDS.end());
    let nanos = u32::try_from(timestamp.nanos).unwrap_or(0).min(MAX_NANOS);

    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(whole)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(whole)
    };

    second
        .and_then(|second| second.checked_add(Duration::from_nanos(nanos.into())))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The reverse of [`from_wire`].
pub(super) fn to_wire(time: SystemTime) -> Timestamp {
    let (seconds, nanos) = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => (
            i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            after.subsec_nanos(),
        ),
        Err(error) => {
            let before = error.duration();
            let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |seconds| -seconds);
            // The nanoseconds of a timestamp always count forward.
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanos => (seconds.saturating_sub(1), 1_000_000_000 - nanos),
            }
        }
    };

    Timestamp {
        seconds: seconds.clamp(*SECONDS.start(), *SECONDS.end()),
        nanos: i32::try_from(nanos).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn allowed_moments_survive_both_ways(
            seconds in SECONDS,
            nanos in 0..1_000_000_000_i32,
        ) {
            let timestamp = Timestamp { seconds, nanos };

            prop_assert_eq!(to_wire(from_wire(&timestamp)), timestamp);
        }

        #[test]
        fn no_timestamp_panics(seconds: i64, nanos: i32) {
            let again = to_wire(from_wire(&Timestamp { seconds, nanos }));

            prop_assert!(SECONDS.contains(&again.seconds));
            prop_assert!((0..1_000_000_000).contains(&again.nanos));
        }
    }

    #[test]
    fn moments_outside_the_calendar_become_its_ends() {
        let late = Timestamp {
            seconds: i64::MAX,
            nanos: 5,
        };
        let early = Timestamp {
            seconds: i64::MIN,
            nanos: -5,
        };

        assert_eq!(to_wire(from_wire(&late)).seconds, 253_402_300_799);
        assert_eq!(to_wire(from_wire(&early)).seconds, -62_135_596_800);
    }
}
