//! What others have of the launcher.

use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use crate::model::{
    DesiredState, EnvVarsOverride, EnvVarsStatus, LauncherOverview, Responder, RunStatus,
};

/// Commands that may wait. None is waited for.
const COMMANDS: usize = 16;

/// What a handle asks of the loop.
#[derive(Debug)]
pub(super) enum Command {
    Run(DesiredState),
    Override(Vec<EnvVarsOverride>, Responder<Vec<EnvVarsStatus>>),
    Cloud(bool),
    Overview(oneshot::Sender<LauncherOverview>),
    Alive(oneshot::Sender<()>),
    End(oneshot::Sender<()>),
}

/// Handle of the launcher. When the last one is gone, the loop ends and leaves
/// the instances running.
#[derive(Clone, Debug)]
pub struct Launcher {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<RunStatus>,
}

impl Launcher {
    /// Makes `list` the desired state.
    pub async fn run(&self, list: DesiredState) {
        if self.commands.send(Command::Run(list)).await.is_err() {
            warn!("the launcher has ended: a desired state is lost");
        }
    }

    /// Overrides the variables of `list`, and no others. The answer comes when they
    /// are stored; instances that get others by it are started anew then.
    pub async fn override_variables(
        &self,
        list: Vec<EnvVarsOverride>,
        answer: Responder<Vec<EnvVarsStatus>>,
    ) {
        let command = Command::Override(list, answer);
        if self.commands.send(command).await.is_err() {
            warn!("the launcher has ended: overridden variables are lost");
        }
    }

    /// Says whether the cloud is there.
    pub async fn cloud(&self, online: bool) {
        if self.commands.send(Command::Cloud(online)).await.is_err() {
            warn!("the launcher has ended: a word about the cloud is lost");
        }
    }

    /// The present state, published after each event, or after some that came at
    /// once.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<RunStatus> {
        self.status.clone()
    }

    /// What it works on, for whoever wants to show it; `None` when the loop has
    /// ended.
    pub async fn overview(&self) -> Option<LauncherOverview> {
        let (answer, overview) = oneshot::channel();
        self.commands.send(Command::Overview(answer)).await.ok()?;
        overview.await.ok()
    }

    /// Stops all instances, those of the lowest priority first. Returns when they
    /// have stopped; what cannot be given back is left. The list stays desired,
    /// and nothing is started any more.
    pub async fn end(&self) {
        let (answer, ended) = oneshot::channel();
        if self.commands.send(Command::End(answer)).await.is_err() || ended.await.is_err() {
            warn!("the launcher has ended: instances are left running");
        }
    }

    /// Returns once the loop has turned; never when it has ended.
    pub async fn alive(&self) {
        let (answer, turned) = oneshot::channel();
        if self.commands.send(Command::Alive(answer)).await.is_err() || turned.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A handle, and where its commands come out.
pub(super) fn new(status: watch::Receiver<RunStatus>) -> (Launcher, mpsc::Receiver<Command>) {
    let (commands, received) = mpsc::channel(COMMANDS);
    (Launcher { commands, status }, received)
}
