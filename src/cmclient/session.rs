//! The loop that keeps a session with CM up.

use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tracing::{debug, info};

use super::connection::{Connection, ConnectionEvent};
use super::outbox::{Outbox, State};
use super::v3;
use super::v3::proto::SmIncomingMessages;
use super::{CmError, CmInputs, CmSettings};
use crate::model::{Backoff, PeerState, Report, Request};
use crate::peer::{Standing, Troubles};

/// How long a connection that is no longer wanted may take to end: as long as
/// CM waits for an answer.
const CHANGE_FAREWELL: Duration = Duration::from_secs(5);
/// The same when the daemon ends.
const END_FAREWELL: Duration = Duration::from_secs(1);

/// Where the session stands.
enum Link {
    /// For IAM to tell who we are.
    Waiting,
    /// Until the next try.
    Delayed(Instant),
    Dialing(Dialing),
    Up(Box<Connection>),
}

type Dialing = Pin<Box<dyn Future<Output = Result<Box<Connection>, CmError>> + Send>>;

enum LinkEvent {
    DialDue,
    Dialed(Result<Box<Connection>, CmError>),
    Connection(ConnectionEvent),
}

enum Event {
    Report(Report),
    ReportsClosed,
    Status,
    /// Certificate or node name.
    Identity,
    /// The parked request has been taken.
    Unparked,
    Link(LinkEvent),
}

/// The session with CM.
pub struct CmClient {
    settings: CmSettings,
    inputs: CmInputs,
    requests: mpsc::Sender<Request>,
    outbox: Outbox,
    link: Link,
    backoff: Backoff,
    troubles: Troubles,
    standing: Standing,
    /// Read from CM while `requests` was full. It outlives the connection: a
    /// desired state that came counts.
    parked: Option<Request>,
    /// Whether CM has said something on this connection.
    heard: bool,
    ending: bool,
}

