//! What the launcher's state is told, and what it asks for.

use std::sync::Arc;
use std::time::Duration;

use super::host::{Blueprint, Order, Resource, Target, UnitChange};
use crate::model::{Damage, ErrorInfo, InUse, InstanceId, LayerInfo, ServiceInfo, ServiceKey};

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
    /// What an instance was to be given in place cannot be: it has to be started
    /// anew.
    Unchangeable { id: InstanceId, error: ErrorInfo },
    /// Other provider networks can be used than before.
    NetworksChanged,
    /// systemd says something.
    Unit(UnitChange),
    /// A timer of an instance has run out.
    Due { id: InstanceId, timer: u64 },
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
    Acquire {
        blueprint: Arc<Blueprint>,
        resource: Resource,
    },
    Release {
        target: Target,
        resource: Resource,
    },
    /// Give the running instance what of the blueprint needs no restart.
    Change {
        blueprint: Arc<Blueprint>,
    },
    /// Say [`Event::Due`] after so long.
    Arm {
        id: InstanceId,
        timer: u64,
        after: Duration,
    },
    /// The instance is gone for good.
    Forget {
        id: InstanceId,
    },
}
