//! The loop that owns the unit configuration.

use std::collections::BTreeSet;
use std::time::SystemTime;

use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info, warn};

use super::check::{self, Novelty, novelty};
use super::format::UnitConfig;
use super::handle::{Command, UnitConfigSettings};
use super::look::{Look, look};
use super::provide::provide;
use super::store;
use super::watch::Watch;
use crate::model::{
    Alert, AlertKind, Chain, NodeInfo, Report, ResourceErrors, Responder, UnitConfigStatus,
    UnitConfigText,
};

/// What is stored.
#[derive(Debug)]
enum Stored {
    /// Nothing.
    Nothing,
    /// Something that is of no use, and why.
    Bad(String),
    /// A configuration.
    Good(UnitConfig),
}

impl Stored {
    fn config(&self) -> Option<&UnitConfig> {
        match self {
            Self::Good(config) => Some(config),
            Self::Nothing | Self::Bad(_) => None,
        }
    }
}

enum Event {
    Command(Command),
    Node,
    Look,
    Alert(mpsc::OwnedPermit<Report>, Vec<ResourceErrors>),
    Closed,
}

/// The loop behind [`UnitConfigs`](super::UnitConfigs).
#[derive(Debug)]
pub struct UnitConfigTask {
    settings: UnitConfigSettings,
    stored: Stored,
    /// What the host has of it.
    look: Look,
    watch: Watch,
    node: watch::Receiver<Option<NodeInfo>>,
    commands: mpsc::Receiver<Command>,
    changes: watch::Sender<u64>,
    reports: mpsc::Sender<Report>,
    /// What an alert has to name as soon as there is room for one.
    untold: Vec<ResourceErrors>,
}

impl UnitConfigTask {
    pub(super) fn new(
        settings: UnitConfigSettings,
        node: watch::Receiver<Option<NodeInfo>>,
        commands: mpsc::Receiver<Command>,
        changes: watch::Sender<u64>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let stored = match store::load(&settings.file) {
            Ok(None) => Stored::Nothing,
            Ok(Some(config)) => {
                info!(version = config.vendor_version, "unit configuration");
                for fault in check::faults(&config) {
                    warn!(fault, "the stored unit configuration is not wholly good");
                }
                Stored::Good(config)
            }
            Err(error) => {
                let error = Chain(&error).to_string();
                error!(error, "the stored unit configuration is of no use");
                Stored::Bad(error)
            }
        };

        Self {
            settings,
            stored,
            look: Look::default(),
            watch: Watch::default(),
            node,
            commands,
            changes,
            reports,
            untold: Vec::new(),
        }
    }

