//! The handle of the unit configuration.

use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot, watch};

use super::look::Places;
use super::task::UnitConfigTask;
use crate::config::Config;
use crate::model::{
    Lack, NodeInfo, Provision, Report, Responder, UnitConfigStatus, UnitConfigText,
};

/// Commands that may wait. Each takes milliseconds.
const COMMANDS: usize = 16;

/// Where things are.
#[derive(Clone, Debug)]
pub struct UnitConfigSettings {
    /// The file.
    pub(super) file: PathBuf,
    /// What the host has.
    pub(super) places: Places,
}

impl UnitConfigSettings {
    /// The usual places.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            file: config.unit_config_file.clone(),
            places: Places {
                dev: super::check::DEV.into(),
                group: "/etc/group".into(),
            },
        }
    }
}

#[derive(Debug)]
pub(super) enum Command {
    Status(Responder<UnitConfigStatus>),
    Check(UnitConfigText, Responder<UnitConfigStatus>),
    Set(UnitConfigText, Responder<UnitConfigStatus>),
    Provide(Vec<String>, Vec<String>, oneshot::Sender<Provision>),
    Alive(oneshot::Sender<()>),
}

/// Handle of the unit configuration. What is asked takes effect in the order in
/// which it is asked. When the last one is gone, the loop ends.
#[derive(Clone, Debug)]
pub struct UnitConfigs {
    commands: mpsc::Sender<Command>,
    changes: watch::Receiver<u64>,
}

impl UnitConfigs {
    /// Reads what is stored. `node` is who this node is, as soon as that is
    /// known; `reports` gets the alerts.
    #[must_use]
    pub fn start(
        settings: UnitConfigSettings,
        node: watch::Receiver<Option<NodeInfo>>,
        reports: mpsc::Sender<Report>,
    ) -> (Self, UnitConfigTask) {
        let (commands, taken) = mpsc::channel(COMMANDS);
        let (changed, changes) = watch::channel(0);
        let task = UnitConfigTask::new(settings, node, taken, changed, reports);

        (Self { commands, changes }, task)
    }

    /// Which one is in force. The answer goes to `answer`.
    pub async fn status(&self, answer: Responder<UnitConfigStatus>) {
        self.send(Command::Status(answer)).await;
    }

    /// Whether a configuration would be accepted.
    pub async fn check(&self, text: UnitConfigText, answer: Responder<UnitConfigStatus>) {
        self.send(Command::Check(text, answer)).await;
    }

    /// Stores a configuration, and uses it for all that is asked from now on.
    pub async fn set(&self, text: UnitConfigText, answer: Responder<UnitConfigStatus>) {
        self.send(Command::Set(text, answer)).await;
    }

    /// What there is of these devices and resources.
    pub async fn provide(&self, devices: Vec<String>, resources: Vec<String>) -> Provision {
        if devices.is_empty() && resources.is_empty() {
            return Provision::default();
        }
        let (answer, provision) = oneshot::channel();
        self.send(Command::Provide(devices, resources, answer))
            .await;

        provision.await.unwrap_or_else(|_| Provision {
            lacks: vec![Lack {
                device: None,
                reason: "the service manager is stopping".to_owned(),
            }],
            ..Provision::default()
        })
    }

    /// Changes when something else can be had than before.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Returns when the loop has turned; never, when it has ended.
    pub async fn alive(&self) {
        let (answer, turned) = oneshot::channel();
        self.send(Command::Alive(answer)).await;
        if turned.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A command that nobody takes is dropped, and its answer with it.
    async fn send(&self, command: Command) {
        if let Err(refused) = self.commands.send(command).await {
            tracing::debug!(%refused, "the unit configuration is not served any more");
        }
    }
}
