//! CPU use from counters of the kernel.

use std::time::Duration;

/// Counters that are closer together say more about the clock tick than about
/// the node.
const SHORTEST_WINDOW: Duration = Duration::from_millis(500);

/// Time that all CPUs together spent since boot, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuTimes {
    /// At work.
    pub(super) busy: u64,
    /// Without work, or waiting for a disk.
    pub(super) idle: u64,
}

/// Counters and when they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuReading {
    /// Monotonic, since any moment.
    pub(super) at: Duration,
    /// The counters.
    pub(super) times: CpuTimes,
}

/// The last two readings: what a new one is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuHistory {
    last: CpuReading,
    before: CpuReading,
}

impl CpuHistory {
    /// Starts with the first reading.
    pub(super) fn new(first: CpuReading) -> Self {
        Self {
            last: first,
            before: first,
        }
    }

    /// Percent of the whole node since the last reading, or since the one
    /// before if that is too close.
    pub(super) fn percent(&self, now: CpuReading) -> u64 {
        let since = if now.at.saturating_sub(self.last.at) >= SHORTEST_WINDOW {
            self.last
        } else {
            self.before
        };

        percent(since.times, now.times)
    }

    /// Adds a reading.
    pub(super) fn push(&mut self, reading: CpuReading) {
        self.before = self.last;
        self.last = reading;
    }
}

/// Counters may run back a little: the kernel corrects idle time.
fn percent(from: CpuTimes, to: CpuTimes) -> u64 {
    let busy = to.busy.saturating_sub(from.busy);
    let total = busy + to.idle.saturating_sub(from.idle);
    if total == 0 {
        return 0;
    }

    (busy * 100 + total / 2) / total
}

/// Reads `/proc/stat`: the counters, and the number of CPUs.
pub(super) fn parse_stat(text: &str) -> Option<(CpuTimes, u64)> {
    let all = text.lines().next()?.strip_prefix("cpu ")?;
    let mut fields = all.split_ascii_whitespace().map(str::parse::<u64>);
    let mut field = || fields.next()?.ok();
    let (user, nice, system, idle) = (field()?, field()?, field()?, field()?);
    // Younger than the others, and absent on an old kernel. Guests come after
    // them and are part of user and nice already.
    let mut younger = || field().unwrap_or(0);
    let (iowait, irq, softirq, steal) = (younger(), younger(), younger(), younger());

    let cpus = text
        .lines()
        .filter(|line| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .count();
    let times = CpuTimes {
        busy: user + nice + system + irq + softirq + steal,
        idle: idle + iowait,
    };

    Some((times, u64::try_from(cpus).ok()?))
}

/// Bytes of RAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ram {
    pub(super) total: u64,
    pub(super) used: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAT: &str = "cpu  100 20 30 700 50 5 15 30 40 10\n\
                        cpu0 50 10 15 350 25 2 8 15 20 5\n\
                        cpu1 50 10 15 350 25 3 7 15 20 5\n\
                        intr 1 2 3\nctxt 5\n";

    fn reading(millis: u64, busy: u64, idle: u64) -> CpuReading {
        CpuReading {
            at: Duration::from_millis(millis),
            times: CpuTimes { busy, idle },
        }
    }

    #[test]
    fn guest_time_is_not_counted_twice() {
        let (times, cpus) = parse_stat(STAT).unwrap();

        assert_eq!(
            times,
            CpuTimes {
                busy: 200,
                idle: 750
            }
        );
        assert_eq!(cpus, 2);
    }

    #[test]
    fn stat_of_an_old_kernel_is_read() {
        let (times, cpus) = parse_stat("cpu  1 2 3 4\ncpu0 1 2 3 4\n").unwrap();

        assert_eq!((times.busy, times.idle, cpus), (6, 4, 1));
    }

    #[test]
    fn stat_that_makes_no_sense_is_refused() {
        for text in [
            "",
            "cpu",
            "cpu  1 2 3",
            "cpu  1 2 x 4",
            "cpu0 1 2 3 4",
            "cpu  -1 2 3 4",
        ] {
            assert_eq!(parse_stat(text), None, "{text:?}");
        }
    }

    #[test]
    fn use_is_counted_since_the_last_reading() {
        let mut history = CpuHistory::new(reading(0, 0, 0));
        history.push(reading(10_000, 1000, 0));

        let percent = history.percent(reading(20_000, 1250, 750));

        assert_eq!(percent, 25);
    }

    #[test]
    fn right_after_a_reading_the_one_before_counts() {
        let mut history = CpuHistory::new(reading(0, 0, 0));
        history.push(reading(10_000, 500, 500));

        let percent = history.percent(reading(10_001, 501, 500));

        assert_eq!(percent, 50);
    }

    #[test]
    fn equal_readings_are_no_use() {
        let first = reading(0, 100, 100);

        assert_eq!(CpuHistory::new(first).percent(first), 0);
    }

    #[test]
    fn idle_time_that_runs_back_is_no_idle_time() {
        let history = CpuHistory::new(reading(0, 100, 100));

        assert_eq!(history.percent(reading(1000, 150, 99)), 100);
    }

    proptest! {
        #[test]
        fn use_is_a_percentage(from in any::<[u32; 2]>(), to in any::<[u32; 2]>()) {
            let times = |[busy, idle]: [u32; 2]| CpuTimes { busy: busy.into(), idle: idle.into() };

            prop_assert!(percent(times(from), times(to)) <= 100);
        }
    }
}
