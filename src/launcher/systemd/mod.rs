//! systemd over D-Bus.
//!
//! [`Systemd`] starts and stops the units of instances and waits for the jobs
//! to end; [`Watch`] listens. Nothing is polled. Each wait has a
//! deadline of its own, so that a runtime that hangs holds up one instance.
//!
//! An instance's unit is the template with a drop-in that is written just
//! before each start: systemd reads it when it loads the unit, which it does
//! not keep after a stop.

mod adopt;
mod bus;
mod cgroups;
mod drop_in;
mod looks;
mod names;
mod policy;
mod reload;
mod restart;
mod restarts;
mod runtime_log;
mod signal_feed;
mod signals;
mod start;
mod stop;
mod tracker;
mod unit_files;
mod watch;

#[cfg(test)]
mod fake_manager;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::{Semaphore, broadcast, mpsc, watch as channel};
use zbus::Connection;

use super::{Exit, UnitChange, UnitState};
use crate::model::InstanceId;
use reload::Reloads;
use restarts::Restarts;
use tracker::Tracker;
use unit_files::UnitFiles;
use watch::{JobEvent, Watch};

pub(crate) use cgroups::{CgroupMode, cgroup_mode};
pub(crate) use drop_in::DropIn;
pub(crate) use names::container_cgroup;
pub(crate) use policy::{PolicyError, StartPolicy};
pub(crate) use signals::{SignalError, stop_signal};
pub(crate) use watch::Connect;

/// Changes of units that the launcher has not fetched yet.
const CHANGES: usize = 256;

/// Ended jobs that a waiting call has not seen yet.
const JOBS: usize = 1024;

/// No answer of systemd takes longer.
const ANSWER: Duration = Duration::from_secs(60);

/// systemd cannot do what it is asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SystemdError {
    /// The bus or systemd is not there.
    #[error("cannot reach systemd over D-Bus")]
    Connect(#[source] zbus::Error),
    /// The connection is lost; it is being made again.
    #[error("systemd cannot be reached over D-Bus at the moment")]
    Disconnected,
    /// A call was refused.
    #[error("systemd refused to {what}")]
    Call {
        what: &'static str,
        #[source]
        source: zbus::Error,
    },
    /// The drop-in cannot be written or removed.
    #[error("cannot write the unit of instance {id}")]
    UnitFile {
        id: InstanceId,
        #[source]
        source: io::Error,
    },
    /// The runtime hangs.
    #[error("the runtime did not finish the start in {} s", .0.as_secs())]
    StartHangs(Duration),
    /// The container could not be started.
    #[error("cannot start the container: {reason}")]
    Start {
        /// In the runtime's words, or systemd's.
        reason: String,
    },
    /// The service ended as soon as it ran, and systemd has given up.
    #[error("the service ended at once: {}, {result}", exit_text(*exit))]
    Ended {
        /// How it ended.
        exit: Exit,
        /// `Result` of the unit.
        result: String,
    },
    /// The unit does not stop.
    #[error("the unit did not stop in {} s", .0.as_secs())]
    StopHangs(Duration),
}

fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

/// Where things are, and how long to wait.
#[derive(Clone, Debug)]
pub(crate) struct SystemdSettings {
    /// Where units are written that do not outlive a boot.
    pub unit_dir: PathBuf,
    /// Where control groups are mounted.
    pub cgroup_root: PathBuf,
    /// A start takes no longer.
    pub start_deadline: Duration,
    /// A stop takes no longer: the template's two times 10 s, and some more.
    pub stop_deadline: Duration,
    /// A service that was sent its stop signal by us takes no longer, as in the
    /// template.
    pub end_deadline: Duration,
}

impl Default for SystemdSettings {
    fn default() -> Self {
        Self {
            unit_dir: "/run/systemd/system".into(),
            cgroup_root: "/sys/fs/cgroup".into(),
            start_deadline: Duration::from_secs(100),
            stop_deadline: Duration::from_secs(40),
            end_deadline: Duration::from_secs(10),
        }
    }
}

/// An instance's unit as systemd lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedUnit {
    /// Whose it is.
    pub id: InstanceId,
    /// Its state.
    pub state: UnitState,
    /// Whether it waits to be restarted.
    pub restarting: bool,
}

