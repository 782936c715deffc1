//! The loop that listens to systemd.
//!
//! It owns the connection, tells waiting calls of ended jobs, and the launcher
//! of changed units, in the order in which systemd said so. When the
//! connection is lost, or systemd was started again, it looks at all units and
//! tells what changed meanwhile. What the launcher does not fetch in time is
//! replaced by what is known last, so that the queue has a bound and the
//! present state always arrives.

use std::collections::VecDeque;
use std::future::Future;
use std::path::PathBuf;

use tokio::sync::{broadcast, mpsc, watch};
use tracing::{info, warn};
use zbus::{Connection, OwnedObjectPath};

use super::cgroups::lacked_memory;
use super::looks::{Look, Looks, PAUSE, Scope};
use super::names::container_cgroup;
use super::restarts::Restarts;
use super::signal_feed::{Signal, SignalFeed};
use super::tracker::Tracker;
use crate::launcher::{Exit, UnitChange, UnitEvent};
use crate::model::{Chain, InstanceId};

/// Changes that wait for the launcher, besides those in its channel.
const MOST_PENDING: usize = 4096;

/// How the kernel ends what uses too much memory, and others what they want.
const KILLED: UnitEvent = UnitEvent::Exited(Exit::Signal(9));

/// Makes connections to the bus that systemd is on.
pub(crate) trait Connect: Send + Sync + 'static {
    /// Makes one.
    fn connect(&self) -> impl Future<Output = zbus::Result<Connection>> + Send;
}

/// News for calls that wait for a job, or for a unit.
#[derive(Clone, Debug)]
pub(crate) enum JobEvent {
    /// It ended like this.
    Removed {
        job: OwnedObjectPath,
        result: String,
    },
    /// The state of a unit is another one.
    Unit(InstanceId),
    /// The end of some job may have been missed.
    Missed,
}

/// See the module.
pub(crate) struct Watch<C> {
    pub bus: C,
    /// `None` while there is none.
    pub connection: watch::Sender<Option<Connection>>,
    pub jobs: broadcast::Sender<JobEvent>,
    pub changes: mpsc::Sender<UnitChange>,
    pub tracker: Tracker,
    pub restarts: Restarts,
    /// Where control groups are mounted.
    pub cgroup_root: PathBuf,
    pub pending: VecDeque<UnitChange>,
}

enum Event {
    Signal(Signal),
    Lost,
    Looked(Look),
    Delivered,
    NobodyListens,
}

impl<C: Connect> Watch<C> {
    /// Runs until nobody listens any more.
    pub(crate) async fn run(mut self, mut connection: Connection, mut feed: SignalFeed) {
        let mut looks = Looks::default();
        looks.first(&connection, self.tracker.now());

        loop {
            let event = tokio::select! {
                // What a look saw is newer than the signals that came before its
                // answer: those first.
                biased;
                signal = feed.next() => signal.map_or(Event::Lost, Event::Signal),
                look = looks.next() => Event::Looked(look),
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

            let now = self.tracker.now();
            match event {
                Event::Signal(Signal::Reloaded) => looks.all(&connection, now),
                Event::Signal(signal) => {
                    if let Some(id) = self.take(signal) {
                        looks.one(&connection, self.tracker.now(), id);
                    }
                }
                Event::Looked(look) => {
                    let scope = look.scope;
                    if self.compare(look).is_err() {
                        looks.again_after_a_pause(&connection, now, scope);
                    }
                }
                Event::Lost => {
                    warn!("connection to systemd is lost");
                    self.connection.send_replace(None);
                    looks = Looks::default();
                    let Some((new, signals)) = self.reconnect().await else {
                        return;
                    };
                    info!("connected to systemd again");
                    (connection, feed) = (new, signals);
                    looks.all(&connection, now);
                    self.connection.send_replace(Some(connection.clone()));
                }
                Event::Delivered => {}
                Event::NobodyListens => return,
            }
            if self.pending.is_empty() {
                self.restarts.note();
            }
        }
    }

    /// Returns the unit that has to be looked at.
    fn take(&mut self, signal: Signal) -> Option<InstanceId> {
        match signal {
            Signal::JobRemoved { job, result, .. } => {
                self.tell_jobs(JobEvent::Removed { job, result });
            }
            Signal::Properties { id, seen } => {
                if seen.state.is_some() {
                    self.tell_jobs(JobEvent::Unit(id));
                }
                let heard = self.tracker.hear(id, seen);
                self.tell(heard.changes);
                self.count(id);
                return heard.look.then_some(id);
            }
            Signal::Reloaded => {}
        }

        None
    }

    /// Compares what is known with a look. After an error all units have to be
    /// looked at.
    fn compare(&mut self, look: Look) -> Result<(), ()> {
        let seen = look.seen.map_err(|error| {
            warn!(error = %Chain(&error), "cannot look at the units of instances");
        })?;
        let present = seen.iter().map(|seen| seen.id).collect();
        for seen in seen {
            let changes = match (seen.unit, look.scope) {
                (Some(unit), Scope::First) => self.tracker.meet(seen.then, seen.id, unit),
                (Some(unit), Scope::Some | Scope::All) => {
                    self.tracker.see(seen.then, seen.id, unit)
                }
                (None, _) => self.tracker.miss(seen.then, seen.id),
            };
            self.tell(changes);
            self.count(seen.id);
        }
        if look.scope != Scope::Some {
            let changes = self.tracker.miss_others(look.then, &present);
            self.tell(changes);
            self.tell_jobs(JobEvent::Missed);
        }

        Ok(())
    }

    fn tell(&mut self, changes: Vec<UnitChange>) {
        for change in changes {
            if change.event == KILLED {
                self.find_lack_of_memory(change.id);
            }
            self.pending.push_back(change);
        }
        if self.pending.len() > MOST_PENDING {
            warn!("too many changes of units wait: only the present states are told");
            self.pending = self.tracker.everything().into();
        }
    }

    fn count(&mut self, id: InstanceId) {
        match self.tracker.restarts(id) {
            Some(restarts) => self.restarts.hear(id, restarts),
            None => self.restarts.forget(id),
        }
    }

    /// At once: the cgroup goes as soon as the runtime has cleaned up.
    fn find_lack_of_memory(&mut self, id: InstanceId) {
        let event = UnitEvent::OutOfMemory;
        let is_told = self
            .pending
            .back()
            .is_some_and(|last| last.id == id && last.event == event);
        if !is_told && lacked_memory(&self.cgroup_root, &container_cgroup(id)) {
            self.pending.push_back(UnitChange { id, event });
        }
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
