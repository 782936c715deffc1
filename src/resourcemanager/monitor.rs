//! The loop that measures.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tracing::{debug, warn};

use super::system::{Reading, System};
use super::usage::CpuHistory;
use crate::config::Config;
use crate::model::{
    Chain, NodeFacts, NodeMonitoring, Partition, PartitionUsage, Report, Traffic, Usage,
};

/// Questions that may wait for the loop before the caller has to.
const QUEUE: usize = 8;
const PROC: &str = "/proc";

#[derive(Debug)]
enum Question {
    Usage(oneshot::Sender<NodeMonitoring>),
    Alive(oneshot::Sender<()>),
}

enum Event {
    PollDue,
    SendDue,
    Asked(Question),
    Closed,
}

/// Handle of the node's resources.
#[derive(Clone, Debug)]
pub struct Resources {
    facts: Arc<NodeFacts>,
    questions: mpsc::Sender<Question>,
}

impl Resources {
    /// Takes the first reading. `traffic` is what others have counted.
    /// `reports` gets a [`Report::Monitoring`] each send period; one that finds
    /// it full is dropped.
    #[must_use]
    pub fn start(
        config: &Config,
        traffic: watch::Receiver<Traffic>,
        reports: mpsc::Sender<Report>,
    ) -> (Self, MonitorTask) {
        let system = System::new(PROC, config.monitoring.partitions.clone());
        Self::start_on(system, config, traffic, reports)
    }

    pub(super) fn start_on(
        system: System,
        config: &Config,
        traffic: watch::Receiver<Traffic>,
        reports: mpsc::Sender<Report>,
    ) -> (Self, MonitorTask) {
        let first = system.read();
        let facts = facts(&system, &first, config);
        let (questions, asked) = mpsc::channel(QUEUE);

        let mut task = MonitorTask {
            history: CpuHistory::new(first.cpu),
            latest: None,
            traffic,
            told: BTreeSet::new(),
            system: Arc::new(system),
            poll_period: config.monitoring.poll_period,
            send_period: config.monitoring.send_period,
            asked,
            reports,
        };
        task.tell_errors(&first);
        let handle = Self {
            facts: Arc::new(facts),
            questions,
        };

        (handle, task)
    }

    /// What the node has. Read once, at the start.
    #[must_use]
    pub fn node_facts(&self) -> NodeFacts {
        NodeFacts::clone(&self.facts)
    }

    /// What the node uses now. After the end of the loop: nothing.
    pub async fn node_monitoring(&self) -> NodeMonitoring {
        let (answer, usage) = oneshot::channel();
        let nothing = || NodeMonitoring {
            timestamp: SystemTime::now(),
            node: Usage::default(),
            instances: Vec::new(),
        };
        if self.questions.send(Question::Usage(answer)).await.is_err() {
            return nothing();
        }

        usage.await.unwrap_or_else(|_| nothing())
    }

    /// Returns when the loop has turned; never, when it has ended.
    pub async fn alive(&self) {
        let (answer, turned) = oneshot::channel();
        let asked = self.questions.send(Question::Alive(answer)).await;
        if asked.is_err() || turned.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The loop behind [`Resources`].
#[derive(Debug)]
pub struct MonitorTask {
    system: Arc<System>,
    history: CpuHistory,
    latest: Option<NodeMonitoring>,
    /// The bytes of today, as last counted.
    traffic: watch::Receiver<Traffic>,
    /// Errors that the log has.
    told: BTreeSet<String>,
    poll_period: Duration,
    send_period: Duration,
    asked: mpsc::Receiver<Question>,
    reports: mpsc::Sender<Report>,
}

impl MonitorTask {
    /// Measures until the last handle is gone.
    pub async fn run(mut self) {
        let mut poll = ticks(self.poll_period);
        let mut send = ticks(self.send_period);
        loop {
            // In this order, so that a send at the same moment has the new
            // figures.
            let event = tokio::select! {
                biased;
                _ = poll.tick() => Event::PollDue,
                _ = send.tick() => Event::SendDue,
                question = self.asked.recv() => match question {
                    Some(question) => Event::Asked(question),
                    None => Event::Closed,
                },
            };
            match event {
                Event::PollDue => self.poll().await,
                Event::SendDue => self.send().await,
                Event::Asked(Question::Usage(answer)) => {
                    let reading = self.read().await;
                    // Who asked may have gone away.
                    drop(answer.send(self.figures(&reading)));
                }
                Event::Asked(Question::Alive(answer)) => drop(answer.send(())),
                Event::Closed => return,
            }
        }
    }

    async fn poll(&mut self) {
        let reading = self.read().await;
        self.latest = Some(self.figures(&reading));
        self.history.push(reading.cpu);
    }

    async fn send(&mut self) {
        if self.latest.is_none() {
            self.poll().await;
        }
        let Some(latest) = self.latest.clone() else {
            return;
        };

        match self.reports.try_send(Report::Monitoring(latest)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => debug!("monitoring dropped: CM does not take it"),
            Err(TrySendError::Closed(_)) => debug!("monitoring dropped: nobody sends it"),
        }
    }

    /// Reads on a thread of its own: a file system may take its time.
    async fn read(&mut self) -> Reading {
        let system = Arc::clone(&self.system);
        let reading = match tokio::task::spawn_blocking(move || system.read()).await {
            Ok(reading) => reading,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only the end of the runtime takes the thread away, and this
                // loop with it.
                Err(_) => std::future::pending().await,
            },
        };
        self.tell_errors(&reading);

        reading
    }

    fn figures(&self, reading: &Reading) -> NodeMonitoring {
        let disks = self.system.partitions().iter().zip(&reading.spaces);
        let traffic = self.traffic.borrow().node;
        NodeMonitoring {
            timestamp: reading.time,
            node: Usage {
                ram: reading.ram.used,
                cpu: self.history.percent(reading.cpu),
                disks: disks
                    .map(|(partition, space)| PartitionUsage {
                        name: partition.name.clone(),
                        used_size: space.used,
                    })
                    .collect(),
                in_traffic: traffic.received,
                out_traffic: traffic.sent,
            },
            instances: Vec::new(),
        }
    }

    fn tell_errors(&mut self, reading: &Reading) {
        for error in &reading.errors {
            let text = Chain(error).to_string();
            if !self.told.contains(&text) {
                warn!(error = text, "cannot measure; counted as 0");
                self.told.insert(text);
            }
        }
    }
}

/// Ticks that start after one period. After a long sleep there is one tick, not
/// all that were missed.
fn ticks(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn facts(system: &System, reading: &Reading, config: &Config) -> NodeFacts {
    let partitions = system.partitions().iter().zip(&reading.spaces);
    NodeFacts {
        remote_node: config.remote_node,
        runner_features: config.runner_features.clone(),
        num_cpus: reading.cpus,
        total_ram: reading.ram.total,
        partitions: partitions
            .map(|(partition, space)| Partition {
                name: partition.name.clone(),
                types: partition.types.clone(),
                total_size: space.total,
            })
            .collect(),
    }
}
