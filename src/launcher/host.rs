//! The machine as the launcher sees it.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::overrides::Variables;
use super::probes::Probe;
use crate::model::{
    Chain, ErrorInfo, InUse, InstanceId, InstanceIdent, InstanceInfo, Lack, LayerInfo, Provision,
    ServiceContent, ServiceInfo, ServiceKey,
};

/// What an instance holds of the machine while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Registration with IAM, for a service with permissions.
    Secret,
    /// Network namespace with its link and addresses.
    Network,
    /// Runtime directory, mount points, mounted root.
    RootFilesystem,
    /// `config.json` and the generated files beside it.
    Spec,
    /// The unit, with its drop-in.
    Unit,
}

impl Resource {
    /// The order in which an instance takes them. They are given back in
    /// reverse.
    pub const ACQUIRE_ORDER: [Self; 5] = [
        Self::Secret,
        Self::Network,
        Self::RootFilesystem,
        Self::Spec,
        Self::Unit,
    ];
}

/// What an instance can lack for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// IAM, for a secret.
    Secret,
    /// Its place in its network.
    Network,
    /// Devices or resources of the unit configuration.
    Device,
    /// The cloud, for a service that may not be without it for long.
    Cloud,
    /// The database: what an instance is started with is stored first.
    Database,
}

impl Need {
    /// What is lacked when this is refused, if it may be had later without a new
    /// list.
    #[must_use]
    pub fn of(resource: Resource) -> Option<Self> {
        match resource {
            Resource::Secret => Some(Self::Secret),
            Resource::Network => Some(Self::Network),
            // A device went between plan and start.
            Resource::Spec => Some(Self::Device),
            Resource::RootFilesystem | Resource::Unit => None,
        }
    }
}

/// What a blueprint is drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Names the unit, the namespace and the runtime directory.
    pub id: InstanceId,
    /// As desired.
    pub info: InstanceInfo,
    /// What it runs.
    pub service: ServiceKey,
    /// In place of those of the service and of SM.
    pub variables: Variables,
}

/// All that is needed to start one instance: values only.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// Names the unit, the namespace and the runtime directory.
    pub id: InstanceId,
    /// As desired.
    pub info: InstanceInfo,
    /// The installed service.
    pub service: Arc<ServiceContent>,
    /// They win over all others. Their values are never printed.
    pub variables: Variables,
    /// What the unit configuration has of the devices and resources that the
    /// service asks for. A running instance keeps what it was started with.
    pub provision: Provision,
    /// How long it may run without the cloud; `None`: for ever.
    pub offline_ttl: Option<Duration>,
    /// The instance counts as started after it was active for so long:
    /// 1.2 times its start interval.
    pub start_window: Duration,
    /// Starts that systemd allows in a start interval.
    pub start_burst: u32,
    /// How its health is found out; none: it is well as long as it runs.
    pub probes: Vec<Probe>,
    /// Stands for all inputs that a running instance cannot be given: instances
    /// with equal fingerprints differ at most in priority and in what
    /// [`Host::change`] changes.
    pub fingerprint: String,
}

impl Blueprint {
    /// Whether IAM has to give it a secret: its service has permissions.
    #[must_use]
    pub fn needs_secret(&self) -> bool {
        let permissions = self.service.config.permissions.as_ref();
        permissions.is_some_and(|permissions| !permissions.is_empty())
    }

    /// The network that the instance belongs to: CM leaves it empty, then the
    /// provider of the service names it.
    #[must_use]
    pub fn network_id(&self) -> &str {
        match self.info.network.network_id.as_str() {
            "" => self.service.provider_id.as_str(),
            id => id,
        }
    }

    /// Why it cannot be started with what the machine has now.
    #[must_use]
    pub fn lack(&self) -> Option<&Lack> {
        self.provision.lacks.first()
    }
}

/// One moment, on all clocks of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, which may be wrong, and jump.
    pub wall: SystemTime,
    /// Time since boot, sleep included.
    pub since_boot: Duration,
    /// Names the boot.
    pub boot: Arc<str>,
}

/// Which instance something is given back for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Names the unit, the namespace and the runtime directory.
    pub id: InstanceId,
    /// Known for every instance that is stored.
    pub ident: Option<InstanceIdent>,
}

/// An instance, or what is left of one, found on the machine at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// From the name of its unit, namespace or runtime directory.
    pub id: InstanceId,
    /// Whether the unit is active and namespace and root are there.
    pub whole: bool,
}

/// State of a unit, as systemd's `ActiveState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// Starting, or waiting to be restarted.
    Activating,
    /// Running.
    Active,
    /// Stopping, or on the way to a restart.
    Deactivating,
    /// Stopped, or never started.
    Inactive,
    /// systemd gave up.
    Failed,
}

