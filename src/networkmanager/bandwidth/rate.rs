//! Rates, and the token buckets that hold traffic to them.

use std::fmt;

/// Bytes per second of one kbit/s (1000 bit).
const KBIT: u64 = 125;
/// 1 Tbit/s, in kbit/s. No link of ours comes near it.
const FASTEST: u64 = 1_000_000_000;

/// A full packet with its link header; a VLAN tag fits too.
const PACKET: u32 = 1600;
/// A packet of 64 KiB that is cut into full packets behind us (GSO), with the
/// headers that these will have.
const SUPER_PACKET: u32 = 72_000;
/// Packets of the first flight of a TCP connection.
const FIRST_FLIGHT: u64 = 10;
/// The slowest timers of a kernel tick 100 times a second. What may pass in one
/// tick must pass at once.
const TICKS: u64 = 100;
/// A queue holds the packets of a tenth of a second.
const QUEUES: u64 = 10;

/// A rate that traffic is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::networkmanager) struct Rate {
    kbit: u64,
}

/// The parameters of the kernel's token bucket, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) struct Bucket {
    /// Tokens that are added each second.
    pub(in crate::networkmanager) rate: u64,
    /// Tokens that it can hold: what may pass at once.
    pub(in crate::networkmanager) burst: u32,
    /// The largest packet that is queued as it is. Larger ones are cut.
    pub(in crate::networkmanager) largest: u32,
    /// What waits for tokens at most; what does not fit is dropped.
    pub(in crate::networkmanager) queue: u32,
}

impl Rate {
    /// This many kbit/s. `None`: that is no limit. 0 was none in earlier
    /// releases too, and above 1 Tbit/s nothing is held up by it.
    pub(in crate::networkmanager) fn from_kbit(kbit: u64) -> Option<Self> {
        (1..=FASTEST).contains(&kbit).then_some(Self { kbit })
    }

    /// The rate with this many bytes a second, if there is one.
    pub(in crate::networkmanager) fn from_bytes(bytes: u64) -> Option<Self> {
        Self::from_kbit(bytes / KBIT).filter(|_| bytes.is_multiple_of(KBIT))
    }

    /// The bucket that holds traffic to this rate.
    ///
    /// Burst: one packet, or what passes in one tick of a slow timer. At 1 kbit/s
    /// a packet takes 13 seconds; that is what was asked for.
    ///
    /// Queue: a sender that knows nothing of the limit fills it, so its length
    /// is the delay of all packets behind. A tenth of a second is as long as the
    /// way to most servers, which TCP needs to use the rate; less than a first
    /// flight would lose packets of each new connection at low rates.
    ///
    /// Largest packet: a bucket never lets a packet pass that is larger than its
    /// burst, so a large one in the queue would block it for ever when the burst
    /// becomes smaller. So slow buckets take single packets only, fast ones also
    /// whole super-packets, which cost a fraction of the time: there are two
    /// sizes in all, and within each of them rates can change in place.
    pub(in crate::networkmanager) fn bucket(self) -> Bucket {
        let rate = self.kbit * KBIT;
        let burst = bytes(rate / TICKS).max(PACKET);
        let queue = (rate / QUEUES).max(FIRST_FLIGHT * u64::from(PACKET));

        Bucket {
            rate,
            burst,
            largest: if burst < SUPER_PACKET {
                PACKET
            } else {
                SUPER_PACKET
            },
            queue: bytes(queue.saturating_add(burst.into())),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} kbit/s", self.kbit)
    }
}

/// As many as the kernel can count.
fn bytes(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(kbit: u64) -> Bucket {
        Rate::from_kbit(kbit).unwrap().bucket()
    }

    #[test]
    fn slow_rates_have_the_burst_of_earlier_releases() {
        for kbit in [1, 64, 1000, 1280] {
            assert_eq!(bucket(kbit).burst * 8, 12_800);
        }
    }

    #[test]
    fn faster_rates_have_a_burst_of_one_tick() {
        assert_eq!(bucket(10_000).burst, 12_500);
        assert_eq!(bucket(1_000_000).burst, 1_250_000);
    }

    #[test]
    fn queue_holds_a_tenth_of_a_second_or_a_first_flight() {
        assert_eq!(bucket(10_000).queue, 125_000 + 12_500);
        assert_eq!(bucket(64).queue, 16_000 + 1600);
        assert_eq!(bucket(FASTEST).queue, u32::MAX);
    }

    #[test]
    fn super_packets_are_queued_where_they_fit_the_burst() {
        assert_eq!(bucket(57_000).largest, PACKET);
        assert_eq!(bucket(58_000).largest, SUPER_PACKET);
    }

    #[test]
    fn what_is_no_limit_is_no_rate() {
        for kbit in [0, FASTEST + 1, u64::MAX / KBIT + 1, u64::MAX] {
            assert_eq!(Rate::from_kbit(kbit), None);
        }
        assert_eq!(Rate::from_bytes(0), None);
        assert_eq!(Rate::from_bytes(126), None);
    }

    proptest! {
        #[test]
        fn every_rate_has_a_bucket_that_lets_packets_pass(kbit in 1..=FASTEST) {
            let rate = Rate::from_kbit(kbit).unwrap();
            let bucket = rate.bucket();

            prop_assert_eq!(Rate::from_bytes(bucket.rate), Some(rate));
            prop_assert!(bucket.burst >= bucket.largest);
            prop_assert!(bucket.queue >= 10 * bucket.largest || bucket.burst >= SUPER_PACKET);
            prop_assert!(bucket.queue >= bucket.burst);
        }

        #[test]
        fn any_number_is_a_rate_or_none(kbit: u64) {
            let rate = Rate::from_kbit(kbit);

            prop_assert_eq!(rate.is_some(), kbit > 0 && kbit <= FASTEST);
        }
    }
}