impl fmt::Debug for CmClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CmClient")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl CmClient {
    /// A session that passes what CM asks to `requests`.
    #[must_use]
    pub fn new(
        settings: CmSettings,
        mut inputs: CmInputs,
        requests: mpsc::Sender<Request>,
    ) -> Self {
        let status = inputs.status.borrow_and_update().clone();

        Self {
            settings,
            inputs,
            requests,
            outbox: Outbox::new(status),
            link: Link::Waiting,
            backoff: Backoff::default(),
            troubles: Troubles::with("CM"),
            standing: Standing::default(),
            parked: None,
            heard: false,
            ending: false,
        }
    }

    /// How we stand with CM.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<PeerState> {
        self.standing.watch()
    }

    /// Runs until the reports are closed. No trouble with CM ends it.
    pub async fn run(mut self) {
        self.dial();
        if matches!(self.link, Link::Waiting) {
            info!("waiting for IAM before connecting to CM");
        }

        loop {
            let may_write = self.has_message();
            let may_read = self.parked.is_none();
            let event = tokio::select! {
                report = self.inputs.reports.recv(), if !self.ending => {
                    report.map_or(Event::ReportsClosed, Event::Report)
                }
                () = changed(&mut self.inputs.status) => Event::Status,
                () = changed(&mut self.inputs.identity) => Event::Identity,
                () = changed(&mut self.inputs.node_info) => Event::Identity,
                () = room(&self.requests), if self.parked.is_some() => Event::Unparked,
                event = self.link.next(may_read, may_write) => Event::Link(event),
            };
            if self.handle(event).is_break() {
                return;
            }
        }
    }

    fn handle(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Report(report) => {
                if let Some(dropped) = self.outbox.push(report) {
                    debug!(?dropped, "report dropped");
                }
            }
            Event::Status => {
                let status = self.inputs.status.borrow_and_update().clone();
                self.outbox.set_status(status);
            }
            Event::Identity => self.identity_changed(),
            Event::Unparked => {
                if let Some(request) = self.parked.take() {
                    self.forward(request);
                }
            }
            Event::ReportsClosed => {
                self.ending = true;
                let Link::Up(connection) = &mut self.link else {
                    return ControlFlow::Break(());
                };
                connection.retire(Instant::now() + END_FAREWELL);
            }
            Event::Link(LinkEvent::DialDue) => self.dial(),
            Event::Link(LinkEvent::Dialed(Ok(connection))) => {
                debug!(cm = self.settings.url, "stream to CM is open");
                self.heard = false;
                self.outbox.connected();
                self.link = Link::Up(connection);
            }
            Event::Link(LinkEvent::Dialed(Err(error))) => self.retry_after(&error),
            Event::Link(LinkEvent::Connection(event)) => {
                if self.on_connection(event).is_break() {
                    return ControlFlow::Break(());
                }
            }
        }
        self.close_when_done();

        ControlFlow::Continue(())
    }

    fn on_connection(&mut self, event: ConnectionEvent) -> ControlFlow<()> {
        match event {
            ConnectionEvent::Message(message) => {
                if !self.heard {
                    self.heard = true;
                    info!(cm = self.settings.url, "registered with CM");
                    self.troubles.over();
                    self.standing.connected();
                }
                self.read(message);
            }
            ConnectionEvent::Writable => self.write(),
            ConnectionEvent::Ready => {}
            ConnectionEvent::Over(status) => return self.over(status),
            ConnectionEvent::FarewellOver => return self.over(None),
        }

        ControlFlow::Continue(())
    }

    /// Passes a message on. Nothing is awaited here, so that no request waits
    /// for another.
    fn read(&mut self, message: SmIncomingMessages) {
        let Link::Up(connection) = &mut self.link else {
            return;
        };

        match connection.request(v3::decode(message)) {
            Ok(request) => {
                if matches!(request, Request::RunInstances(_)) {
                    self.outbox.run_requested();
                }
                self.forward(request);
            }
            Err(name) => debug!(name, "message of CM ignored"),
        }
    }

    fn forward(&mut self, request: Request) {
        match self.requests.try_send(request) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(request)) => self.parked = Some(request),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                debug!("request of CM dropped: the daemon ends");
            }
        }
    }

    fn has_message(&self) -> bool {
        self.outbox.has_state()
            || self.outbox.has_report()
            || matches!(&self.link, Link::Up(connection) if connection.has_message())
    }

    /// Sends the most urgent message.
    fn write(&mut self) {
        let Link::Up(connection) = &mut self.link else {
            return;
        };

        let message = if let Some(state) = self.outbox.next_state() {
            Some(match state {
                State::NodeConfiguration => {
                    v3::node_configuration(connection.node(), &self.inputs.facts)
                }
                State::Run(all) => v3::run_instances_status(all),
                State::Update(changed) => v3::update_instances_status(changed),
            })
        } else if let Some(answer) = connection.next_answer() {
            Some(answer)
        } else if let Some(report) = self.outbox.next_report() {
            Some(match report {
                Report::Alert(alert) => v3::alert(alert),
                Report::Monitoring(sample) => v3::node_monitoring(sample),
            })
        } else {
            connection.next_log_part()
        };

        if let Some(message) = message {
            connection.send(message);
        }
    }

    /// Connects at once, if IAM has told who we are.
    fn dial(&mut self) {
        let identity = self.inputs.identity.borrow_and_update().clone();
        let node = self.inputs.node_info.borrow_and_update().clone();
        self.standing.trying();

        self.link = match (identity, node) {
            (Some(identity), Some(node)) => Link::Dialing(Box::pin(Connection::open(
                self.settings.clone(),
                identity,
                node,
            ))),
            _ => Link::Waiting,
        };
    }

    fn identity_changed(&mut self) {
        match &mut self.link {
            // CM takes no second stream of a node: the old one ends first.
            Link::Up(connection) => connection.retire(Instant::now() + CHANGE_FAREWELL),
            Link::Waiting | Link::Delayed(_) | Link::Dialing(_) => self.dial(),
        }
        self.inputs.identity.mark_unchanged();
        self.inputs.node_info.mark_unchanged();
    }

    /// Ends a connection that is no longer wanted, once CM has what it waits
    /// for.
    fn close_when_done(&mut self) {
        let Link::Up(connection) = &mut self.link else {
            return;
        };

        let untold = self.outbox.has_state() || (self.ending && self.outbox.has_report());
        if connection.is_retiring() && connection.is_idle() && !untold {
            connection.close();
        }
    }

    fn over(&mut self, status: Option<Status>) -> ControlFlow<()> {
        let Link::Up(connection) = &self.link else {
            return ControlFlow::Continue(());
        };
        let wanted = connection.is_retiring();
        let lived = connection.since().elapsed() >= Backoff::MAX;

        self.outbox.disconnected();
        if self.ending {
            return ControlFlow::Break(());
        }
        if lived {
            self.backoff.reset();
        }
        if wanted {
            self.standing.parted();
            self.dial();
        } else {
            let error = status.map_or(CmError::Ended, |status| CmError::Broken(status.into()));
            self.retry_after(&error);
        }

        ControlFlow::Continue(())
    }

    fn retry_after(&mut self, error: &CmError) {
        self.troubles.failed(error);
        let delay = self.backoff.delay(fastrand::f64());
        self.standing.failed(error, delay);
        debug!(?delay, "next try to connect to CM");
        self.link = Link::Delayed(Instant::now() + delay);
    }
}

impl Link {
    /// Waits for the next event. Nothing is lost when the wait is given up.
    async fn next(&mut self, may_read: bool, may_write: bool) -> LinkEvent {
        match self {
            Self::Waiting => std::future::pending().await,
            Self::Delayed(until) => {
                sleep_until(*until).await;
                LinkEvent::DialDue
            }
            Self::Dialing(dialing) => LinkEvent::Dialed(dialing.await),
            Self::Up(connection) => {
                LinkEvent::Connection(connection.next(may_read, may_write).await)
            }
        }
    }
}

/// Waits for a new value; for ever when there will be none.
async fn changed<T>(value: &mut watch::Receiver<T>) {
    if value.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits for room; a closed queue has room for what is dropped anyway.
async fn room(requests: &mpsc::Sender<Request>) {
    drop(requests.reserve().await);
}