/// How a main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The code that CM is told: 128 + n after signal n, as shells do.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// Something that systemd said of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitEvent {
    /// It used more memory than it may. Told just before the end of its main
    /// process.
    OutOfMemory,
    /// Its main process ended.
    Exited(Exit),
    /// Its main process ended, nobody knows how, and another one runs.
    Restarted,
    /// Its state is now this; `result` is systemd's word for why, such as
    /// `success`, `exit-code`, `oom-kill`, `start-limit-hit`.
    State {
        /// The state.
        state: UnitState,
        /// `Result` of the unit.
        result: String,
    },
}

/// A [`UnitEvent`] and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitChange {
    /// The instance.
    pub id: InstanceId,
    /// What happened.
    pub event: UnitEvent,
}

/// How a running instance was taken over.
#[derive(Debug)]
pub enum Adopted {
    /// With all that it holds.
    Wholly,
    /// Its place in the network could not be had, for a reason that a restart of
    /// the instance would not cure. [`Host::change`] tries again.
    WithoutNetwork(HostError),
}

/// The machine refused.
#[derive(Debug)]
pub struct HostError {
    exit_code: i32,
    needs_restart: bool,
    source: Box<dyn Error + Send + Sync>,
}

impl HostError {
    /// The machine refused, and why.
    pub fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            exit_code: 0,
            needs_restart: false,
            source: source.into(),
        }
    }

    /// What is there of a running instance is not what it needs: it has to be
    /// started anew.
    pub fn needing_restart(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            needs_restart: true,
            ..Self::new(source)
        }
    }

    /// The service itself ended while it was started.
    pub fn exited(exit: Exit, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            exit_code: exit.code(),
            ..Self::new(source)
        }
    }

    /// Whether only a restart of the instance helps.
    #[must_use]
    pub fn needs_restart(&self) -> bool {
        self.needs_restart
    }

    /// As CM is told: the error with all its causes.
    #[must_use]
    pub fn info(&self) -> ErrorInfo {
        ErrorInfo {
            exit_code: self.exit_code,
            ..ErrorInfo::new(Chain(self).to_string())
        }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for HostError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// What the launcher asks of the machine. One real implementation, one for
/// tests. Every call may run beside others; a call that is dropped leaves
/// nothing behind that a later `release` does not find.
pub trait Host: Send + Sync + 'static {
    /// Has a service installed. Returns the digests of the shared layers that
    /// it needs.
    fn install_service(
        &self,
        service: &ServiceInfo,
    ) -> impl Future<Output = Result<Vec<String>, HostError>> + Send;

    /// Has a layer installed.
    fn install_layer(
        &self,
        layer: &LayerInfo,
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Says what is in use. All else may go when its time has run out, or when
    /// its room is needed.
    fn retain(&self, in_use: InUse) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Reads what describes the service and makes a plan for the instance. Costs
    /// the same whatever the size of the service.
    fn prepare(&self, order: &Order) -> impl Future<Output = Result<Blueprint, HostError>> + Send;

    /// Makes sure that the content of the blueprint is what was installed, before
    /// an instance is started on it.
    fn prove(&self, blueprint: &Blueprint) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Takes one resource. On an error nothing of it is left.
    fn acquire(
        &self,
        blueprint: &Blueprint,
        resource: Resource,
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Gives one resource back. What is not there any more is given back.
    fn release(
        &self,
        target: &Target,
        resource: Resource,
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Whether IAM still knows the secret of a running instance.
    fn knows_secret(
        &self,
        blueprint: &Blueprint,
    ) -> impl Future<Output = Result<bool, HostError>> + Send;

    /// Tells IAM what it could not be told before: who is gone.
    fn tell_who_is_gone(&self) -> impl Future<Output = ()> + Send;

    /// What the clocks say.
    fn now(&self) -> Moment;

    /// Looks for instances on the machine.
    fn survey(&self) -> impl Future<Output = Result<Vec<Found>, HostError>> + Send;

    /// Takes over a running instance without disturbing it. On an error it has to
    /// be released.
    fn adopt(
        &self,
        blueprint: &Blueprint,
    ) -> impl Future<Output = Result<Adopted, HostError>> + Send;

    /// Gives a running instance what of the blueprint needs no restart: rules and
    /// name servers. On an error it runs on with what it had, unless the error
    /// says that it needs a restart. Once it returned, nothing of the call
    /// happens any more.
    fn change(&self, blueprint: &Blueprint) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Asks a running instance once whether it is well, and takes no longer than
    /// the probe allows. The error says why it is not.
    fn probe(
        &self,
        blueprint: &Blueprint,
        probe: &Probe,
    ) -> impl Future<Output = Result<(), HostError>> + Send;

    /// Has the service of a running instance ended and started again, as after a
    /// crash; returns as soon as that has begun. One that does not run is left as it
    /// is.
    fn restart(&self, id: InstanceId) -> impl Future<Output = Result<(), HostError>> + Send;
}
