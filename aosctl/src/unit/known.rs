//! What SM has told, as far as waits depend on it.
//!
//! Each RunInstances and each lost connection makes the old knowledge void:
//! a wait is met only by what came after.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::sm::sm_outgoing_messages::SmOutgoingMessage;
use crate::wire::sm::{InstanceIdent, InstanceStatus, RunInstances};

const ACTIVE: &str = "active";
const FAILED: &str = "failed";

/// What a wait waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// SM has said which node it is.
    Registered,
    /// SM has told the state of its instances: CM takes the node into service.
    InService,
    /// A status with exactly the instances of the last run.
    Status,
    Active(Target),
    Failed(Target),
}

/// An instance, in one version or any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// `SERVICE/SUBJECT/INDEX`.
    pub(crate) instance: String,
    pub(crate) version: Option<u64>,
}

impl Target {
    /// Reads `SERVICE/SUBJECT/INDEX[@VERSION]`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (ids, last) = text.rsplit_once('/')?;
        let (index, version) = match last.split_once('@') {
            Some((index, version)) => (index, Some(version.parse().ok()?)),
            None => (last, None),
        };
        let index: i64 = index.parse().ok()?;
        ids.contains('/').then(|| Self {
            instance: format!("{ids}/{index}"),
            version,
        })
    }
}

/// `SERVICE/SUBJECT/INDEX`.
pub(crate) fn ident_text(ident: Option<&InstanceIdent>) -> String {
    match ident {
        Some(ident) => format!(
            "{}/{}/{}",
            ident.service_id, ident.subject_id, ident.instance
        ),
        None => "?".to_owned(),
    }
}

/// One instance in words.
pub(crate) fn status_text(status: &InstanceStatus) -> String {
    let instance = ident_text(status.instance.as_ref());
    let mut text = format!("{instance} v{} {}", status.aos_version, status.run_state);
    if let Some(error) = &status.error_info {
        text.push_str(&format!(": {}", error.message));
        if error.exit_code != 0 {
            text.push_str(&format!(" (exit code {})", error.exit_code));
        }
        if error.aos_code != 0 {
            text.push_str(&format!(" (code {})", error.aos_code));
        }
    }
    text
}

/// Whether SM calls the instance active and free of errors, as CM judges.
pub(crate) fn is_active(status: &InstanceStatus) -> bool {
    status.run_state == ACTIVE && status.error_info.is_none()
}

/// Knowledge about one SM.
#[derive(Debug, Default)]
pub(crate) struct Known {
    registered: bool,
    in_service: bool,
    /// Instances of the last run of this connection.
    wanted: Option<BTreeSet<String>>,
    answer: Option<Vec<InstanceStatus>>,
    instances: BTreeMap<String, InstanceStatus>,
}

impl Known {
    /// The status that the last run was answered with.
    pub(crate) fn answer(&self) -> Option<&[InstanceStatus]> {
        self.answer.as_deref()
    }

    pub(crate) fn disconnected(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn run_sent(&mut self, run: &RunInstances) {
        let instances = run.instances.iter();
        self.wanted = Some(
            instances
                .map(|instance| ident_text(instance.instance.as_ref()))
                .collect(),
        );
        self.answer = None;
        self.instances.clear();
    }

    pub(crate) fn told(&mut self, message: &SmOutgoingMessage) {
        match message {
            SmOutgoingMessage::NodeConfiguration(_) => self.registered = true,
            SmOutgoingMessage::RunInstancesStatus(status) => {
                self.in_service = true;
                let told = by_instance(&status.instances);
                let is_answer = match &self.wanted {
                    Some(wanted) => told.keys().eq(wanted.iter()),
                    None => true,
                };
                if is_answer && self.answer.is_none() {
                    self.answer = Some(status.instances.clone());
                }
                self.instances = told;
            }
            SmOutgoingMessage::UpdateInstancesStatus(status) => {
                self.instances.extend(by_instance(&status.instances));
            }
            SmOutgoingMessage::UnitConfigStatus(_)
            | SmOutgoingMessage::OverrideEnvVarStatus(_)
            | SmOutgoingMessage::Log(_)
            | SmOutgoingMessage::NodeMonitoring(_)
            | SmOutgoingMessage::Alert(_)
            | SmOutgoingMessage::ImageContentRequest(_)
            | SmOutgoingMessage::ClockSyncRequest(_) => {}
        }
    }

    pub(crate) fn reached(&self, goal: &Goal) -> bool {
        match goal {
            Goal::Registered => self.registered,
            Goal::InService => self.in_service,
            Goal::Status => self.answer.is_some(),
            Goal::Active(target) => self.find(target).is_some_and(is_active),
            Goal::Failed(target) => self
                .find(target)
                .is_some_and(|status| status.run_state == FAILED),
        }
    }

    fn find(&self, target: &Target) -> Option<&InstanceStatus> {
        self.instances.get(&target.instance).filter(|status| {
            target
                .version
                .is_none_or(|version| version == status.aos_version)
        })
    }

    /// The last known state, in words.
    pub(crate) fn describe(&self) -> String {
        if !self.registered {
            return "SM is not registered".to_owned();
        }
        if self.instances.is_empty() {
            return match (&self.wanted, &self.answer) {
                (Some(_), None) => "SM has told nothing since the run was sent".to_owned(),
                _ if self.in_service => "SM has no instances".to_owned(),
                _ => "SM is registered and has sent no status yet".to_owned(),
            };
        }
        let states: Vec<_> = self.instances.values().map(status_text).collect();
        states.join("; ")
    }
}

impl Goal {
    /// The goal in words.
    pub(crate) fn describe(&self) -> String {
        let target = |target: &Target| match target.version {
            Some(version) => format!("{} v{version}", target.instance),
            None => target.instance.clone(),
        };
        match self {
            Self::Registered => "SM to register".to_owned(),
            Self::InService => "SM's first RunInstancesStatus".to_owned(),
            Self::Status => "RunInstancesStatus for the last run".to_owned(),
            Self::Active(wanted) => format!("{} to be active", target(wanted)),
            Self::Failed(wanted) => format!("{} to be failed", target(wanted)),
        }
    }
}

fn by_instance(statuses: &[InstanceStatus]) -> BTreeMap<String, InstanceStatus> {
    statuses
        .iter()
        .map(|status| (ident_text(status.instance.as_ref()), status.clone()))
        .collect()
}

#[cfg(test)]
#[path = "known_tests.rs"]
mod tests;
