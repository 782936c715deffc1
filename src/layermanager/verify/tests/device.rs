//! A service and its layer, with rows and records as an install leaves them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aos_package::{Algorithm, Digest, MANIFEST_FILE, blob_path};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use crate::layermanager::Users;
use crate::layermanager::content::ContentSettings;
use crate::layermanager::error::ContentError;
use crate::layermanager::record;
use crate::layermanager::shared::{Item, Shared};
use crate::layermanager::store::{self, Installed};
use crate::layermanager::verify::pace::Speed;
use crate::model::{Chain, Damage, LayerInfo, ServiceContent, ServiceInfo};
use crate::storage::{Clock, Database};

pub(super) struct Device {
    pub(super) directory: TempDir,
    pub(super) shared: Arc<Shared>,
    pub(super) damage: mpsc::Receiver<Damage>,
    pub(super) alive: watch::Sender<()>,
}

impl Device {
    /// Service `web` and the layer that it needs, recorded.
    pub(super) async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path();
        let settings = ContentSettings {
            services_dir: path.join("services"),
            layers_dir: path.join("layers"),
            services_part_limit: 0,
            layers_part_limit: 0,
            download_dir: path.join("download"),
            ca_cert: None,
            extract_dir: path.join("extract"),
            service_ttl: Duration::from_hours(1),
            layer_ttl: Duration::from_hours(1),
            users: Users::none(),
        };
        let database = Database::in_memory().unwrap();
        let clock = Clock::start(&database).await.unwrap();
        let shared = Arc::new(Shared::new(settings, database, clock));
        let damage = shared.verification.receiver();
        let device = Self {
            directory,
            shared,
            damage,
            alive: watch::Sender::new(()),
        };
        device.install_service().await;
        device.install_layer("one").await;
        device
    }

    pub(super) async fn install_service(&self) {
        let directory = self.service();
        let image = json!({"os": "linux"}).to_string().into_bytes();
        let image_digest = Digest::of(Algorithm::Sha256, &image);
        let manifest = json!({
            "schemaVersion": 2,
            "config": {"mediaType": "a", "digest": image_digest, "size": image.len()},
            "layers": [
                {"mediaType": "c", "digest": Digest::of(Algorithm::Sha256, b"root"), "size": 1},
                {"mediaType": "c", "digest": LAYER_DIGEST, "size": 1},
            ],
        })
        .to_string();
        let blob = directory.join(blob_path(&image_digest));
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(blob, &image).unwrap();
        fs::write(directory.join(MANIFEST_FILE), &manifest).unwrap();
        fs::create_dir(directory.join("rootfs")).unwrap();
        fs::write(directory.join("rootfs/app"), "app").unwrap();
        write_record(&directory, &[("rootfs", &directory.join("rootfs"))]);
        let installed = Installed {
            path: "web".into(),
            manifest_digest: Digest::of(Algorithm::Sha256, manifest.as_bytes()).to_string(),
            package_digest: "00".into(),
            size: 3,
        };
        store::put_service(&self.shared.database, info(), installed)
            .await
            .unwrap();
    }

    pub(super) async fn install_layer(&self, name: &str) {
        let directory = self.layer(name);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("lib"), "lib").unwrap();
        write_record(&directory, &[("", &directory)]);
        let layer = LayerInfo {
            digest: LAYER_DIGEST.into(),
            ..LayerInfo::default()
        };
        let new = Some((name.to_owned(), 3));
        store::put_layer(&self.shared.database, layer, new)
            .await
            .unwrap();
    }

    pub(super) fn service(&self) -> PathBuf {
        self.directory.path().join("services/web")
    }

    pub(super) fn layer(&self, name: &str) -> PathBuf {
        self.directory.path().join("layers").join(name)
    }

    pub(super) async fn content(&self) -> Result<ServiceContent, ContentError> {
        self.shared.service(info().key()).await
    }

    pub(super) async fn prove(&self) -> Result<(), String> {
        let content = self.content().await.unwrap();
        self.prove_this(content).await
    }

    pub(super) async fn prove_this(&self, content: ServiceContent) -> Result<(), String> {
        let proof = self.shared.prove(content, self.alive.subscribe()).await;
        proof.map_err(|error| Chain(&error).to_string())
    }

    pub(super) async fn check(&self) {
        let speed = Arc::new(Speed::new(1, true));
        let alive = self.alive.subscribe();
        self.shared.check(&alive, &speed).await.unwrap();
    }

    pub(super) async fn has(&self, item: &Item) -> bool {
        self.shared.directory_of(item).await.unwrap().is_some()
    }
}

pub(super) const LAYER_DIGEST: &str =
    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

pub(super) fn layer_item() -> Item {
    Item::Layer(LAYER_DIGEST.into())
}

pub(super) fn service_item() -> Item {
    Item::Service(info().key())
}

pub(super) fn info() -> ServiceInfo {
    ServiceInfo {
        id: "web".into(),
        ..ServiceInfo::default()
    }
}

fn write_record(directory: &Path, roots: &[(&str, &Path)]) {
    record::write_by_reading(roots, &record::beside(directory), &|| false).unwrap();
}
