//! The loop of the network manager.
//!
//! It owns the book. Changes of networks are made at once, so before any attach that was
//! asked for later; attaching and detaching runs beside the loop, for several instances at
//! a time, and one instance's commands keep their order.

mod counting;
mod provide;
mod seats;
mod tell;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use self::seats::{Arrival, Guest};
use crate::model::{Backoff, InstanceId, NetworkId};
use crate::networkmanager::addresses::Subnet;
use crate::networkmanager::apply::{Counters, Events, Kernel, Tampering, Watch};
use crate::networkmanager::book::Book;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::existing::Existing;
use crate::networkmanager::firewall::BridgeRules;
use crate::networkmanager::handle::{Answer, Attachment, Command, NetworkSettings, Networks};
use crate::networkmanager::nameservice::{NameDirectory, NameFiles, Publisher};
use crate::networkmanager::store::{self, Stored};
use crate::networkmanager::traffic::{Moment, TrafficKeeper};
use crate::networkmanager::troubles::Troubles;
use crate::storage::Database;

/// Commands that may wait for the loop before a caller has to.
const QUEUE: usize = 64;
/// Instances that are worked on, or wait for their earlier command, at a time.
const JOBS: usize = 16;
/// Instances that wait to be taken over or detached at a time.
const TOGETHER: usize = 256;
/// How long to wait after something was changed or refused, until the machine
/// is looked at again: at first, and when that happens again and again.
const CALM: Backoff = Backoff::between(Duration::from_secs(1), Duration::from_secs(60));

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
    /// Instances that have their place.
    guests: BTreeMap<InstanceId, Guest>,
    names: NameDirectory,
    publisher: Publisher,
    /// The networks that firewall and name server know.
    told: BTreeMap<String, BridgeRules>,
    /// Why the firewall does not know the networks that are not in `told`.
    untold: Option<Arc<NetworkError>>,
    /// Running instances are being taken over.
    adopting: bool,
    /// Links of instances that were found and not yet taken over.
    found: BTreeMap<InstanceId, String>,
    /// Instances that a job works on.
    busy: BTreeSet<InstanceId>,
    /// They wait for the next job that looks at what they have.
    inheriting: Vec<Arrival>,
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
    keeper: TrafficKeeper,
    /// When the machine is looked at again: something was refused or has changed.
    retry: Option<Instant>,
    /// Changes of the machine do not count before: neither ours nor others keep us busy.
    calm_until: Option<Instant>,
    calm: Backoff,
    /// Whether the kernel was asked for a change since the last look.
    worked: bool,
    /// `None`: the kernel refused to tell of changes.
    events: Option<Events>,
    /// `None`: the kernel refused to tell of changes of the firewall.
    watch: Option<Watch>,
    troubles: Troubles,
}

enum Event {
    Command(Command),
    Done(Done),
    Changed(io::Result<()>),
    Tampered(io::Result<Tampering>),
    CountDue,
    RetryDue,
    AlertDue,
    InputsClosed,
}

/// A job has ended.
#[derive(Debug)]
enum Done {
    /// The insides of seats are made, or were there and were looked at.
    Prepared(Vec<(Arrival, Result<(), NetworkError>)>),
    Attached(Vec<(Arrival, Result<Attachment, NetworkError>)>),
    Changed(
        Box<Guest>,
        Answer<Attachment>,
        Result<Attachment, NetworkError>,
    ),
    Adopted(Answer<()>, Result<(), NetworkError>),
    Detached(
        Vec<(InstanceId, Answer<()>, Result<(), NetworkError>)>,
        Counters,
    ),
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
        let (keeper, traffic) =
            TrafficKeeper::load(database.clone(), settings.poll_period, Moment::now()).await?;
        let node = keeper.node();
        let (kernel, files, names) = blocking({
            let settings = settings.clone();
            move || {
                let kernel = Kernel::open(&settings.namespaces, settings.restrict_host, node)?;
                let (files, names) = NameFiles::open(&settings.names)?;
                Ok::<_, NetworkError>((Arc::new(kernel), files, names))
            }
        })
        .await?;
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
            guests: BTreeMap::new(),
            names: NameDirectory::inherited(names),
            publisher: Publisher::new(files),
            told: BTreeMap::new(),
            untold: None,
            // After a boot there is nobody to wait for.
            adopting: existing.host_ends().next().is_some(),
            found: existing
                .host_ends()
                .map(|(instance, name)| (instance, name.to_owned()))
                .collect(),
            busy: BTreeSet::new(),
            inheriting: Vec::new(),
            arriving: Vec::new(),
            connecting: false,
            leaving: Vec::new(),
            detaching: false,
            waiting: VecDeque::new(),
            usable: Vec::new(),
            changes,
            retry: None,
            keeper,
            calm_until: None,
            calm: CALM,
            worked: false,
            events: None,
            watch: None,
            troubles: Troubles::default(),
        };
        if !task.adopting {
            task.forget_names();
        }
        // Before the first look, so that nothing is missed between the two.
        task.listen();
        task.watch_firewall();
        let existing = survey(&task.kernel).await?;
        task.settle(&existing).await;
        task.calm_down();
        task.usable = task.book.usable();

        Ok((Self::new(sender, changed, traffic), task))
    }
}

