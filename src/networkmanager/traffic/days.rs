//! When a day ends, whatever the clock does.
//!
//! A clock that is wrong looks like one that is right, so the rules ask only
//! which days it has shown. The day that it shows is
//! - the one that counts, or the one before (it was set back over midnight):
//!   nothing happens;
//! - one that had its turn already: the count goes on under it, for that day
//!   had its quota;
//! - before all that are known: the clock was wrong or is. The count goes on
//!   under it, and its next midnight ends it;
//! - any other: a new day begins.
//!
//! So each day that the clock shows gives one quota. A day of the world gives
//! more only if the clock was set: one for a day that it had not shown, and one
//! for the midnight after it. That is not to be avoided: it looks like the first
//! right time after a night without power. A day that was shown too early has had
//! its quota: when it really comes, the count of the day before goes on in it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Days that are remembered: one for each place that the clock jumps between.
const REMEMBERED: usize = 4;

/// How long a day lasts on a machine that does not know the time. Longer than
/// any day that a clock ends, so that no day of the world gets two of them.
const WITHOUT_CLOCK: Duration = Duration::from_hours(49);

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// The days that the clock has shown. Kept across restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Days {
    /// The one that counts. A number since 1970.
    today: i64,
    /// Others, the latest seen first.
    others: Vec<i64>,
    /// How long the count has gone on without a clock.
    #[serde(default)]
    without_clock: Duration,
}

/// What becomes of the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It goes on.
    Same,
    /// It begins from zero.
    New,
}

/// The day of a time in seconds since 1970.
pub(super) fn day_of(seconds: i64) -> i64 {
    seconds.div_euclid(DAY)
}

/// How long the day of a time in seconds since 1970 lasts from then on.
pub(super) fn rest_of_day(seconds: i64) -> Duration {
    Duration::from_secs((DAY - seconds.rem_euclid(DAY)).unsigned_abs())
}

impl Days {
    pub(super) fn starting(today: i64) -> Self {
        Self {
            today,
            others: Vec::new(),
            without_clock: Duration::ZERO,
        }
    }

    /// The day that counts.
    pub(super) fn today(&self) -> i64 {
        self.today
    }

    /// What is known when the clock shows `day`, `elapsed` after it was looked at
    /// last; `None` if it cannot be right.
    pub(super) fn after(&self, day: Option<i64>, elapsed: Duration) -> (Turn, Self) {
        let mut next = self.clone();
        let turn = match day {
            Some(day) => {
                next.without_clock = Duration::ZERO;
                next.show(day)
            }
            None => next.drift(elapsed),
        };

        (turn, next)
    }

    fn drift(&mut self, elapsed: Duration) -> Turn {
        self.without_clock = self.without_clock.saturating_add(elapsed);
        if self.without_clock < WITHOUT_CLOCK {
            return Turn::Same;
        }
        self.without_clock = Duration::ZERO;
        Turn::New
    }

    fn show(&mut self, day: i64) -> Turn {
        if day == self.today || day == self.today.saturating_sub(1) {
            return Turn::Same;
        }
        if let Some(known) = self.known(day) {
            self.others.retain(|other| *other != known);
            self.go_to(known);
            return Turn::Same;
        }
        if day == self.today.saturating_add(1) {
            // A midnight: nothing before it is to come back.
            self.others.retain(|other| *other > day);
            self.today = day;
            return Turn::New;
        }

        let before_all = day < self.today && self.others.iter().all(|other| day < *other);
        self.go_to(day);
        if before_all { Turn::Same } else { Turn::New }
    }

    /// The day among the others that `day` is: itself, or the one after it.
    fn known(&self, day: i64) -> Option<i64> {
        let among = |day| self.others.contains(&day).then_some(day);
        let midnight = day == self.today.saturating_add(1);
        among(day).or_else(|| among(day.saturating_add(1)).filter(|_| !midnight))
    }

