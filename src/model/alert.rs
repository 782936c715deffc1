//! Alerts.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::InstanceIdent;

/// Something that CM has to know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// When it happened.
    pub timestamp: SystemTime,
    /// What happened.
    pub kind: AlertKind,
}

/// What happened. The tag on the wire follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlertKind {
    /// The node uses more than a rule allows.
    SystemQuota {
        /// `cpu`, `ram`, a partition's name, `inTraffic` or `outTraffic`.
        parameter: String,
        /// The value that broke the rule.
        value: u64,
    },
    /// An instance uses more than a rule allows.
    InstanceQuota {
        /// Which instance.
        ident: InstanceIdent,
        /// As for the node.
        parameter: String,
        /// The value that broke the rule.
        value: u64,
    },
    /// The host lacks what the unit configuration names.
    ResourceValidate(Vec<ResourceErrors>),
    /// An instance did not get a device.
    DeviceAllocate {
        /// Which instance.
        ident: InstanceIdent,
        /// Which device.
        device: String,
        /// Why.
        message: String,
    },
    /// From the system.
    System(String),
    /// From a component of the unit itself.
    Core {
        /// Name of the component.
        component: String,
        /// What it said.
        message: String,
    },
    /// From an instance.
    Instance {
        /// Which instance.
        ident: InstanceIdent,
        /// Its Aos version.
        version: u64,
        /// What it said.
        message: String,
    },
}

impl AlertKind {
    /// From the service manager itself.
    #[must_use]
    pub fn own(message: String) -> Self {
        Self::Core {
            component: "aos-servicemanager".to_owned(),
            message,
        }
    }
}

/// What is wrong with one resource of the unit configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceErrors {
    /// Name of the resource.
    pub name: String,
    /// One text for each problem.
    pub errors: Vec<String>,
}
