//! What operators are shown, put together from all parts.

use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use crate::launcher::{Launcher, started_at};
use crate::layermanager::Content;
use crate::model::{
    Chain, InstanceOverview, InstanceState, LauncherOverview, NodeInfo, PeerState, RunStatus,
};
use crate::networkmanager::Networks;
use crate::resourcemanager::Resources;
use crate::status::{
    ContentView, DatabaseView, DesiredView, Document, DownloadView, InstanceView, NetworkView,
    NodeView, PeerView, PeersView, StatusServer, UsageView,
};

/// Name of the socket in the directory of what lives until boot.
const SOCKET: &str = "servicemanager.sock";

/// How long a part may take to answer. The others are shown all the same: who
/// looks may want to know which part hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where it all comes from.
pub(super) struct Sources {
    pub(super) started: SystemTime,
    pub(super) cm: watch::Receiver<PeerState>,
    pub(super) iam: watch::Receiver<PeerState>,
    pub(super) node: watch::Receiver<Option<NodeInfo>>,
    pub(super) launcher: Launcher,
    pub(super) networks: Networks,
    pub(super) resources: Resources,
    pub(super) content: Content,
    /// The file.
    pub(super) database: PathBuf,
    pub(super) run_dir: PathBuf,
}

/// Names of the parts that gave no answer.
#[derive(Default)]
struct Unanswered(Vec<&'static str>);

impl Unanswered {
    async fn ask<T>(
        &mut self,
        part: &'static str,
        answer: impl Future<Output = Option<T>>,
    ) -> Option<T> {
        let answer = timeout(PATIENCE, answer).await.ok().flatten();
        if answer.is_none() {
            self.0.push(part);
        }
        answer
    }
}

impl Sources {
    /// Serves them until it is dropped. Without a socket the rest of SM is as
    /// good as with it.
    pub(super) async fn serve(self) {
        let (told, changes) = watch::channel(0);
        let server = match StatusServer::bind(&self.run_dir.join(SOCKET), changes) {
            Ok(server) => server,
            Err(error) => {
                warn!(error = %Chain(&error), "`aosctl status` will find nobody");
                return std::future::pending().await;
            }
        };
        let changes = Changes {
            cm: self.cm.clone(),
            iam: self.iam.clone(),
            node: self.node.clone(),
            run: self.launcher.status(),
            networks: self.networks.changes(),
            downloads: self.content.downloads(),
        };
        let sources = Arc::new(self);
        let look = move || {
            let sources = Arc::clone(&sources);
            async move { sources.document().await }
        };

        tokio::select! {
            () = server.run(look) => {}
            () = changes.tell(&told) => std::future::pending().await,
        }
    }

    async fn document(&self) -> Document {
        let mut unanswered = Unanswered::default();
        let launcher = unanswered.ask("launcher", self.launcher.overview()).await;
        let networks = unanswered
            .ask("network manager", async {
                self.networks.overview().await.ok()
            })
            .await;
        let installed = unanswered
            .ask("content manager", async {
                self.content.installed().await.ok()
            })
            .await;
        let usage = unanswered
            .ask("resource monitor", async {
                Some(self.resources.node_monitoring().await)
            })
            .await;
        let mut content = ContentView {
            downloads: self.downloads(),
            ..ContentView::default()
        };
        if let Some(installed) = installed {
            content.take(installed);
        }
        let now = SystemTime::now();

        Document {
            format: Document::FORMAT,
            time: crate::status::time_text(now),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: process::id(),
            started: crate::status::time_text(self.started),
            uptime: now
                .duration_since(self.started)
                .map_or(0, |uptime| uptime.as_secs()),
            unanswered: unanswered.0,
            node: self.node.borrow().clone().map(NodeView::from),
            peers: PeersView {
                cm: PeerView::from(&*self.cm.borrow()),
                iam: PeerView::from(&*self.iam.borrow()),
            },
            desired: launcher.as_ref().map(DesiredView::from),
            instances: launcher.map(|launcher| self.instances(launcher)),
            networks: networks.map(|all| all.into_iter().map(NetworkView::from).collect()),
            content,
            database: self.database(),
            usage: usage.map(UsageView::from),
        }
    }

    fn instances(&self, launcher: LauncherOverview) -> Vec<InstanceView> {
        let instances = launcher.instances.into_iter();
        instances
            .map(|overview| InstanceView::from(self.with_start(overview)))
            .collect()
    }

    /// SM may be younger than what runs, and systemd restarts without it.
    fn with_start(&self, overview: InstanceOverview) -> InstanceOverview {
        let started = match overview.state {
            InstanceState::Active => started_at(&self.run_dir, overview.id),
            InstanceState::Starting | InstanceState::Failed(_) | InstanceState::Stopping => None,
        };
        InstanceOverview {
            since: started.unwrap_or(overview.since),
            ..overview
        }
    }

    fn downloads(&self) -> Vec<DownloadView> {
        let downloads = self.content.downloads();
        let downloads = downloads.borrow();
        let view = downloads.iter().map(|download| DownloadView {
            item: download.item.clone(),
            done: download.done,
            total: download.total,
            rate: download.rate,
        });
        view.collect()
    }

    fn database(&self) -> DatabaseView {
        DatabaseView {
            path: self.database.display().to_string(),
            bytes: self.database.metadata().map_or(0, |file| file.len()),
        }
    }
}

/// What tells that a document made now would be another.
struct Changes {
    cm: watch::Receiver<PeerState>,
    iam: watch::Receiver<PeerState>,
    node: watch::Receiver<Option<NodeInfo>>,
    run: watch::Receiver<RunStatus>,
    networks: watch::Receiver<u64>,
    downloads: watch::Receiver<crate::layermanager::Downloads>,
}

impl Changes {
    /// Passes it on until one of the parts has ended.
    async fn tell(mut self, told: &watch::Sender<u64>) {
        loop {
            let changed = tokio::select! {
                changed = self.cm.changed() => changed,
                changed = self.iam.changed() => changed,
                changed = self.node.changed() => changed,
                changed = self.run.changed() => changed,
                changed = self.networks.changed() => changed,
                changed = self.downloads.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            told.send_modify(|changes| *changes += 1);
        }
    }
}
