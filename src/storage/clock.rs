//! Seconds that never go back.
//!
//! A device without a clock of its own boots in 1970. Times that were stored
//! would then lie ahead, and what counts from them never end. So time goes on
//! from the latest that is known: the time that was stored, the time this
//! program was built, or the wall clock's at the start. A jump of the wall clock
//! ahead of that, as NTP makes it, is followed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::worker::{Database, StorageError};

/// Key of the latest time in `config`.
const LATEST: &str = "time.latest";

/// Times this close to the stored one need not be stored.
const HOUR: i64 = 3600;

/// Tells the time, in seconds since 1970. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Clock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Database,
    started: Instant,
    base: i64,
    told: AtomicI64,
    stored: AtomicI64,
}

impl Clock {
    /// Goes on from the stored time. One that cannot be read as a number is
    /// passed over.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub async fn start(database: &Database) -> Result<Self, StorageError> {
        let stored = database.value(LATEST).await?;
        let stored = stored.and_then(|text| {
            text.parse()
                .inspect_err(|error| warn!(text, %error, "the stored time cannot be read"))
                .ok()
        });
        let base = base(wall(), stored, built());

        Ok(Self {
            inner: Arc::new(Inner {
                database: database.clone(),
                started: Instant::now(),
                base,
                told: AtomicI64::new(base),
                stored: AtomicI64::new(stored.unwrap_or(i64::MIN)),
            }),
        })
    }

    /// The latest time that is known of, whatever the wall clock says: the one that
    /// was stored, or that of the build.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub async fn latest(database: &Database) -> Result<i64, StorageError> {
        let stored = database.value(LATEST).await?;
        let stored = stored.and_then(|text| text.parse().ok());
        Ok(base(0, stored, built()))
    }

    /// The time where no time was ever stored.
    #[must_use]
    pub fn unknown_past() -> i64 {
        base(wall(), None, built())
    }

    /// When this program was built: no device runs it earlier.
    #[must_use]
    pub fn built() -> i64 {
        built()
    }

    /// The time now: never less than was told before.
    #[must_use]
    pub fn now(&self) -> i64 {
        let inner = &self.inner;
        let elapsed = i64::try_from(inner.started.elapsed().as_secs()).unwrap_or(i64::MAX);
        let now = reckon(inner.base, elapsed, wall());
        inner.told.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Stores `now`, which the next start goes on from. A time less than an hour
    /// after the one that is stored is not worth a write.
    ///
    /// # Errors
    ///
    /// The database cannot be written.
    pub async fn store(&self, now: i64) -> Result<(), StorageError> {
        let stored = self.inner.stored.load(Ordering::Relaxed);
        if now < stored.saturating_add(HOUR) {
            return Ok(());
        }
        self.inner
            .database
            .set_value(LATEST, now.to_string())
            .await?;
        self.inner.stored.fetch_max(now, Ordering::Relaxed);
        Ok(())
    }
}

/// Where time goes on from.
fn base(wall: i64, stored: Option<i64>, built: i64) -> i64 {
    wall.max(built).max(stored.unwrap_or(built))
}

fn reckon(base: i64, elapsed: i64, wall: i64) -> i64 {
    base.saturating_add(elapsed).max(wall)
}

fn wall() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn built() -> i64 {
    env!("AOS_BUILD_TIME").parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: i64 = 1_700_000_000;
    const YEAR: i64 = 365 * 24 * HOUR;

    #[test]
    fn device_without_a_clock_goes_on_where_it_was() {
        let stored = BUILT + YEAR;
        let start = base(5, Some(stored), BUILT);

        assert_eq!(start, stored);
        assert_eq!(reckon(start, 0, 5), stored);
        assert_eq!(reckon(start, 100, 105), stored + 100);
    }

    #[test]
    fn device_that_never_stored_a_time_starts_at_the_build() {
        assert_eq!(base(0, None, BUILT), BUILT);
        assert_eq!(base(0, Some(3), BUILT), BUILT);
    }

    #[test]
    fn wall_clock_counts_as_soon_as_it_is_ahead() {
        let start = base(5, Some(BUILT), BUILT);

        assert_eq!(reckon(start, 60, BUILT + YEAR), BUILT + YEAR);
        assert_eq!(base(BUILT + YEAR, Some(BUILT), BUILT), BUILT + YEAR);
    }

    #[test]
    fn wall_clock_that_goes_back_is_not_followed() {
        let start = base(BUILT + YEAR, None, BUILT);

        assert_eq!(reckon(start, 60, BUILT), BUILT + YEAR + 60);
        assert_eq!(reckon(i64::MAX, 60, BUILT), i64::MAX);
    }

    #[test]
    fn build_time_is_a_time() {
        assert!(built() > 1_600_000_000);
        assert!(wall() >= built());
    }

    #[tokio::test]
    async fn stored_time_is_there_at_the_next_start_and_is_stored_hourly() {
        let database = Database::in_memory().unwrap();
        let clock = Clock::start(&database).await.unwrap();
        let future = clock.now() + YEAR;
        clock.store(future).await.unwrap();
        clock.store(future + HOUR - 1).await.unwrap();

        let next = Clock::start(&database).await.unwrap();

        let now = next.now();
        assert!((future..future + 60).contains(&now), "{now}");
        clock.store(future + HOUR).await.unwrap();
        let stored = database.value(LATEST).await.unwrap().unwrap();
        assert_eq!(stored, (future + HOUR).to_string());
    }

    #[tokio::test]
    async fn stored_time_that_is_none_is_passed_over() {
        let database = Database::in_memory().unwrap();
        database.set_value(LATEST, "tomorrow").await.unwrap();

        let clock = Clock::start(&database).await.unwrap();

        let now = clock.now();
        assert!(now >= wall() - 1);
        clock.store(now).await.unwrap();
        let stored = database.value(LATEST).await.unwrap().unwrap();
        assert_eq!(stored, now.to_string());
    }
}
