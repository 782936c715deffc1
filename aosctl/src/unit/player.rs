//! The one owner of what goes on in a unit: obeys commands in order, answers
//! SM as CM would, prints each event.
//!
//! A command that has to wait is `pending`; the next one is taken when it is
//! done. Events are handled meanwhile.

use std::collections::VecDeque;
use std::future;
use std::io;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::cm::PeerEvent;
use super::event::{Event, Stamp};
use super::known::{Goal, Known};
use super::links::{Links, Verdict};
use super::print::Printer;
use super::script::{self, Command, Parts, Source};
use super::state_file::DesiredState;
use crate::wire::sm::sm_incoming_messages::SmIncomingMessage;
use crate::wire::sm::sm_outgoing_messages::SmOutgoingMessage;
use crate::wire::sm::{ConnectionEnum, ConnectionStatus, SmOutgoingMessages};

/// How long the last messages may take to leave, at the end.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// Exit codes; a wrong command ends as a wrong command line does.
pub(crate) const DONE: u8 = 0;
pub(crate) const FAILED: u8 = 1;
pub(crate) const WRONG_USE: u8 = 2;
pub(crate) const TIMED_OUT: u8 = 3;

/// How the player behaves.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// The only node that may register.
    pub(crate) node: Option<String>,
    /// Send a state without waiting for the first status.
    pub(crate) eager: bool,
    /// Go on after a failure.
    pub(crate) keep_going: bool,
    /// Leave when there are no more commands.
    pub(crate) until_eof: bool,
    /// Limit of a wait that has none of its own.
    pub(crate) limit: Option<Duration>,
}

/// A command from outside, as it was written or ready-made.
#[derive(Debug)]
pub(crate) enum Order {
    Line(String),
    /// A ready-made command, which waits without limit.
    Patient(Command),
}

#[derive(Debug)]
struct Pending {
    goal: Goal,
    deadline: Option<Instant>,
    /// To be sent when the goal is reached. Empty: a wait.
    messages: Vec<SmIncomingMessage>,
}

/// See the module.
pub(crate) struct Player {
    manners: Manners,
    events: mpsc::Receiver<(Stamp, PeerEvent)>,
    /// `None` after its end.
    orders: Option<mpsc::Receiver<Order>>,
    queue: VecDeque<Order>,
    pending: Option<Pending>,
    links: Links,
    known: Known,
    cloud: bool,
    printer: Printer,
    /// Of the first failure.
    code: u8,
    is_done: bool,
}

enum Input {
    Peer(Stamp, PeerEvent),
    Order(Option<Order>),
    TimedOut,
}

impl Player {
    pub(crate) fn new(
        manners: Manners,
        first: Vec<Order>,
        orders: mpsc::Receiver<Order>,
        events: mpsc::Receiver<(Stamp, PeerEvent)>,
        printer: Printer,
    ) -> Self {
        Self {
            links: Links::new(manners.node.clone()),
            manners,
            events,
            orders: Some(orders),
            queue: first.into(),
            pending: None,
            known: Known::default(),
            cloud: true,
            printer,
            code: DONE,
            is_done: false,
        }
    }

    /// Obeys until the end; returns the exit code. An error is one of output.
    pub(crate) async fn run(&mut self) -> io::Result<u8> {
        loop {
            self.advance()?;
            if self.is_done {
                return Ok(self.code);
            }
            let deadline = self.pending.as_ref().and_then(|pending| pending.deadline);
            let input = tokio::select! {
                event = self.events.recv() => match event {
                    Some((at, event)) => Input::Peer(at, event),
                    None => return Ok(self.code),
                },
                order = next(self.orders.as_mut()), if self.pending.is_none() => {
                    Input::Order(order)
                }
                () = reach(deadline) => Input::TimedOut,
            };
            match input {
                Input::Peer(at, event) => self.on_event(at, event)?,
                Input::Order(Some(order)) => self.queue.push_back(order),
                Input::Order(None) => self.orders = None,
                Input::TimedOut => self.on_time_out()?,
            }
        }
    }

    /// The exit code as it stands.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// What SM has told so far.
    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// What the command in progress waits for.
    pub(crate) fn waits_for(&self) -> Option<&Goal> {
        self.pending.as_ref().map(|pending| &pending.goal)
    }

    pub(crate) fn printer(&mut self) -> &mut Printer {
        &mut self.printer
    }

    /// Ends the streams, so that what was sent last still arrives.
    pub(crate) async fn leave(&mut self) -> io::Result<()> {
        if !self.links.end() {
            return Ok(());
        }
        let closed = async {
            while let Some((at, event)) = self.events.recv().await {
                if let PeerEvent::Closed { reason, .. } = event {
                    return self.printer.print(at, &Event::Disconnected { reason });
                }
            }
            Ok(())
        };
        timeout(LEAVE_LIMIT, closed).await.unwrap_or(Ok(()))
    }