impl NetworkTask {
    /// Runs the loop.
    pub async fn run(mut self) {
        loop {
            let room = self.has_room();
            let retry = self.retry.unwrap_or_else(Instant::now);
            let alert = self.troubles.due();
            // Every branch only waits.
            let event = tokio::select! {
                command = self.commands.recv(), if room => match command {
                    Some(command) => Event::Command(command),
                    None => Event::InputsClosed,
                },
                Some(done) = self.jobs.join_next() => Event::Done(ended(done)),
                () = sleep_until(retry), if self.retry.is_some() => Event::RetryDue,
                changed = next(self.events.as_mut()), if self.events.is_some() => {
                    Event::Changed(changed)
                }
                () = sleep_until(self.keeper.next_due()), if self.can_count() => Event::CountDue,
                tampered = next_tampering(self.watch.as_mut()), if self.watch.is_some() => {
                    Event::Tampered(tampered)
                }
                () = sleep_until(alert.unwrap_or(retry)), if alert.is_some() => Event::AlertDue,
            };
            match event {
                Event::Command(command) => self.command(command).await,
                Event::Done(done) => self.done(done).await,
                Event::Changed(outcome) => self.machine_changed(outcome).await,
                Event::Tampered(outcome) => self.tampered(outcome).await,
                Event::CountDue => self.count().await,
                Event::RetryDue => self.look().await,
                Event::AlertDue => self.tell(),
                Event::InputsClosed => break,
            }
            self.tell_changes();
            // Those that come or leave together are worked on together.
            self.connect_arriving();
            if self.commands.is_empty() || !self.has_room() {
                self.check_inheriting();
                self.detach_leaving();
            }
        }

        loop {
            self.check_inheriting();
            self.connect_arriving();
            self.detach_leaving();
            let Some(done) = self.jobs.join_next().await else {
                return self.close().await;
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
            Command::Adopted(answer) => {
                self.all_adopted();
                let kernel = Arc::clone(&self.kernel);
                self.jobs
                    .spawn_blocking(move || Done::Adopted(answer, kernel.admit(Vec::new())));
            }
            Command::Overview(answer) => reply(answer, Ok(self.book.overview())),
            Command::Alive(answer) => reply(answer, Ok(())),
        }
    }

    /// Who runs and was not taken over by now has no names any more.
    fn all_adopted(&mut self) {
        if std::mem::replace(&mut self.adopting, false) {
            self.forget_names();
        }
    }

    fn forget_names(&mut self) {
        let networks = self.book.networks().cloned().collect();
        let guests = self.guests.keys().chain(&self.busy).copied().collect();
        self.names.keep_only(&networks, &guests);
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
        self.jobs.len() + self.waiting.len() < JOBS
            && self.inheriting.len() + self.leaving.len() < TOGETHER
    }

    async fn done(&mut self, done: Done) {
        match done {
            Done::Prepared(outcomes) => self.prepared(outcomes).await,
            Done::Attached(outcomes) => {
                self.connecting = false;
                for (arrival, outcome) in outcomes {
                    self.attached(arrival, outcome).await;
                }
            }
            Done::Changed(guest, answer, outcome) => self.changed(guest, answer, outcome).await,
            Done::Detached(outcomes, last) => self.detached(outcomes, &last).await,
            Done::Adopted(answer, outcome) => reply(answer, outcome),
            Done::Found(answer, outcome) => reply(answer, outcome),
        }
    }
}

/// What changes next. For ever nothing, if nobody tells.
async fn next(events: Option<&mut Events>) -> io::Result<()> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

async fn next_tampering(watch: Option<&mut Watch>) -> io::Result<Tampering> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// The instance whose commands this one must not overtake.
fn instance_of(command: &Command) -> Option<InstanceId> {
    match command {
        Command::Attach(request, _) | Command::Adopt(request, _) | Command::Change(request, _) => {
            Some(request.id)
        }
        Command::Detach(id, _) => Some(*id),
        Command::Update(_)
        | Command::Adopted(_)
        | Command::Found(_)
        | Command::Overview(_)
        | Command::Alive(_) => None,
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
