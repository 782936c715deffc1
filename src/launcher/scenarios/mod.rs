//! The launcher as a whole, over the fake machine and a real database.

mod changes;
mod devices;
mod devices_random;
mod ending;
mod events;
mod full;
mod healing;
mod lists;
mod networks;
mod offline;
mod overrides;
mod passing;
mod priorities;
mod random;
mod random_inputs;
mod secrets;
mod trials;
mod updates;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::fake::{FakeHost, Words};
use super::host::{UnitEvent, UnitState};
use super::{Launcher, LauncherEnds, LauncherTask};
use crate::config::UpdatePolicy;
use crate::model::{
    Alert, AlertKind, ContentItem, DesiredState, InstanceId, InstanceInfo, InstanceReport,
    LayerInfo, Report, RunState, RunStatus, ServiceInfo, ServiceKey,
};
use crate::storage::Database;

/// A running launcher.
struct Unit {
    host: FakeHost,
    database: Database,
    launcher: Launcher,
    status: watch::Receiver<RunStatus>,
    task: JoinHandle<()>,
    policy: UpdatePolicy,
    reports: mpsc::Receiver<Report>,
}

impl Unit {
    async fn start() -> Self {
        Self::start_with(UpdatePolicy::KeepOld).await
    }

    async fn start_with(policy: UpdatePolicy) -> Self {
        let (host, words) = FakeHost::new();
        Self::start_on(host, words, Database::in_memory().unwrap(), policy).await
    }

    async fn start_on(
        host: FakeHost,
        words: Words,
        database: Database,
        update_policy: UpdatePolicy,
    ) -> Self {
        let (reports, received) = mpsc::channel(64);
        let ends = LauncherEnds {
            units: words.units,
            damage: words.damage,
            networks: words.networks,
            devices: words.devices,
            iam: words.iam,
            reports,
            update_policy,
        };
        let (launcher, task) = LauncherTask::start(Arc::new(host.clone()), database.clone(), ends)
            .await
            .unwrap();
        let status = launcher.status();
        Self {
            host,
            database,
            launcher,
            status,
            task: tokio::spawn(task.run()),
            policy: update_policy,
            reports: received,
        }
    }

    /// The service manager is killed and starts again on the same machine.
    async fn restart(self) -> Self {
        self.restart_after(|_| ()).await
    }

    /// The same, and this happens to the machine meanwhile.
    async fn restart_after(self, meanwhile: impl FnOnce(&FakeHost)) -> Self {
        self.task.abort();
        drop(self.task.await);
        meanwhile(&self.host);
        let (host, words) = self.host.restarted();
        Self::start_on(host, words, self.database, self.policy).await
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

    fn alerts(&mut self) -> Vec<String> {
        let mut alerts = Vec::new();
        while let Ok(report) = self.reports.try_recv() {
            if let Report::Alert(Alert {
                kind: AlertKind::Core { component, message },
                ..
            }) = report
            {
                alerts.push(format!("{component}: {message}"));
            }
        }
        alerts
    }

    fn history(&self) -> Vec<String> {
        std::mem::take(&mut self.host.book().history)
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