    /// Serves until the last handle is gone.
    pub async fn run(mut self) {
        self.watch_and_look().await;
        loop {
            let untold = !self.untold.is_empty();
            // Every branch only waits.
            let event = tokio::select! {
                command = self.commands.recv() => {
                    command.map_or(Event::Closed, Event::Command)
                }
                Ok(()) = self.node.changed() => Event::Node,
                () = self.watch.changed() => Event::Look,
                Ok(permit) = self.reports.clone().reserve_owned(), if untold => {
                    Event::Alert(permit, std::mem::take(&mut self.untold))
                }
            };
            match event {
                Event::Closed => return,
                Event::Command(command) => self.obey(command).await,
                Event::Node => self.changed(),
                Event::Look => self.watch_and_look().await,
                Event::Alert(permit, errors) => {
                    let alert = Alert {
                        timestamp: SystemTime::now(),
                        kind: AlertKind::ResourceValidate(errors),
                    };
                    drop(permit.send(Report::Alert(alert)));
                }
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Status(answer) => reply(answer, self.status()),
            Command::Check(text, answer) => {
                let outcome = self.check(&text).await.and_then(|new| match new {
                    Some((_, look)) => nothing_missing(&look),
                    None => Ok(()),
                });
                reply(answer, status(text.vendor_version, outcome));
            }
            Command::Set(text, answer) => {
                let outcome = self.set(&text).await;
                if let Err(error) = &outcome {
                    warn!(
                        version = text.vendor_version,
                        error, "unit configuration refused"
                    );
                }
                reply(answer, status(text.vendor_version, outcome));
            }
            Command::Provide(devices, resources, answer) => {
                // Who asked may have gone away.
                let config = self.usable();
                drop(answer.send(provide(&config, &self.look, &devices, &resources)));
            }
            Command::Alive(answer) => drop(answer.send(())),
        }
    }

    fn status(&self) -> UnitConfigStatus {
        match &self.stored {
            Stored::Nothing => UnitConfigStatus::default(),
            Stored::Bad(error) => status(String::new(), Err(error.clone())),
            Stored::Good(config) => {
                let fault = check::node_type_fault(config, self.node.borrow().as_ref());
                status(config.vendor_version.clone(), fault.map_or(Ok(()), Err))
            }
        }
    }

    /// The configuration, unless it is the one in force.
    async fn check(&mut self, text: &UnitConfigText) -> Result<Option<(UnitConfig, Look)>, String> {
        let config = UnitConfig::from_message(&text.text, &text.vendor_version)
            .map_err(|error| format!("unit configuration: {}", Chain(&error)))?;
        let node = self.node.borrow().clone();
        // One for another kind of node is not in force.
        let in_force = self.stored.config();
        let in_force =
            in_force.filter(|config| check::node_type_fault(config, node.as_ref()).is_none());
        match novelty(in_force, &config) {
            Novelty::New => {}
            Novelty::Same => return Ok(None),
            Novelty::Conflict => {
                return Err(format!(
                    "unit configuration {} is in force with another content: another content \
                     needs another version",
                    config.vendor_version
                ));
            }
        }
        if node.is_none() {
            return Err(
                "the type of this node is not known yet: IAM has not told it; try again later"
                    .to_owned(),
            );
        }
        let faults: Vec<_> = check::node_type_fault(&config, node.as_ref())
            .into_iter()
            .chain(check::faults(&config))
            .collect();
        if !faults.is_empty() {
            return Err(format!("unit configuration: {}", faults.join("; ")));
        }

        let look = self.look_for(&config).await;
        Ok(Some((config, look)))
    }

    async fn set(&mut self, text: &UnitConfigText) -> Result<(), String> {
        let Some((config, look)) = self.check(text).await? else {
            info!(
                version = text.vendor_version,
                "unit configuration is in force already"
            );
            return Ok(());
        };
        if let Err(refusal) = nothing_missing(&look) {
            self.alert(look.missing());
            return Err(refusal);
        }

        let (file, stored) = (self.settings.file.clone(), config.clone());
        let saved = blocking(move || store::save(&file, &stored)).await;
        saved.map_err(|error| {
            let error = Chain(&error).to_string();
            format!("unit configuration is not stored, the one before stays in force: {error}")
        })?;
        info!(
            version = config.vendor_version,
            "unit configuration in force"
        );
        self.stored = Stored::Good(config);
        self.watch_and_look().await;
        self.changed();

        Ok(())
    }

    /// Looks at the host, and is told from now on when to look again.
    async fn watch_and_look(&mut self) {
        let config = self.stored.config();
        self.watch.rearm(config, &self.settings.places);
        let Some(config) = config.cloned() else {
            return;
        };
        let look = self.look_for(&config).await;
        if look == self.look {
            return;
        }

        let before: BTreeSet<_> = texts(&self.look.missing()).collect();
        let missing = look.missing();
        if texts(&missing).any(|text| !before.contains(&text)) {
            warn!(missing = lacking(&missing), "unit configuration");
            self.alert(missing);
        } else {
            info!(
                missing = missing.len(),
                "devices or groups of the unit configuration came"
            );
        }
        self.look = look;
        self.changed();
    }

    async fn look_for(&self, config: &UnitConfig) -> Look {
        let (config, places) = (config.clone(), self.settings.places.clone());
        blocking(move || look(&config, &places)).await
    }

    /// The alert names all that is missing now: it stands for one that still waits.
    fn alert(&mut self, missing: Vec<ResourceErrors>) {
        self.untold = missing;
    }

    fn changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The configuration, if it can be used.
    fn usable(&self) -> Result<&UnitConfig, String> {
        match &self.stored {
            Stored::Nothing => Err("the node has no unit configuration".to_owned()),
            Stored::Bad(error) => Err(format!("the unit configuration is of no use: {error}")),
            Stored::Good(config) => {
                match check::node_type_fault(config, self.node.borrow().as_ref()) {
                    None => Ok(config),
                    Some(fault) => Err(format!("the unit configuration is of no use: {fault}")),
                }
            }
        }
    }
}

/// All texts, with the names that they are about.
fn texts(missing: &[ResourceErrors]) -> impl Iterator<Item = (String, String)> {
    missing.iter().flat_map(|each| {
        let texts = each.errors.iter();
        texts.map(|text| (each.name.clone(), text.clone()))
    })
}

fn nothing_missing(look: &Look) -> Result<(), String> {
    let missing = look.missing();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("unit configuration: {}", lacking(&missing)))
}

fn lacking(missing: &[ResourceErrors]) -> String {
    let texts: Vec<_> = texts(missing)
        .map(|(name, text)| format!("{name}: {text}"))
        .collect();
    format!("the host lacks what it names: {}", texts.join("; "))
}

fn status(vendor_version: String, outcome: Result<(), String>) -> UnitConfigStatus {
    UnitConfigStatus {
        vendor_version,
        error: outcome.err().unwrap_or_default(),
    }
}

/// An answer belongs to the connection that the request came on.
fn reply(answer: Responder<UnitConfigStatus>, value: UnitConfigStatus) {
    if answer.send(value).is_err() {
        debug!("the connection that asked is gone, and the answer with it");
    }
}

/// Runs work that blocks where it holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only the end of the runtime takes the thread away, and this loop
            // with it.
            Err(_) => std::future::pending().await,
        },
    }
}
