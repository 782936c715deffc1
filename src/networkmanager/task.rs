//! The loop of the network manager.
//!
//! It owns the book. Changes of networks are made at once, so that they come
//! before any attach that was asked for later; attaching and detaching runs
//! beside the loop, for several instances at a time, and one instance's
//! commands keep their order.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::apply::Kernel;
use super::book::{Book, NetworkPlan};
use super::error::NetworkError;
use super::existing::Existing;
use super::handle::{Answer, AttachRequest, Attachment, Command, NetworkSettings, Networks};
use super::plan::{self, Seat};
use super::store::{self, Stored};
use crate::model::{Chain, InstanceId, NetworkParameters};
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
    /// Instances that a job works on.
    busy: BTreeSet<InstanceId>,
    /// Instances that wait for the next job that detaches.
    leaving: Vec<(InstanceId, Answer<()>)>,
    /// A job that detaches is under way.
    detaching: bool,
    /// Commands for busy instances.
    waiting: VecDeque<(InstanceId, Command)>,
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
    Attached(Seat, Answer<Attachment>, Result<Attachment, NetworkError>),
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
        let mut task = NetworkTask {
            commands,
            settings: Arc::new(settings),
            kernel,
            database,
            book: Book::restored(saved.clone(), &existing),
            saved,
            jobs: JoinSet::new(),
            busy: BTreeSet::new(),
            leaving: Vec::new(),
            detaching: false,
            waiting: VecDeque::new(),
            retry: None,
        };
        task.settle(&existing).await;

        Ok((Self::new(sender), task))
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
            // Those that leave together are detached together.
            if self.commands.is_empty() || !self.has_room() {
                self.detach_leaving();
            }
        }

        loop {
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
            Command::Attach(request, answer) => self.seat(*request, answer, |kernel, seat| {
                kernel.apply(&plan::attach(seat))
            }),
            Command::Adopt(request, answer) => self.seat(*request, answer, Kernel::check),
            Command::Detach(id, answer) => self.detach(id, answer),
            Command::Found(answer) => {
                let kernel = Arc::clone(&self.kernel);
                self.jobs
                    .spawn_blocking(move || Done::Found(answer, kernel.instances()));
            }
            Command::Alive(answer) => reply(answer, Ok(())),
        }
    }

    /// Books a seat, and has `work` see to it that the instance has it.
    fn seat(
        &mut self,
        request: AttachRequest,
        answer: Answer<Attachment>,
        work: impl FnOnce(&Kernel, &Seat) -> Result<(), NetworkError> + Send + 'static,
    ) {
        let seat = match self.book.take_seat(&request) {
            Ok(seat) => seat,
            Err(error) => return reply(answer, Err(error)),
        };

        debug!(instance_id = %seat.instance, service_id = %request.ident.service_id,
            subject_id = %request.ident.subject_id, index = request.ident.index, network = %seat.network,
            address = %seat.address, "instance gets its place in the network");
        self.busy.insert(seat.instance);
        let kernel = Arc::clone(&self.kernel);
        let settings = Arc::clone(&self.settings);
        self.jobs.spawn_blocking(move || {
            let outcome =
                work(&kernel, &seat).map(|()| kernel.attachment(&settings, &request, &seat));
            Done::Attached(seat, answer, outcome)
        });
    }

    fn detach(&mut self, instance: InstanceId, answer: Answer<()>) {
        debug!(instance_id = %instance, "instance leaves the network");
        self.busy.insert(instance);
        self.leaving.push((instance, answer));
    }

    /// Detaches all that wait for it in one job: the kernel takes as long for
    /// one as for many.
    fn detach_leaving(&mut self) {
        if self.detaching || self.leaving.is_empty() {
            return;
        }

        self.detaching = true;
        let (instances, answers): (Vec<_>, Vec<_>) = self.leaving.drain(..).unzip();
        let kernel = Arc::clone(&self.kernel);
        self.jobs.spawn_blocking(move || {
            let outcomes = kernel.detach(&instances);
            let outcomes = instances.into_iter().zip(answers).zip(outcomes);
            Done::Detached(
                outcomes
                    .map(|((instance, answer), outcome)| (instance, answer, outcome))
                    .collect(),
            )
        });
    }

    /// Takes an instance out of the book, and with the last one its network,
    /// when CM no longer wants that.
    async fn leave(&mut self, instance: InstanceId) {
        self.book.leave_seat(instance);
        let deserted = self.book.deserted();
        if deserted.is_empty() {
            return;
        }

        match survey(&self.kernel).await {
            Ok(existing) => {
                for network in deserted {
                    if let Some(plan) = self.book.plan(&network, &existing) {
                        self.carry_out(plan).await;
                    }
                }
                self.save().await;
            }
            Err(error) => self.refused(&error, "bridges are left"),
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
            Done::Attached(seat, answer, outcome) => {
                if outcome.is_err() {
                    self.leave(seat.instance).await;
                }
                reply(answer, outcome);
                self.next(seat.instance).await;
            }
            Done::Detached(outcomes) => {
                self.detaching = false;
                for (instance, answer, outcome) in outcomes {
                    // What could not be taken away keeps its address booked.
                    if outcome.is_ok() {
                        self.leave(instance).await;
                    }
                    reply(answer, outcome);
                    self.next(instance).await;
                }
            }
            Done::Found(answer, outcome) => reply(answer, outcome),
        }
    }

    /// After an error of the kernel, which may pass.
    fn refused(&mut self, error: &NetworkError, left: &'static str) {
        warn!(error = %Chain(error), "{left}");
        self.retry = Some(Instant::now() + RETRY);
    }

    async fn update(&mut self, networks: Vec<NetworkParameters>) {
        self.retry = None;
        match survey(&self.kernel).await {
            Ok(existing) => {
                self.book.update(networks, &existing);
                self.settle(&existing).await;
            }
            Err(error) => {
                self.refused(&error, "bridges are left as they are");
                self.book.update(networks, &Existing::default());
                self.save().await;
            }
        }
    }

    /// Makes the bridges what the book wants, and stores the book.
    async fn settle(&mut self, existing: &Existing) {
        for network in self.book.new_vlans() {
            warn!(%network, "VLAN is not supported yet: the network stays inside the node");
        }
        self.save().await;
        let plans = self.book.plans(existing);
        let created = plans.iter().any(NetworkPlan::creates);
        for plan in plans {
            self.carry_out(plan).await;
        }
        if created {
            self.rejoin().await;
        }
        for (network, fault) in self.book.faults() {
            warn!(%network, error = %Chain(fault), "network cannot be used");
        }
        self.save().await;
    }

    /// Connects running instances with bridges that were made anew.
    async fn rejoin(&mut self) {
        let outcome = match survey(&self.kernel).await {
            Ok(existing) => {
                let kernel = Arc::clone(&self.kernel);
                let operations = self.book.rejoins(&existing);
                blocking(move || kernel.apply_all(&operations)).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            self.refused(&error, "a running instance lost its network");
        }
    }

    async fn carry_out(&mut self, plan: NetworkPlan) {
        if plan.operations.is_empty() {
            return;
        }
        for operation in &plan.operations {
            info!(network = %plan.network, "{operation}");
        }

        let kernel = Arc::clone(&self.kernel);
        let operations = plan.operations.clone();
        let outcome = blocking(move || kernel.apply(&operations)).await;
        if outcome.is_err() {
            self.retry = Some(Instant::now() + RETRY);
        }
        self.book.planned(&plan, outcome.map_err(Arc::new));
    }

    async fn save(&mut self) {
        let networks = self.book.stored();
        if networks == self.saved {
            return;
        }
        match store::save(&self.database, networks.clone()).await {
            Ok(()) => self.saved = networks,
            // They are tried again with the next change.
            Err(error) => warn!(error = %Chain(&error), "networks cannot be stored"),
        }
    }
}

/// The instance whose commands this one must not overtake.
fn instance_of(command: &Command) -> Option<InstanceId> {
    match command {
        Command::Attach(request, _) | Command::Adopt(request, _) => Some(request.id),
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
