//! The loop of the network manager.
//!
//! It owns the book. Changes of networks are made at once, so that they come
//! before any attach that was asked for later; attaching and detaching runs
//! beside the loop, for several instances at a time, and one instance's
//! commands keep their order.

mod provide;
mod seats;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use self::seats::Arrival;
use crate::model::{InstanceId, NetworkId};
use crate::networkmanager::addresses::Subnet;
use crate::networkmanager::apply::Kernel;
use crate::networkmanager::book::Book;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::existing::Existing;
use crate::networkmanager::handle::{Answer, Attachment, Command, NetworkSettings, Networks};
use crate::networkmanager::store::{self, Stored};
use crate::storage::Database;

/// Commands that may wait for the loop before a caller has to.
const QUEUE: usize = 64;
/// Instances that are worked on, or wait for their earlier command, at a time.
const JOBS: usize = 16;
/// Instances that wait to be detached at a time.
const LEAVING: usize = 256;
/// How long to wait after the kernel refused something of a bridge.
const RETRY: Duration = Duration::from_secs(2);

/// The loop. Ends when the last [`Networks`] is gone and what was begun is done.
#[derive(Debug)]
pub struct NetworkTask {
    commands: mpsc::Receiver<Command>,
    settings: Arc<NetworkSettings>,
    kernel: Arc<Kernel>,
    database: Database,
    book: Book,
    saved: Vec<Stored>,
    jobs: JoinSet<Done>,
    /// Names of the links of instances that were found and not yet taken over.
    found: BTreeMap<InstanceId, String>,
    /// Instances that a job works on.
    busy: BTreeSet<InstanceId>,
    /// Instances that wait for the next job that connects.
    arriving: Vec<Arrival>,
    /// A job that connects is under way.
    connecting: bool,
    /// Instances that wait for the next job that detaches.
    leaving: Vec<(InstanceId, Answer<()>)>,
    /// A job that detaches is under way.
    detaching: bool,
    /// Commands for busy instances.
    waiting: VecDeque<(InstanceId, Command)>,
    /// The networks that could be used when `changes` was last raised.
    usable: Vec<(NetworkId, Subnet, Ipv4Addr)>,
    changes: watch::Sender<u64>,
    /// When bridges that the kernel refused are tried again.
    retry: Option<Instant>,
}

enum Event {
    Command(Command),
    Done(Done),
    RetryDue,
    InputsClosed,
}

/// A job has ended.
#[derive(Debug)]
enum Done {
    /// The inside of a seat is made.
    Prepared(Arrival, Result<(), NetworkError>),
    Attached(Vec<(Arrival, Result<Attachment, NetworkError>)>),
    Detached(Vec<(InstanceId, Answer<()>, Result<(), NetworkError>)>),
    Found(
        Answer<Vec<InstanceId>>,
        Result<Vec<InstanceId>, NetworkError>,
    ),
}

impl Networks {
    /// Restores the stored networks and gives the handle and the loop. Links of
    /// instances are left alone until they are adopted or detached.
    ///
    /// The network namespace of the calling thread is the host's.
    pub async fn start(
        database: Database,
        settings: NetworkSettings,
    ) -> Result<(Self, NetworkTask), NetworkError> {
        let saved = store::load(&database).await?;
        let directory = settings.namespaces.clone();
        let kernel = Arc::new(blocking(move || Kernel::open(&directory)).await?);
        let existing = survey(&kernel).await?;

        let (sender, commands) = mpsc::channel(QUEUE);
        let (changes, changed) = watch::channel(0);
        let mut task = NetworkTask {
            commands,
            settings: Arc::new(settings),
            kernel,
            database,
            book: Book::restored(saved.clone(), &existing),
            saved,
            jobs: JoinSet::new(),
            found: existing
                .host_ends()
                .map(|(instance, name)| (instance, name.to_owned()))
                .collect(),
            busy: BTreeSet::new(),
            arriving: Vec::new(),
            connecting: false,
            leaving: Vec::new(),
            detaching: false,
            waiting: VecDeque::new(),
            usable: Vec::new(),
            changes,
            retry: None,
        };
        task.settle(&existing).await;
        task.usable = task.book.usable();

        Ok((Self::new(sender, changed), task))
    }
}

