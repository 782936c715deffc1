//! Against a fake manager.

mod ends;
mod jobs;
mod watching;

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tokio::time::timeout;

use super::fake_manager::{FakeManager, FakeUnit, Start};
use super::*;
use crate::launcher::UnitEvent;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

struct Bench {
    manager: FakeManager,
    systemd: Systemd,
    changes: mpsc::Receiver<UnitChange>,
    temp: TempDir,
}

impl Bench {
    async fn new() -> Self {
        Self::with(FakeManager::default()).await
    }

    async fn with(manager: FakeManager) -> Self {
        Self::there(manager, TempDir::new().unwrap()).await
    }

    /// SM is started once more.
    async fn again(self) -> Self {
        let Self { manager, temp, .. } = self;
        Self::there(manager, temp).await
    }

    async fn there(manager: FakeManager, temp: TempDir) -> Self {
        let settings = SystemdSettings {
            unit_dir: temp.path().to_owned(),
            cgroup_root: temp.path().join("cgroup"),
            start_deadline: Duration::from_millis(200),
            stop_deadline: LONG,
            end_deadline: Duration::from_secs(1),
        };
        let (systemd, changes) = Systemd::connect(manager.clone(), settings).await.unwrap();

        Self {
            manager,
            systemd,
            changes,
            temp,
        }
    }

    async fn start(&self) -> Result<(), SystemdError> {
        let drop_in = DropIn {
            id: id(),
            runtime: Path::new("/bin/runc"),
            directory: self.temp.path(),
            unified_cgroups: None,
            policy: StartPolicy::default(),
            stop_signal: 15,
            needs: vec!["/var".into()],
            has_remains: false,
        };

        timeout(LONG, self.systemd.start(&drop_in)).await.unwrap()
    }

    async fn stop(&self) -> Result<(), SystemdError> {
        timeout(LONG, self.systemd.stop(id())).await.unwrap()
    }

    fn drop_in(&self) -> Option<String> {
        let directory = format!("{}.d", names::unit_name(id()));
        fs::read_to_string(self.temp.path().join(directory).join("aos.conf")).ok()
    }

    fn calls(&self) -> Vec<String> {
        self.manager.book().calls.clone()
    }

    /// The next change that is told.
    async fn event(&mut self) -> UnitEvent {
        let change = timeout(LONG, self.changes.recv()).await.unwrap().unwrap();
        assert_eq!(change.id, id());
        change.event
    }
}

fn id() -> InstanceId {
    InstanceId::from_u128(9)
}

fn state(state: UnitState, result: &str) -> UnitEvent {
    UnitEvent::State {
        state,
        result: result.to_owned(),
    }
}

fn unit(state: &str, result: &str) -> FakeUnit {
    FakeUnit {
        state: state.to_owned(),
        result: result.to_owned(),
        ..FakeUnit::default()
    }
}
