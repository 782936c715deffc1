//! The loop that listens to systemd.
//!
//! It owns the connection, tells waiting calls of ended jobs, and the launcher
//! of changed units, in the order in which systemd said so. When the
//! connection is lost, or systemd was started again, it looks at all units and
//! tells what changed meanwhile. What the launcher does not fetch in time is
//! replaced by what is known last, so that the queue has a bound and the
//! present state always arrives.

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, watch};
use tracing::{info, warn};
use zbus::{Connection, OwnedObjectPath};

use super::bus::look_at_all;
use super::signal_feed::{Signal, SignalFeed, subscribe};
use super::tracker::{Observation, Tracker};
use crate::launcher::UnitChange;
use crate::model::{Chain, InstanceId};

/// Changes that wait for the launcher, besides those in its channel.
const MOST_PENDING: usize = 4096;

/// The pause before systemd is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes connections to the bus that systemd is on.
pub(crate) trait Connect: Send + Sync + 'static {
    /// Makes one.
    fn connect(&self) -> impl Future<Output = zbus::Result<Connection>> + Send;
}

/// News for calls that wait for a job.
#[derive(Clone, Debug)]
pub(crate) enum JobEvent {
    /// It ended like this.
    Removed {
        job: OwnedObjectPath,
        result: String,
    },
    /// The end of some job may have been missed.
    Missed,
}

type Look = Pin<Box<dyn Future<Output = zbus::Result<Vec<(InstanceId, Observation)>>> + Send>>;

/// See the module.
pub(crate) struct Watch<C> {
    pub bus: C,
    /// `None` while there is none.
    pub connection: watch::Sender<Option<Connection>>,
    pub jobs: broadcast::Sender<JobEvent>,
    pub changes: mpsc::Sender<UnitChange>,
    pub tracker: Tracker,
    pub pending: VecDeque<UnitChange>,
    /// Units that changed since the look in progress began.
    pub touched: BTreeSet<InstanceId>,
}

enum Event {
    Signal(Signal),
    Lost,
    Looked(zbus::Result<Vec<(InstanceId, Observation)>>),
    Delivered,
    NobodyListens,
}

impl<C: Connect> Watch<C> {
    /// Runs until nobody listens any more.
    pub(crate) async fn run(mut self, connection: Connection, feed: SignalFeed) {
        let mut connection = connection;
        let mut feed = feed;
        let mut look: Option<Look> = None;

        loop {
            let event = tokio::select! {
                signal = feed.next() => signal.map_or(Event::Lost, Event::Signal),
                seen = optional(&mut look) => Event::Looked(seen),
                permit = self.changes.reserve(), if !self.pending.is_empty() => {
                    match (permit, self.pending.pop_front()) {
                        (Ok(permit), Some(change)) => {
                            permit.send(change);
                            Event::Delivered
                        }
                        _ => Event::NobodyListens,
                    }
                }
                () = self.changes.closed() => Event::NobodyListens,
            };

            match event {
                Event::Signal(Signal::Reloaded) => {
                    self.touched.clear();
                    look = Some(look_again(connection.clone(), Duration::ZERO));
                }
                Event::Signal(signal) => self.take(signal),
                Event::Looked(Ok(seen)) => {
                    look = None;
                    self.compare(seen);
                }
                Event::Looked(Err(error)) => {
                    warn!(error = %Chain(&error), "cannot look at the units of instances");
                    look = Some(look_again(connection.clone(), PAUSE));
                }
                Event::Lost => {
                    warn!("connection to systemd is lost");
                    self.connection.send_replace(None);
                    self.missed();
                    let Some((new, signals)) = self.reconnect().await else {
                        return;
                    };
                    info!("connected to systemd again");
                    self.touched.clear();
                    look = Some(look_again(new.clone(), Duration::ZERO));
                    feed = signals;
                    connection = new.clone();
                    self.connection.send_replace(Some(new));
                }
                Event::Delivered => {}
                Event::NobodyListens => return,
            }
        }
    }

    fn take(&mut self, signal: Signal) {
        match signal {
            Signal::JobRemoved { job, result, .. } => {
                self.tell_jobs(JobEvent::Removed { job, result });
            }
            Signal::Properties { id, seen } => {
                self.touched.insert(id);
                let changes = self.tracker.observe(id, seen);
                self.tell(changes);
            }
            Signal::Removed { id } => {
                self.touched.insert(id);
                let changes = self.tracker.forget(id);
                self.tell(changes);
            }
            Signal::Reloaded => {}
        }
    }

    /// Compares what is known with a look at all units. What a signal said
    /// since the look began is newer.
    fn compare(&mut self, seen: Vec<(InstanceId, Observation)>) {
        let there: BTreeSet<_> = seen.iter().map(|&(id, _)| id).collect();
        for (id, seen) in seen {
            if !self.touched.contains(&id) {
                let changes = self.tracker.observe(id, seen);
                self.tell(changes);
            }
        }
        for id in self.tracker.ids() {
            if !there.contains(&id) && !self.touched.contains(&id) {
                let changes = self.tracker.forget(id);
                self.tell(changes);
            }
        }
        self.missed();
    }

    fn tell(&mut self, changes: Vec<UnitChange>) {
        self.pending.extend(changes);
        if self.pending.len() > MOST_PENDING {
            warn!("too many changes of units wait: only the present states are told");
            self.pending = self.tracker.everything().into();
        }
    }

    fn missed(&self) {
        self.tell_jobs(JobEvent::Missed);
    }

    fn tell_jobs(&self, event: JobEvent) {
        // Without a waiting call there is nobody to tell.
        drop(self.jobs.send(event));
    }

    /// `None` when nobody listens any more.
    async fn reconnect(&self) -> Option<(Connection, SignalFeed)> {
        let attempts = async {
            loop {
                match open(&self.bus).await {
                    Ok(open) => return open,
                    Err(error) => {
                        warn!(error = %Chain(&error), "cannot reach systemd");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };

        tokio::select! {
            open = attempts => Some(open),
            () = self.changes.closed() => None,
        }
    }
}

/// A connection and its signals.
pub(crate) async fn open(bus: &impl Connect) -> zbus::Result<(Connection, SignalFeed)> {
    let connection = bus.connect().await?;
    let feed = SignalFeed::open(&connection).await?;

    Ok((connection, feed))
}

fn look_again(connection: Connection, pause: Duration) -> Look {
    Box::pin(async move {
        tokio::time::sleep(pause).await;
        subscribe(&connection).await?;
        look_at_all(&connection).await
    })
}

async fn optional(look: &mut Option<Look>) -> zbus::Result<Vec<(InstanceId, Observation)>> {
    match look {
        Some(look) => look.await,
        None => pending().await,
    }
}
