//! How far downloads are: for the log, and for whoever wants to show it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aos_package::Short;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::info;

/// Between two changes that are told.
const TELL: Duration = Duration::from_secs(1);
/// Between two lines in the log, if there is less progress than a tenth.
const LOG: Duration = Duration::from_secs(10);

/// One download that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// What is downloaded, for people.
    pub item: String,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes of the package.
    pub total: u64,
    /// Bytes a second, since it began or went on.
    pub rate: u64,
    key: u64,
}

/// The downloads that are under way. Prints what `systemctl status` is to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Downloads(Vec<Download>);

impl Downloads {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Download> {
        self.0.iter()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Downloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, download) in self.0.iter().enumerate() {
            let before = if index == 0 { "downloading " } else { "; " };
            let amounts = Amounts(download.done, download.total);
            write!(f, "{before}{}: {amounts}", Short(&download.item))?;
        }
        Ok(())
    }
}

/// So many bytes of so many.
struct Amounts(u64, u64);

impl fmt::Display for Amounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(done, total) = *self;
        let (unit, name) = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")]
            .into_iter()
            .find(|(unit, _)| total >= 10 * unit)
            .unwrap_or((1, "bytes"));
        // Only all is all.
        let rounded = if done < total {
            done / unit
        } else {
            total.div_ceil(unit)
        };
        write!(f, "{rounded} of {} {name}", total.div_ceil(unit))
    }
}

/// Where all downloads are told.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<watch::Sender<Downloads>>);

impl Board {
    pub(super) fn watch(&self) -> watch::Receiver<Downloads> {
        self.0.subscribe()
    }

    /// A download of which `done` bytes are there begins.
    pub(super) fn begin(&self, item: &str, url: &str, done: u64, total: u64) -> Tracker {
        let mut key = 0;
        self.0.send_modify(|downloads| {
            key = 1 + downloads.0.iter().map(|it| it.key).max().unwrap_or(0);
            downloads.0.push(Download {
                item: item.to_owned(),
                done,
                total,
                rate: 0,
                key,
            });
        });
        info!(item = %Short(item), url, done, total, "downloading");
        let now = Instant::now();

        Tracker {
            board: self.clone(),
            key,
            item: item.to_owned(),
            begun_with: done,
            done,
            total,
            began: now,
            pace: Pace {
                told: now,
                logged: now,
                logged_done: done,
            },
        }
    }
}

/// One download on the board; taken off when it is dropped.
#[derive(Debug)]
pub(super) struct Tracker {
    board: Board,
    key: u64,
    item: String,
    begun_with: u64,
    done: u64,
    total: u64,
    began: Instant,
    pace: Pace,
}

impl Tracker {
    /// More bytes are there.
    pub(super) fn advance(&mut self, bytes: u64, now: Instant) {
        self.done += bytes;
        let rate = self.rate(now);
        if self.pace.is_telling(now) {
            self.board.0.send_modify(|downloads| {
                let own = downloads.0.iter_mut().find(|it| it.key == self.key);
                if let Some(download) = own {
                    download.done = self.done;
                    download.rate = rate;
                }
            });
        }
        if self.pace.is_logging(now, self.done, self.total) {
            let (item, done, total) = (Short(&self.item), self.done, self.total);
            info!(%item, done, total, rate, "downloading");
        }
    }

    /// All bytes are there.
    pub(super) fn finish(self, now: Instant) {
        let (item, total, rate) = (Short(&self.item), self.total, self.rate(now));
        info!(%item, total, rate, "downloaded");
    }

    fn rate(&self, now: Instant) -> u64 {
        let bytes = u128::from(self.done - self.begun_with);
        let millis = now.saturating_duration_since(self.began).as_millis().max(1);
        u64::try_from(bytes * 1000 / millis).unwrap_or(u64::MAX)
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let board = &self.board.0;
        board.send_modify(|downloads| downloads.0.retain(|it| it.key != self.key));
    }
}

/// Not each byte is news.
#[derive(Debug)]
struct Pace {
    told: Instant,
    logged: Instant,
    logged_done: u64,
}

impl Pace {
    fn is_telling(&mut self, now: Instant) -> bool {
        let due = now.saturating_duration_since(self.told) >= TELL;
        if due {
            self.told = now;
        }
        due
    }

    /// Each tenth, or each ten seconds; a fast one does not fill the log.
    fn is_logging(&mut self, now: Instant, done: u64, total: u64) -> bool {
        let since = now.saturating_duration_since(self.logged);
        let tenth = done - self.logged_done >= (total / 10).max(1);
        let due = since >= LOG || (tenth && since >= TELL);
        if due {
            (self.logged, self.logged_done) = (now, done);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_in_the_unit_of_the_whole() {
        for (done, total, text) in [
            (0, 0, "0 of 0 bytes"),
            (5, 9_999, "5 of 9999 bytes"),
            (5_999, 10_000, "5 of 10 kB"),
            (45_900_000, 200_000_000, "45 of 200 MB"),
            (199_999_999, 200_000_000, "199 of 200 MB"),
            (200_000_001, 200_000_001, "201 of 201 MB"),
            (3_000_000_000, 12_000_000_000, "3 of 12 GB"),
        ] {
            assert_eq!(Amounts(done, total).to_string(), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn downloads_are_told_until_they_are_dropped() {
        let board = Board::default();
        let told = board.watch();
        let begin = |item| board.begin(item, "", 0, 20_000_000);

        let mut first = begin("service a version 3");
        let second = begin("layer b");
        first.advance(5_000_000, Instant::now() + TELL);

        assert_eq!(
            told.borrow().to_string(),
            "downloading service a version 3: 5 of 20 MB; layer b: 0 of 20 MB"
        );
        assert_eq!(told.borrow().iter().next().unwrap().rate, 5_000_000);
        drop(second);
        first.finish(Instant::now());
        assert!(told.borrow().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_are_told_once_a_second() {
        let board = Board::default();
        let mut told = board.watch();
        let mut download = board.begin("a", "", 0, 1000);
        told.mark_unchanged();

        download.advance(1, Instant::now());
        assert!(!told.has_changed().unwrap());

        download.advance(1, Instant::now() + TELL);
        assert!(told.has_changed().unwrap());
    }

    #[test]
    fn log_has_a_line_each_tenth_or_ten_seconds() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace {
            told: start,
            logged: start,
            logged_done: 0,
        };

        assert!(!pace.is_logging(at(500), 50, 100));
        assert!(pace.is_logging(at(1500), 60, 100));
        assert!(!pace.is_logging(at(11_400), 61, 100));
        assert!(pace.is_logging(at(11_500), 61, 100));
    }
}
