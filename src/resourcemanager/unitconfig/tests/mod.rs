//! The unit configuration over a directory of the test's own.

mod checks;
mod formats;
mod hotplug;
mod served;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::UnitConfigs;
use super::handle::UnitConfigSettings;
use super::look::Places;
use crate::model::{
    AlertKind, NodeInfo, Provision, Report, ResourceErrors, UnitConfigStatus, UnitConfigText,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A node whose devices are links to `/dev/null`.
struct Node {
    directory: TempDir,
    kind: watch::Sender<Option<NodeInfo>>,
}

impl Node {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("dev")).unwrap();
        let text = "root:x:0:\nvideo:x:44:someone\nbroken\naudio:x:29:\n";
        fs::write(directory.path().join("group"), text).unwrap();
        let node = Self {
            directory,
            kind: watch::Sender::new(None),
        };
        node.is_of_type("main");
        node
    }

    fn is_of_type(&self, node_type: &str) {
        self.kind.send_replace(Some(NodeInfo {
            node_id: "node".into(),
            node_type: node_type.into(),
        }));
    }

    fn dev(&self, name: &str) -> PathBuf {
        self.directory.path().join("dev").join(name)
    }

    fn plug(&self, name: &str) {
        let path = self.dev(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink("/dev/null", path).unwrap();
    }

    fn unplug(&self, name: &str) {
        fs::remove_file(self.dev(name)).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("etc/aos_unit.cfg")
    }

    fn places(&self) -> Places {
        Places {
            dev: self.directory.path().join("dev"),
            group: self.directory.path().join("group"),
        }
    }

    fn store(&self, text: &str) {
        fs::create_dir_all(self.file().parent().unwrap()).unwrap();
        fs::write(self.file(), text).unwrap();
    }

    /// The service manager starts.
    fn start(&self) -> Served {
        let settings = UnitConfigSettings {
            file: self.file(),
            places: self.places(),
        };
        let (reports, alerts) = mpsc::channel(8);
        let (handle, task) = UnitConfigs::start(settings, self.kind.subscribe(), reports);
        Served {
            handle,
            alerts,
            task: tokio::spawn(task.run()),
        }
    }
}

/// A unit configuration that is served.
struct Served {
    handle: UnitConfigs,
    alerts: mpsc::Receiver<Report>,
    task: JoinHandle<()>,
}

impl Served {
    async fn status(&self) -> UnitConfigStatus {
        let (answer, told) = oneshot::channel();
        self.handle.status(answer).await;
        told.await.unwrap()
    }

    async fn check(&self, version: &str, config: &Value) -> UnitConfigStatus {
        let (answer, told) = oneshot::channel();
        self.handle.check(text(version, config), answer).await;
        told.await.unwrap()
    }

    async fn set(&self, version: &str, config: &Value) -> UnitConfigStatus {
        let (answer, told) = oneshot::channel();
        self.handle.set(text(version, config), answer).await;
        told.await.unwrap()
    }

    async fn device(&self, name: &str) -> Provision {
        self.handle.provide(vec![name.into()], Vec::new()).await
    }

    async fn resource(&self, name: &str) -> Provision {
        self.handle.provide(Vec::new(), vec![name.into()]).await
    }

    async fn alert(&mut self) -> Vec<ResourceErrors> {
        let report = timeout(PATIENCE, self.alerts.recv()).await.unwrap();
        match report.unwrap() {
            Report::Alert(alert) => match alert.kind {
                AlertKind::ResourceValidate(errors) => errors,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// The service manager stops.
    async fn stop(self) {
        drop(self.handle);
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

fn text(version: &str, config: &Value) -> UnitConfigText {
    UnitConfigText {
        text: config.to_string(),
        vendor_version: version.into(),
    }
}

fn status(version: &str, error: &str) -> UnitConfigStatus {
    UnitConfigStatus {
        vendor_version: version.into(),
        error: error.into(),
    }
}

/// One device and one resource.
fn config() -> Value {
    json!({
        "nodeType": "main",
        "devices": [{
            "name": "camera", "sharedCount": 2, "groups": ["video"],
            "hostDevices": ["/dev/video0:/dev/camera", "/dev/media"],
        }],
        "resources": [{
            "name": "bluetooth", "groups": ["audio", "root"],
            "mounts": [{"destination": "/run/bt", "type": "tmpfs", "source": "tmpfs",
                        "options": ["nosuid", "mode=1750", "size=1m"]}],
            "env": ["BT=yes"],
            "hosts": [{"ip": "10.0.0.9", "hostname": "vis"}],
        }],
        "labels": ["main"],
        "priority": 3,
    })
}

/// A node that has all that [`config`] names.
fn node() -> Node {
    let node = Node::new();
    node.plug("video0");
    node.plug("media/0");
    node
}

fn errors(name: &str, texts: &[&str]) -> ResourceErrors {
    ResourceErrors {
        name: name.into(),
        errors: texts.iter().map(|&text| text.to_owned()).collect(),
    }
}
