//! The book with its table, for the loop that owns it.
//!
//! The loop waits for [`TrafficKeeper::next_due`], does what
//! [`TrafficKeeper::ask`] says, and brings what the kernel said. It brings
//! readings in the order in which they were taken. One that failed is not
//! brought: it is asked for again when the next is due.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::book::{Moment, TrafficBook};
use super::days::{self, Turn};
use super::store;
use crate::model::{Chain, Flow, InstanceId, Traffic};
use crate::storage::{Database, StorageError};

/// Flash wears out: so long between two writes, and no write without a change.
/// What a power cut may lose.
const WRITE_PERIOD: Duration = Duration::from_mins(1);

/// What the kernel is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) enum Ask {
    /// What its counters say: for [`TrafficKeeper::on_reading`].
    Counters,
    /// To begin all counters and quotas from zero, and what they said last: for
    /// [`TrafficKeeper::on_new_day`].
    NewDay,
}

/// Keeps the bytes of the day, tells them and stores them.
#[derive(Debug)]
pub(in crate::networkmanager) struct TrafficKeeper {
    book: TrafficBook,
    database: Database,
    published: watch::Sender<Traffic>,
    /// Between two readings.
    period: Duration,
    due: Instant,
    write_due: Instant,
    /// The log has it that nothing can be stored.
    told: bool,
}

impl Moment {
    /// What the clocks of this machine show.
    pub(in crate::networkmanager) fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            wall: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            at: Instant::now(),
        }
    }
}

impl TrafficKeeper {
    /// Goes on from what is stored. The figures are published each
    /// `poll_period`, and at least each minute.
    ///
    /// The first question is due at once. Before it the kernel's counters are
    /// made with what [`TrafficKeeper::node`] and [`TrafficKeeper::start`] say.
    pub(in crate::networkmanager) async fn load(
        database: Database,
        poll_period: Duration,
        now: Moment,
    ) -> Result<(Self, watch::Receiver<Traffic>), StorageError> {
        let book = TrafficBook::restored(store::load(&database).await?, now);
        let (published, figures) = watch::channel(book.figures());
        let keeper = Self {
            book,
            database,
            published,
            period: poll_period.min(WRITE_PERIOD),
            due: now.at,
            write_due: now.at + WRITE_PERIOD,
            told: false,
        };

        Ok((keeper, figures))
    }

    /// When to [`ask`](TrafficKeeper::ask).
    pub(in crate::networkmanager) fn next_due(&self) -> Instant {
        self.due
    }

    /// What to ask the kernel now. The next question is due after a period, or at
    /// midnight.
    pub(in crate::networkmanager) fn ask(&mut self, now: Moment) -> Ask {
        self.due = now.at + self.period.min(days::rest_of_day(now.wall));
        match self.book.look(now) {
            Turn::Same => Ask::Counters,
            Turn::New => Ask::NewDay,
        }
    }

    /// Takes what the counters say: after [`Ask::Counters`], and after the
    /// kernel's tables were restored.
    pub(in crate::networkmanager) async fn on_reading(
        &mut self,
        now: Moment,
        node: Flow,
        instances: &BTreeMap<InstanceId, Flow>,
    ) {
        self.book.read(node, instances);
        self.publish();
        if now.at >= self.write_due {
            self.write(now).await;
        }
    }

    /// The kernel has begun a new day, and its counters said last what is given.
    pub(in crate::networkmanager) async fn on_new_day(
        &mut self,
        now: Moment,
        node: Flow,
        instances: &BTreeMap<InstanceId, Flow>,
    ) {
        let ended = self.book.turn(now, node, instances);
        info!(
            received = ended.node.received,
            sent = ended.node.sent,
            "a new day of traffic begins; the node's bytes of the last"
        );
        self.publish();
        self.write(now).await;
    }

    /// What the node's counters start with.
    pub(in crate::networkmanager) fn node(&self) -> Flow {
        self.book.node()
    }

    /// An instance is attached or adopted, or its counters are made anew: what
    /// they start with. An attach that fails is a [`stop`](TrafficKeeper::stop).
    pub(in crate::networkmanager) fn start(&mut self, instance: InstanceId) -> Flow {
        let flow = self.book.start(instance);
        self.publish();
        flow
    }

    /// Instances are detached, and their counters said last what is given.
    pub(in crate::networkmanager) async fn stop(
        &mut self,
        now: Moment,
        left: impl IntoIterator<Item = (InstanceId, Option<Flow>)>,
    ) {
        for (instance, last) in left {
            self.book.stop(instance, last);
        }
        self.publish();
        self.write(now).await;
    }

    /// Stores what is not stored yet: at a stop of SM, after a last reading.
    pub(in crate::networkmanager) async fn close(mut self, now: Moment) {
        self.write(now).await;
    }

    fn publish(&self) {
        let figures = self.book.figures();
        self.published.send_if_modified(|published| {
            let changed = *published != figures;
            *published = figures;
            changed
        });
    }

    async fn write(&mut self, now: Moment) {
        let Some(save) = self.book.unsaved() else {
            return;
        };

        self.write_due = now.at + WRITE_PERIOD;
        match store::save(&self.database, save.clone()).await {
            Ok(()) => {
                self.book.saved(save);
                self.told = false;
            }
            Err(error) if self.told => drop(error),
            Err(error) => {
                warn!(error = %Chain(&error), "the traffic of today cannot be stored; it is tried again each minute");
                self.told = true;
            }
        }
    }
}