    /// Carries out commands until one has to wait.
    fn advance(&mut self) -> io::Result<()> {
        while !self.is_done {
            if let Some(pending) = &self.pending {
                if !self.known.reached(&pending.goal) {
                    return Ok(());
                }
                self.finish_pending()?;
            } else if let Some(order) = self.queue.pop_front() {
                self.obey(order)?;
            } else {
                self.is_done = self.orders.is_none() && self.manners.until_eof;
                return Ok(());
            }
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) -> io::Result<()> {
        let (command, limit) = match order {
            Order::Patient(command) => (command, None),
            Order::Line(line) => match script::parse(&line) {
                Ok(Some(command)) => (command, self.manners.limit),
                Ok(None) => return Ok(()),
                Err(error) => return self.fail(WRONG_USE, error.into()),
            },
        };
        match command {
            Command::Deploy { source, parts } => {
                let goal = if self.manners.eager {
                    Goal::Registered
                } else {
                    Goal::InService
                };
                match load(&source, parts) {
                    Ok(messages) => self.wait(goal, limit, messages),
                    Err(error) => return self.fail(FAILED, error),
                }
            }
            Command::Request(request) => self.wait(Goal::Registered, limit, vec![request]),
            Command::Wait { goal, limit: own } => self.wait(goal, own.or(limit), Vec::new()),
            Command::Cloud(is_on) => {
                self.cloud = is_on;
                if self.known.reached(&Goal::Registered) {
                    self.send(self.connection_status())?;
                }
            }
            Command::Drop => {
                self.links.cut();
                // At once: what SM has told counts no longer.
                self.known.disconnected();
            }
            Command::Quit => self.is_done = true,
        }
        Ok(())
    }

    fn wait(&mut self, goal: Goal, limit: Option<Duration>, messages: Vec<SmIncomingMessage>) {
        self.pending = Some(Pending {
            goal,
            deadline: limit.map(|limit| Instant::now() + limit),
            messages,
        });
    }

    fn finish_pending(&mut self) -> io::Result<()> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        if pending.messages.is_empty() {
            let what = pending.goal.describe();
            return self.printer.print(Stamp::now(), &Event::Waited { what });
        }
        for message in pending.messages {
            self.send(message)?;
        }
        Ok(())
    }

    fn send(&mut self, message: SmIncomingMessage) -> io::Result<()> {
        if let SmIncomingMessage::RunInstances(run) = &message {
            self.known.run_sent(run);
        }
        let event = Event::sent(&message);
        let now = Stamp::now();
        match self.links.send(message) {
            Ok(()) => self.printer.print(now, &event),
            Err(error) => self.fail(FAILED, error.into()),
        }
    }

    fn connection_status(&self) -> SmIncomingMessage {
        let status = if self.cloud {
            ConnectionEnum::Connected
        } else {
            ConnectionEnum::Disconnected
        };
        SmIncomingMessage::ConnectionStatus(ConnectionStatus {
            cloud_status: status.into(),
        })
    }

    fn on_event(&mut self, at: Stamp, event: PeerEvent) -> io::Result<()> {
        match event {
            PeerEvent::Accepted { peer, cut } => self.links.accepted(peer, cut),
            PeerEvent::Opened {
                stream,
                peer,
                outgoing,
            } => {
                self.links.opened(stream, peer, outgoing);
                let peer = self.links.peer(stream);
                self.printer.print(at, &Event::Connected { peer })?;
            }
            PeerEvent::Message { stream, message } => self.on_message(at, stream, message)?,
            PeerEvent::Closed { stream, reason } => {
                if self.links.is_registered(stream) {
                    self.known.disconnected();
                }
                if self.links.closed(stream) {
                    self.printer.print(at, &Event::Disconnected { reason })?;
                }
            }
            PeerEvent::Iam(call) => self.printer.print(at, &Event::Iam(call))?,
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        at: Stamp,
        stream: u64,
        message: SmOutgoingMessages,
    ) -> io::Result<()> {
        let peer = self.links.peer(stream);
        let message = message.sm_outgoing_message;
        let verdict = self.links.judge(stream, message.as_ref());
        match verdict {
            Verdict::Registered => {
                self.tell(at, message)?;
                self.send(self.connection_status())
            }
            Verdict::Accepted => self.tell(at, message),
            Verdict::Refused(reason) => self.printer.print(at, &Event::Refused { peer, reason }),
            Verdict::Ignored => Ok(()),
        }
    }

    fn tell(&mut self, at: Stamp, message: Option<SmOutgoingMessage>) -> io::Result<()> {
        let Some(message) = message else {
            return Ok(());
        };
        self.known.told(&message);
        self.printer.print(at, &Event::Message(message))
    }

    fn on_time_out(&mut self) -> io::Result<()> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let error = anyhow::anyhow!(
            "timed out waiting for {}; last known: {}",
            pending.goal.describe(),
            self.known.describe()
        );
        self.fail(TIMED_OUT, error)
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers make it for us")]
    fn fail(&mut self, code: u8, error: anyhow::Error) -> io::Result<()> {
        if self.code == DONE {
            self.code = code;
        }
        self.is_done = !self.manners.keep_going;
        let error = format!("{error:#}");
        self.printer.print(Stamp::now(), &Event::Failed { error })
    }
}

fn load(source: &Source, parts: Parts) -> anyhow::Result<Vec<SmIncomingMessage>> {
    let mut state = match source {
        Source::File(path) => DesiredState::load(path)?,
        Source::Empty => DesiredState::default(),
    };
    let mut messages = Vec::new();
    if parts.networks {
        messages.push(SmIncomingMessage::UpdateNetworks(state.networks));
    }
    if parts.instances {
        state.run.force_restart = parts.force_restart;
        messages.push(SmIncomingMessage::RunInstances(state.run));
    }
    Ok(messages)
}

/// The next order, or `None` at the end; never, after the end.
async fn next(orders: Option<&mut mpsc::Receiver<Order>>) -> Option<Order> {
    match orders {
        Some(orders) => orders.recv().await,
        None => future::pending().await,
    }
}

async fn reach(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => future::pending().await,
    }
}