    fn go_to(&mut self, day: i64) {
        self.others.insert(0, self.today);
        self.others.truncate(REMEMBERED - 1);
        self.today = day;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: i64 = 20_000;
    const YEARS: i64 = 20 * 365;
    const HOUR: Duration = Duration::from_hours(1);

    /// Which of the days that the clock shows begin a new count.
    fn turns(days: &mut Days, shown: &[i64]) -> Vec<bool> {
        let mut begun = Vec::new();
        for day in shown {
            let (turn, next) = days.after(Some(*day), HOUR);
            *days = next;
            begun.push(turn == Turn::New);
        }
        begun
    }

    #[test]
    fn each_midnight_begins_a_day() {
        let mut days = Days::starting(TODAY);

        let begun = turns(&mut days, &[TODAY, TODAY + 1, TODAY + 1, TODAY + 2]);

        assert_eq!(begun, [false, true, false, true]);
    }

    #[test]
    fn clock_set_back_over_midnight_begins_no_day_twice() {
        let mut days = Days::starting(TODAY);

        let begun = turns(&mut days, &[TODAY + 1, TODAY, TODAY + 1, TODAY, TODAY + 1]);

        assert_eq!(begun, [true, false, false, false, false]);
        assert_eq!(turns(&mut days, &[TODAY + 2]), [true]);
    }

    #[test]
    fn clock_set_back_over_midnight_begins_no_day_after_a_start_without_a_clock() {
        let mut days = Days::starting(TODAY);
        turns(&mut days, &[TODAY - 200, TODAY]);

        let begun = turns(&mut days, &[TODAY - 1, TODAY, TODAY + 1]);

        assert_eq!(begun, [false, false, true]);
    }

    #[test]
    fn night_without_power_begins_a_day() {
        let mut days = Days::starting(TODAY);

        assert_eq!(turns(&mut days, &[TODAY + 30]), [true]);
    }

    #[test]
    fn day_goes_on_after_a_start_with_the_time_of_the_build() {
        let build = TODAY - 200;
        let mut days = Days::starting(TODAY);

        assert_eq!(turns(&mut days, &[build, TODAY]), [false, false]);
        assert_eq!(turns(&mut days, &[build, TODAY]), [false, false]);
        assert_eq!(turns(&mut days, &[build, TODAY + 1]), [false, true]);
    }

    #[test]
    fn day_goes_on_after_a_start_in_1970() {
        let mut days = Days::starting(TODAY);

        let (turn, next) = days.after(None, HOUR);
        days = next;

        assert_eq!(turn, Turn::Same);
        assert_eq!(days.today(), TODAY);
        assert_eq!(turns(&mut days, &[TODAY, TODAY + 1]), [false, true]);
    }

    #[test]
    fn machine_that_never_learns_the_time_has_days_all_the_same() {
        let mut days = Days::starting(TODAY);
        let mut begun = 0;

        for _ in 0..490 {
            let (turn, next) = days.after(None, HOUR);
            days = next;
            begun += u32::from(turn == Turn::New);
        }

        assert_eq!(begun, 10);
    }

    #[test]
    fn after_a_jump_years_ahead_and_back_the_days_of_the_world_count() {
        let mut days = Days::starting(TODAY);

        let begun = turns(&mut days, &[TODAY + YEARS, TODAY, TODAY + 1, TODAY + 2]);

        assert_eq!(begun, [true, false, true, true]);
        assert_eq!(days.today(), TODAY + 2);
    }

    #[test]
    fn jumping_to_the_same_wrong_day_gives_no_second_quota() {
        let wrong = TODAY + YEARS;
        let mut days = Days::starting(TODAY);

        let begun = turns(&mut days, &[wrong, TODAY, wrong, TODAY, wrong, TODAY]);

        assert_eq!(begun, [true, false, false, false, false, false]);
    }

    /// A device whose dead battery makes it start in the same wrong year, and
    /// which is always off at midnight.
    #[test]
    fn wrong_start_of_each_day_does_not_keep_the_next_day_away() {
        let wrong = TODAY + YEARS;
        let mut days = Days::starting(TODAY);
        turns(&mut days, &[wrong, TODAY]);

        for day in TODAY + 1..TODAY + 10 {
            let begun = turns(&mut days, &[wrong, day, wrong, day]);

            assert_eq!(begun, [false, true, false, false], "{day}");
        }
    }

    #[test]
    fn days_at_the_ends_of_time_are_days() {
        for today in [i64::MIN, i64::MAX] {
            let mut days = Days::starting(today);

            turns(
                &mut days,
                &[i64::MIN, i64::MAX, 0, TODAY, i64::MAX, i64::MIN],
            );

            assert_eq!(days.today(), i64::MIN);
        }
    }

    #[test]
    fn rest_of_a_day_ends_at_its_midnight() {
        assert_eq!(rest_of_day(0), 24 * HOUR);
        assert_eq!(rest_of_day(DAY - 1), Duration::from_secs(1));
        assert_eq!(rest_of_day(-1), Duration::from_secs(1));
        assert_eq!((day_of(-1), day_of(0), day_of(DAY)), (-1, 0, 1));
    }
}
