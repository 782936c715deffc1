//! What the launcher's state is told, and what it asks for.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::host::{Blueprint, Need, Order, Resource, Target, UnitChange};
use super::offline::Cloud;
use super::overrides::Overrides;
use crate::model::{
    Damage, ErrorInfo, InUse, InstanceId, InstanceIdent, LayerInfo, ServiceInfo, ServiceKey,
};

/// Outcome of an action, as CM would be told.
pub(super) type Outcome<T> = Result<T, ErrorInfo>;

/// Tells what an outcome is the outcome of: no two questions have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Ticket {
    /// One that was never given out, if `self` was the last.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What is still open about what an instance runs with.
#[derive(Clone, Debug)]
pub(super) enum Trial {
    /// Its probes have not succeeded yet. If they do not, the version before comes
    /// back.
    Runs { before: Option<Arc<Blueprint>> },
    /// It came back since a newer version failed its trial.
    Refused(Refused),
}

/// A version that failed its trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refused {
    /// Fingerprint of what was tried.
    pub(super) fingerprint: String,
    /// Why it failed.
    pub(super) message: String,
    /// With this exit code.
    pub(super) exit_code: i32,
}

/// Something happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A service of the list is installed, and needs these layers.
    ServiceInstalled {
        ticket: Ticket,
        key: ServiceKey,
        outcome: Outcome<Vec<String>>,
    },
    /// A layer of the list is installed.
    LayerInstalled {
        ticket: Ticket,
        digest: String,
        outcome: Outcome<()>,
    },
    /// What is not in use may go from now on.
    Retained { ticket: Ticket },
    /// The plan of an instance is made.
    Prepared {
        ticket: Ticket,
        id: InstanceId,
        outcome: Outcome<Arc<Blueprint>>,
    },
    /// The content that an instance is to be started on was looked at.
    Proven {
        ticket: Ticket,
        id: InstanceId,
        outcome: Outcome<()>,
    },
    /// Installed content is damaged.
    Damaged(Damage),
    /// The step of an instance is done.
    StepDone {
        id: InstanceId,
        outcome: Outcome<()>,
    },
    /// What an instance was to be started with could not be stored, so that its
    /// unit was not started.
    NotStored { id: InstanceId, error: ErrorInfo },
    /// What instances may wait for can be had again, perhaps.
    MayBeHad(Need),
    /// What an instance was to be given in place cannot be: it has to be started
    /// anew.
    Unchangeable { id: InstanceId, error: ErrorInfo },
    /// Other provider networks can be used than before.
    NetworksChanged,
    /// Other devices and resources can be had than before.
    DevicesChanged,
    /// Other environment variables are overridden than before.
    Overridden(Overrides),
    /// What is known of the cloud.
    Cloud(Cloud),
    /// IAM is there again, or it may have forgotten what it knew.
    IamIsBack,
    /// Whether IAM still knows the secret of an instance was found out.
    SecretChecked {
        ticket: Ticket,
        id: InstanceId,
        known: bool,
    },
    /// systemd says something.
    Unit(UnitChange),
    /// A timer of an instance has run out.
    Due { id: InstanceId, timer: u64 },
    /// It is time to ask this probe of an instance.
    ProbeDue {
        id: InstanceId,
        probe: usize,
        round: u64,
    },
    /// A probe of an instance was asked.
    Probed {
        id: InstanceId,
        probe: usize,
        round: u64,
        outcome: Outcome<()>,
    },
}

/// Something is to be done. Its outcome comes back as an [`Event`].
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Stop installing what the newest list does not name.
    CancelInstalls,
    InstallService {
        ticket: Ticket,
        service: ServiceInfo,
    },
    InstallLayer {
        ticket: Ticket,
        layer: LayerInfo,
    },
    /// Tell the content manager what is in use.
    Retain {
        ticket: Ticket,
        in_use: InUse,
    },
    Prepare {
        ticket: Ticket,
        order: Order,
    },
    /// Look whether the content of the blueprint is what was installed.
    Prove {
        ticket: Ticket,
        blueprint: Arc<Blueprint>,
    },
    /// Let CM know.
    Alert {
        message: String,
    },
    /// Let CM know that an instance does without a device.
    DeviceAlert {
        ident: InstanceIdent,
        device: String,
        message: String,
    },
    Acquire {
        blueprint: Arc<Blueprint>,
        resource: Resource,
        /// To be stored with it.
        trial: Option<Trial>,
    },
    Release {
        target: Target,
        resource: Resource,
    },
    /// Give the running instance what of the blueprint needs no restart.
    Change {
        blueprint: Arc<Blueprint>,
        /// To be stored with it.
        trial: Option<Trial>,
    },
    /// Have the service of a running instance started again.
    Restart {
        id: InstanceId,
    },
    /// Say [`Event::ProbeDue`] after so long.
    ArmProbe {
        id: InstanceId,
        probe: usize,
        round: u64,
        after: Duration,
    },
    /// Ask a probe.
    Probe {
        blueprint: Arc<Blueprint>,
        probe: usize,
        round: u64,
    },
    /// Its trial is over: store what the instance runs with.
    Store {
        blueprint: Arc<Blueprint>,
        trial: Option<Trial>,
    },
    /// Ask IAM whether it still knows the secret of a running instance. Nothing
    /// comes back when it cannot be asked.
    CheckSecret {
        ticket: Ticket,
        blueprint: Arc<Blueprint>,
    },
    /// Tell IAM what it could not be told before.
    TellWhoIsGone,
    /// Say [`Event::Due`] after so long.
    Arm {
        id: InstanceId,
        timer: u64,
        after: Duration,
    },
    /// Say [`Event::MayBeHad`] after a pause.
    TryAgain {
        need: Need,
    },
    /// The instance is gone for good.
    Forget {
        id: InstanceId,
        /// Whose id it was, if that is known.
        ident: Option<InstanceIdent>,
    },
}