impl NetworkTask {
    /// Runs the loop.
    pub async fn run(mut self) {
        loop {
            let room = self.has_room();
            let retry = self.retry.unwrap_or_else(Instant::now);
            // Every branch only waits.
            let event = tokio::select! {
                command = self.commands.recv(), if room => match command {
                    Some(command) => Event::Command(command),
                    None => Event::InputsClosed,
                },
                Some(done) = self.jobs.join_next() => Event::Done(ended(done)),
                () = sleep_until(retry), if self.retry.is_some() => Event::RetryDue,
            };
            match event {
                Event::Command(command) => self.command(command).await,
                Event::Done(done) => self.done(done).await,
                Event::RetryDue => self.update(self.book.wanted()).await,
                Event::InputsClosed => break,
            }
            self.tell_changes();
            // Those that come or leave together are worked on together.
            self.connect_arriving();
            if self.commands.is_empty() || !self.has_room() {
                self.detach_leaving();
            }
        }

        loop {
            self.connect_arriving();
            self.detach_leaving();
            let Some(done) = self.jobs.join_next().await else {
                return;
            };
            self.done(ended(done)).await;
        }
    }

    async fn command(&mut self, command: Command) {
        if let Some(id) = instance_of(&command)
            && self.busy.contains(&id)
        {
            self.waiting.push_back((id, command));
            return;
        }

        match command {
            Command::Update(networks) => self.update(networks).await,
            Command::Attach(request, answer) => self.attach(*request, answer),
            Command::Adopt(request, answer) => self.adopt(*request, answer),
            Command::Change(request, answer) => self.change(*request, answer),
            Command::Detach(id, answer) => self.detach(id, answer),
            Command::Found(answer) => {
                let kernel = Arc::clone(&self.kernel);
                self.jobs
                    .spawn_blocking(move || Done::Found(answer, kernel.instances()));
            }
            Command::Alive(answer) => reply(answer, Ok(())),
        }
    }

    fn tell_changes(&mut self) {
        let usable = self.book.usable();
        if usable != self.usable {
            self.usable = usable;
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// Takes up what waited for the instance's last job.
    async fn next(&mut self, instance: InstanceId) {
        self.busy.remove(&instance);
        while !self.busy.contains(&instance) {
            let waiting = self.waiting.iter().position(|(id, _)| *id == instance);
            let Some((_, command)) = waiting.and_then(|index| self.waiting.remove(index)) else {
                return;
            };
            self.command(command).await;
        }
    }

    /// Whether one more command can be taken. When not, a job is under way.
    fn has_room(&self) -> bool {
        self.jobs.len() + self.waiting.len() < JOBS && self.leaving.len() < LEAVING
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Prepared(arrival, outcome) => self.prepared(arrival, outcome).await,
            Done::Attached(outcomes) => {
                self.connecting = false;
                for (arrival, outcome) in outcomes {
                    self.attached(arrival, outcome).await;
                }
            }
            Done::Detached(outcomes) => {
                self.detaching = false;
                for (instance, answer, outcome) in outcomes {
                    // What could not be taken away keeps its address booked.
                    if outcome.is_ok() {
                        self.found.remove(&instance);
                        self.leave(instance).await;
                    }
                    reply(answer, outcome);
                    self.next(instance).await;
                }
            }
            Done::Found(answer, outcome) => reply(answer, outcome),
        }
    }
}

/// The instance whose commands this one must not overtake.
fn instance_of(command: &Command) -> Option<InstanceId> {
    match command {
        Command::Attach(request, _) | Command::Adopt(request, _) | Command::Change(request, _) => {
            Some(request.id)
        }
        Command::Detach(id, _) => Some(*id),
        Command::Update(_) | Command::Found(_) | Command::Alive(_) => None,
    }
}

fn reply<T>(answer: Answer<T>, outcome: Result<T, NetworkError>) {
    // A caller that has gone away finds out by `found` and `detach`.
    drop(answer.send(outcome));
}

async fn survey(kernel: &Arc<Kernel>) -> Result<Existing, NetworkError> {
    let kernel = Arc::clone(kernel);
    blocking(move || kernel.survey()).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    ended(spawn_blocking(work).await)
}

/// What a job returned. A panic of it is passed on.
fn ended<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
