//! The handle of the network manager, and what it takes and gives.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::error::NetworkError;
use crate::model::{
    InstanceId, InstanceIdent, NetworkId, NetworkOverview, NetworkParameters, ProviderId, Report,
    Traffic,
};

/// What the network manager is told once.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    /// Hosts that every instance knows, from the configuration.
    pub hosts: Vec<(IpAddr, String)>,
    /// Directory of named network namespaces.
    pub namespaces: PathBuf,
    /// Directory of the files that the name server reads.
    pub names: PathBuf,
    /// Instances reach nothing of the host but its name server.
    pub restrict_host: bool,
    /// Between two readings of the traffic; at most a minute counts.
    pub poll_period: Duration,
    /// Takes alerts. `None`: they are only logged.
    pub reports: Option<mpsc::Sender<Report>>,
}

impl Default for NetworkSettings {
    /// The usual places, and no hosts.
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            namespaces: "/run/netns".into(),
            names: aos_names::DIRECTORY.into(),
            restrict_host: false,
            poll_period: Duration::from_secs(10),
            reports: None,
        }
    }
}

/// An instance that is to be in a network, or is in it already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    /// Names the network namespace.
    pub id: InstanceId,
    /// Which instance it is, for log lines.
    pub ident: InstanceIdent,
    /// Its place in the network, as CM sent it.
    pub network: NetworkParameters,
    /// Names the network when `network` does not.
    pub provider_id: ProviderId,
    /// From the service's configuration.
    pub hostname: Option<String>,
    /// Hosts that it knows besides those of the settings.
    pub extra_hosts: Vec<(IpAddr, String)>,
    /// What may be reached from outside the unit, as the image says it:
    /// `port[/proto]`.
    pub exposed_ports: Vec<String>,
    /// How fast it may receive and send.
    pub speeds: Speeds,
    /// How much it may receive and send a day.
    pub limits: TrafficLimits,
}

/// Limits of the rates of an instance, in kbit/s (1000 bit). `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Speeds {
    /// Towards the instance.
    pub download: Option<u64>,
    /// From the instance.
    pub upload: Option<u64>,
}

/// Bytes that an instance may exchange with public networks on one day (UTC).
/// `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficLimits {
    /// Towards the instance.
    pub download: Option<u64>,
    /// From the instance.
    pub upload: Option<u64>,
}

impl AttachRequest {
    /// The network that the instance belongs to.
    #[must_use]
    pub fn network_id(&self) -> NetworkId {
        if self.network.network_id.as_str().is_empty() {
            NetworkId::from(self.provider_id.as_str())
        } else {
            self.network.network_id.clone()
        }
    }
}

/// What an attached instance needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its network namespace.
    pub netns: PathBuf,
    /// Text of its `/etc/hosts`.
    pub hosts: String,
    /// Text of its `/etc/resolv.conf`.
    pub resolv_conf: String,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, NetworkError>>;

/// What the task is asked.
#[derive(Debug)]
pub(super) enum Command {
    Update(Vec<NetworkParameters>),
    Attach(Box<AttachRequest>, Answer<Attachment>),
    Adopt(Box<AttachRequest>, Answer<Attachment>),
    Change(Box<AttachRequest>, Answer<Attachment>),
    Detach(InstanceId, Answer<()>),
    Adopted(Answer<()>),
    Found(Answer<Vec<InstanceId>>),
    Overview(Answer<Vec<NetworkOverview>>),
    Alive(Answer<()>),
}

/// Handle of the network manager. The task ends when the last handle is gone.
#[derive(Clone, Debug)]
pub struct Networks {
    commands: mpsc::Sender<Command>,
    changes: watch::Receiver<u64>,
    traffic: watch::Receiver<Traffic>,
}

impl Networks {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        changes: watch::Receiver<u64>,
        traffic: watch::Receiver<Traffic>,
    ) -> Self {
        Self {
            commands,
            changes,
            traffic,
        }
    }

    /// Bytes of the current day, as they were read last.
    #[must_use]
    pub fn traffic(&self) -> watch::Receiver<Traffic> {
        self.traffic.clone()
    }

    /// Changes whenever other networks can be used than before, or the same ones
    /// with other addresses. An attach that was refused for want of a network is
    /// worth another try then.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Makes these the provider networks. Takes effect before any attach that
    /// is asked for later. What is wrong with a network becomes the error of
    /// its instances.
    pub async fn update(&self, networks: Vec<NetworkParameters>) {
        // A task that has ended says so to those who wait for an answer.
        drop(self.commands.send(Command::Update(networks)).await);
    }

    /// Gives an instance its network namespace, link, address and route. On an
    /// error nothing of it is left.
    pub async fn attach(&self, request: AttachRequest) -> Result<Attachment, NetworkError> {
        self.ask(|answer| Command::Attach(Box::new(request), answer))
            .await
    }

    /// Takes over a running instance without touching it. An error says what is
    /// not as [`Networks::attach`] would have made it; then it has to be
    /// detached.
    pub async fn adopt(&self, request: AttachRequest) -> Result<Attachment, NetworkError> {
        self.ask(|answer| Command::Adopt(Box::new(request), answer))
            .await
    }

    /// Gives an attached instance what has changed of its rules, ports, speeds,
    /// limits and name servers, without touching its links. On an error it has
    /// what it had before.
    pub async fn change(&self, request: AttachRequest) -> Result<Attachment, NetworkError> {
        self.ask(|answer| Command::Change(Box::new(request), answer))
            .await
    }

    /// Takes everything from an instance that it has of the network, also from
    /// one that is not known. What is not there counts as taken.
    pub async fn detach(&self, id: InstanceId) -> Result<(), NetworkError> {
        self.ask(|answer| Command::Detach(id, answer)).await
    }

    /// Says that all running instances have been adopted that shall be. What is
    /// left of others loses its permissions. An attach says so as well.
    pub async fn adopted(&self) -> Result<(), NetworkError> {
        self.ask(Command::Adopted).await
    }

    /// The instances that have a network namespace or a link on the machine.
    pub async fn found(&self) -> Result<Vec<InstanceId>, NetworkError> {
        self.ask(Command::Found).await
    }

    /// All provider networks, for whoever wants to show them.
    pub async fn overview(&self) -> Result<Vec<NetworkOverview>, NetworkError> {
        self.ask(Command::Overview).await
    }

    /// Returns when the task has taken up this call: its loop turns.
    pub async fn alive(&self) -> Result<(), NetworkError> {
        self.ask(Command::Alive).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, NetworkError> {
        let (answer, outcome) = oneshot::channel();
        self.commands
            .send(command(answer))
            .await
            .map_err(|_| NetworkError::Closed)?;
        outcome.await.map_err(|_| NetworkError::Closed)?
    }
}
