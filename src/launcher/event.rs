//! What the launcher's state is told, and what it asks for.

use std::sync::Arc;
use std::time::Duration;

use super::host::{Blueprint, Resource, Target, UnitChange};
use crate::model::{ErrorInfo, InstanceId, InstanceInfo, LayerInfo, ServiceInfo, ServiceKey};

/// Outcome of an action, as CM would be told.
pub(super) type Outcome<T> = Result<T, ErrorInfo>;

/// Something happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A service of the list is installed, and needs these layers.
    ServiceInstalled {
        generation: u64,
        key: ServiceKey,
        outcome: Outcome<Vec<String>>,
    },
    /// A layer of the list is installed.
    LayerInstalled {
        generation: u64,
        digest: String,
        outcome: Outcome<()>,
    },
    /// The plan of an instance is made.
    Prepared {
        generation: u64,
        id: InstanceId,
        outcome: Outcome<Arc<Blueprint>>,
    },
    /// The step of an instance is done.
    StepDone {
        id: InstanceId,
        outcome: Outcome<()>,
    },
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
        generation: u64,
        service: ServiceInfo,
    },
    InstallLayer {
        generation: u64,
        layer: LayerInfo,
    },
    /// Tell the content manager what is in use.
    Retain {
        services: Vec<ServiceKey>,
        layers: Vec<String>,
    },
    Prepare {
        generation: u64,
        id: InstanceId,
        info: InstanceInfo,
        service: ServiceKey,
    },
    Acquire {
        blueprint: Arc<Blueprint>,
        resource: Resource,
    },
    Release {
        target: Target,
        resource: Resource,
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