/// Microseconds of the clock that systemd stamps the ends of processes with.
fn monotonic_now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has this clock");
    Duration::from(now)
        .as_micros()
        .try_into()
        .unwrap_or(u64::MAX)
}

/// The system bus.
#[derive(Debug)]
pub(crate) struct SystemBus;

impl Connect for SystemBus {
    async fn connect(&self) -> zbus::Result<Connection> {
        zbus::connection::Builder::system()
            .method_timeout(ANSWER)
            .build()
            .await
    }
}

/// Starts and stops units.
#[derive(Clone, Debug)]
pub(crate) struct Systemd {
    settings: Arc<SystemdSettings>,
    connection: channel::Receiver<Option<Connection>>,
    jobs: broadcast::WeakSender<JobEvent>,
    reloads: Arc<Reloads>,
    /// Calls that nothing else bounds.
    calls: Arc<Semaphore>,
    files: UnitFiles,
}

impl Systemd {
    /// Connects, and begins to listen: changes come from now on. Listening ends
    /// when the receiver is dropped.
    pub(crate) async fn connect(
        bus: impl Connect,
        settings: SystemdSettings,
    ) -> Result<(Self, mpsc::Receiver<UnitChange>), SystemdError> {
        let (connection, feed) = watch::open(&bus).await.map_err(SystemdError::Connect)?;
        let mut tracker = Tracker::beginning(monotonic_now());
        let present = bus::loaded_units(&connection)
            .await
            .map_err(SystemdError::Connect)?;
        let files = UnitFiles::new(&settings.unit_dir);
        let restarts = Restarts::read(files.clone(), present.iter().map(|(id, _)| *id));
        for (id, row) in present {
            // What is there already is no change. The rest of it is looked at while
            // we go on.
            tracker.begin(id, tracker::unit_state(&row.3), restarts.of(id));
        }

        let (connection_sender, connection_receiver) = channel::channel(Some(connection.clone()));
        let (jobs, _) = broadcast::channel(JOBS);
        let (changes, receiver) = mpsc::channel(CHANGES);
        let systemd = Self {
            connection: connection_receiver,
            jobs: jobs.downgrade(),
            reloads: Arc::default(),
            calls: Arc::new(Semaphore::new(bus::TOGETHER)),
            files,
            settings: Arc::new(settings),
        };
        let cgroup_root = systemd.settings.cgroup_root.clone();
        let watch = Watch {
            bus,
            connection: connection_sender,
            jobs,
            changes,
            tracker,
            restarts,
            cgroup_root,
            pending: VecDeque::new(),
        };
        tokio::spawn(watch.run(connection, feed));

        Ok((systemd, receiver))
    }

    /// The units of instances that systemd has, and the drop-ins of those that
    /// it does not have: what a stop would find.
    pub(crate) async fn units(&self) -> Result<Vec<ListedUnit>, SystemdError> {
        let rows = bus::loaded_units(&self.connection()?)
            .await
            .map_err(|source| SystemdError::Call {
                what: "list units",
                source,
            })?;
        let mut units: Vec<_> = rows
            .into_iter()
            .map(|(id, row)| ListedUnit {
                id,
                state: tracker::unit_state(&row.3),
                restarting: row.4 == "auto-restart",
            })
            .collect();
        for id in self.files.found() {
            if !units.iter().any(|unit| unit.id == id) {
                units.push(ListedUnit {
                    id,
                    state: UnitState::Inactive,
                    restarting: false,
                });
            }
        }

        Ok(units)
    }

    fn connection(&self) -> Result<Connection, SystemdError> {
        self.connection
            .borrow()
            .clone()
            .ok_or(SystemdError::Disconnected)
    }

    fn jobs(&self) -> Result<broadcast::Receiver<JobEvent>, SystemdError> {
        let jobs = self.jobs.upgrade().ok_or(SystemdError::Disconnected)?;
        Ok(jobs.subscribe())
    }

    /// Removes what a stopped unit leaves.
    async fn clean(&self, id: InstanceId) -> Result<(), SystemdError> {
        let files = self.files.clone();
        let root = self.settings.cgroup_root.clone();
        let work = move || {
            cgroups::remove_leftovers(&root, &names::unit_cgroup(id));
            files.remove(id)
        };

        unit_files::blocking(work)
            .await
            .map_err(|source| SystemdError::UnitFile { id, source })
    }
}
