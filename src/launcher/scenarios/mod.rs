//! The launcher as a whole, over the fake machine and a real database.

mod events;
mod full;
mod lists;
mod random;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::fake::FakeHost;
use super::host::{UnitEvent, UnitState};
use super::{Launcher, LauncherTask};
use crate::model::{
    DesiredState, InstanceId, InstanceInfo, InstanceReport, LayerInfo, RunState, RunStatus,
    ServiceInfo,
};
use crate::storage::Database;

/// A running launcher.
struct Unit {
    host: FakeHost,
    database: Database,
    launcher: Launcher,
    status: watch::Receiver<RunStatus>,
    task: JoinHandle<()>,
}

impl Unit {
    async fn start() -> Self {
        let (host, changes) = FakeHost::new();
        Self::start_on(host, changes, Database::in_memory().unwrap()).await
    }

    async fn start_on(
        host: FakeHost,
        changes: tokio::sync::mpsc::Receiver<super::UnitChange>,
        database: Database,
    ) -> Self {
        let (launcher, task) =
            LauncherTask::start(Arc::new(host.clone()), database.clone(), changes)
                .await
                .unwrap();
        let status = launcher.status();
        Self {
            host,
            database,
            launcher,
            status,
            task: tokio::spawn(task.run()),
        }
    }

    /// The service manager is killed and starts again on the same machine.
    async fn restart(self) -> Self {
        self.task.abort();
        drop(self.task.await);
        let (host, changes) = self.host.restarted();
        Self::start_on(host, changes, self.database).await
    }

    /// Sends a list and waits until it has settled.
    async fn run(&mut self, list: &DesiredState) -> RunStatus {
        // Lists that were sent before have come in.
        self.launcher.alive().await;
        let generation = self.status.borrow().generation + 1;
        self.launcher.run(list.clone()).await;
        self.until(|status| status.settled && status.generation == generation)
            .await
    }

    async fn until(&mut self, condition: impl FnMut(&RunStatus) -> bool) -> RunStatus {
        self.status.wait_for(condition).await.unwrap().clone()
    }

    fn starts(&self) -> Vec<String> {
        let mut book = self.host.book();
        let starts = std::mem::take(&mut book.starts);
        starts
            .into_iter()
            .map(|(ident, version)| format!("{ident} v{version}"))
            .collect()
    }

    fn id_of_only(&self) -> InstanceId {
        *self.host.instances().first().unwrap()
    }
}

fn service(id: &str, version: u64) -> ServiceInfo {
    let mut service = ServiceInfo {
        id: id.into(),
        ..ServiceInfo::default()
    };
    service.version.aos = version;
    service
}

fn instance(service: &str, index: i64, priority: u64) -> InstanceInfo {
    let mut info = InstanceInfo {
        priority,
        uid: 5000,
        ..InstanceInfo::default()
    };
    info.ident.service_id = service.into();
    info.ident.subject_id = "me".into();
    info.ident.index = index;
    info.network.ip = format!("10.0.{index}.{}", service.len());
    info
}

fn list(services: &[(&str, u64)], instances: &[(&str, i64, u64)]) -> DesiredState {
    DesiredState {
        services: services
            .iter()
            .map(|(id, version)| service(id, *version))
            .collect(),
        instances: instances
            .iter()
            .map(|(id, index, prio)| instance(id, *index, *prio))
            .collect(),
        ..DesiredState::default()
    }
}

fn brief(report: &InstanceReport) -> String {
    let state = |state: &RunState| match state {
        RunState::Active => "active".to_owned(),
        RunState::Failed(error) => format!("failed: {}", error.message),
    };
    let desired = &report.desired;
    let kept = report.kept.as_ref().map_or_else(String::new, |kept| {
        format!(", kept v{} {}", kept.version, state(&kept.state))
    });
    format!(
        "{} v{} {}{kept}",
        desired.ident,
        desired.version,
        state(&desired.state)
    )
}

fn briefs(status: &RunStatus) -> Vec<String> {
    status.instances.iter().map(brief).collect()
}

fn state(state: UnitState, result: &str) -> UnitEvent {
    UnitEvent::State {
        state,
        result: result.into(),
    }
}
