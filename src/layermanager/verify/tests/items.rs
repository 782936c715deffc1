//! Rows, directories and records as an install leaves them, and what becomes of
//! them.

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
use crate::layermanager::verify::{CheckSettings, run};
use crate::model::{Chain, Damage, LayerInfo, ServiceContent, ServiceInfo};
use crate::storage::{Clock, Database};

struct Device {
    directory: TempDir,
    shared: Arc<Shared>,
    damage: mpsc::Receiver<Damage>,
    alive: watch::Sender<()>,
}

impl Device {
    /// Service `web` and the layer that it needs, recorded.
    async fn new() -> Self {
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

    async fn install_service(&self) {
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

    async fn install_layer(&self, name: &str) {
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

    fn service(&self) -> PathBuf {
        self.directory.path().join("services/web")
    }

    fn layer(&self, name: &str) -> PathBuf {
        self.directory.path().join("layers").join(name)
    }

    async fn content(&self) -> Result<ServiceContent, ContentError> {
        self.shared.service(info().key()).await
    }

    async fn prove(&self) -> Result<(), String> {
        let content = self.content().await.unwrap();
        self.prove_this(content).await
    }

    async fn prove_this(&self, content: ServiceContent) -> Result<(), String> {
        let proof = self.shared.prove(content, self.alive.subscribe()).await;
        proof.map_err(|error| Chain(&error).to_string())
    }

    async fn check(&self) {
        let speed = Arc::new(Speed::new(1, true));
        let alive = self.alive.subscribe();
        self.shared.check(&alive, &speed).await.unwrap();
    }

    async fn has(&self, item: &Item) -> bool {
        self.shared.directory_of(item).await.unwrap().is_some()
    }
}

const LAYER_DIGEST: &str =
    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn layer_item() -> Item {
    Item::Layer(LAYER_DIGEST.into())
}

fn service_item() -> Item {
    Item::Service(info().key())
}

fn info() -> ServiceInfo {
    ServiceInfo {
        id: "web".into(),
        ..ServiceInfo::default()
    }
}

fn write_record(directory: &Path, roots: &[(&str, &Path)]) {
    record::write_by_reading(roots, &record::beside(directory), &|| false).unwrap();
}

#[tokio::test]
async fn damaged_layer_is_named_told_and_no_longer_installed() {
    let mut device = Device::new().await;
    let file = device.layer("one").join("lib");
    fs::write(&file, "LIB").unwrap();

    let refused = device.prove().await.unwrap_err();

    let reason = format!("{} has other content", file.display());
    let expected = format!("service web version 0: layer {LAYER_DIGEST} is damaged: {reason}");
    assert_eq!(refused, expected);
    let expected = Damage {
        item: layer_item(),
        directory: device.layer("one"),
        reason,
    };
    assert_eq!(device.damage.recv().await.unwrap(), expected);
    assert!(!device.has(&layer_item()).await);
    assert!(device.has(&service_item()).await);
    assert_eq!(*device.shared.replaced(), [device.layer("one")]);
}

#[tokio::test]
async fn proof_is_made_once() {
    let device = Device::new().await;
    device.prove().await.unwrap();
    fs::write(device.service().join("rootfs/app"), "APP").unwrap();

    assert_eq!(device.prove().await, Ok(()));
}

#[tokio::test]
async fn what_was_installed_in_place_of_damaged_content_is_proven_anew() {
    let device = Device::new().await;
    device.prove().await.unwrap();
    fs::write(device.layer("one").join("lib"), "LIB").unwrap();
    device.check().await;
    device.install_layer("two").await;

    let healed = device.prove().await;
    fs::write(device.layer("two").join("lib"), "LIB").unwrap();
    device.check().await;

    assert_eq!(healed, Ok(()));
    assert!(!device.has(&layer_item()).await);
}

#[tokio::test]
async fn damage_of_what_was_replaced_meanwhile_is_none() {
    let mut device = Device::new().await;
    let old = device.content().await.unwrap();
    device.install_layer("two").await;
    fs::write(device.layer("one").join("lib"), "LIB").unwrap();

    let refused = device.prove_this(old).await.unwrap_err();

    let place = device.layer("one");
    let expected = format!(
        "service web version 0: what is in {} is no longer installed",
        place.display()
    );
    assert_eq!(refused, expected);
    assert!(device.has(&layer_item()).await);
    assert!(device.damage.try_recv().is_err());
}

#[tokio::test]
async fn check_finds_damage_of_cached_content_too_and_leaves_the_rest() {
    let mut device = Device::new().await;
    store::retain(&device.shared.database, vec![info().key()], vec![], 1)
        .await
        .unwrap();
    fs::remove_file(device.layer("one").join("lib")).unwrap();

    device.check().await;

    assert_eq!(device.damage.recv().await.unwrap().item, layer_item());
    assert!(device.damage.try_recv().is_err());
    assert!(device.has(&service_item()).await);
}

#[tokio::test]
async fn check_reads_the_documents_of_a_service() {
    let mut device = Device::new().await;
    fs::write(device.service().join(MANIFEST_FILE), "{}").unwrap();

    device.check().await;

    let damage = device.damage.recv().await.unwrap();
    assert_eq!(damage.item, service_item());
    assert!(damage.reason.contains("manifest.json has changed"));
}

#[tokio::test]
async fn item_of_an_older_release_starts_unproven_and_is_recorded_by_the_check() {
    let mut device = Device::new().await;
    fs::remove_file(record::beside(&device.service())).unwrap();
    fs::remove_file(record::beside(&device.layer("one"))).unwrap();

    let before = device.prove().await;
    device.check().await;
    fs::write(device.service().join("rootfs/app"), "APP").unwrap();
    device.check().await;

    assert_eq!(before, Ok(()));
    let damage = device.damage.recv().await.unwrap();
    assert_eq!(damage.item, service_item());
    assert!(device.has(&layer_item()).await);
}

#[tokio::test]
async fn damaged_documents_and_missing_layers_are_told_by_who_finds_them() {
    let mut device = Device::new().await;
    fs::remove_dir_all(device.layer("one")).unwrap();
    let no_layer = device.content().await.unwrap_err();
    let layer = device.damage.recv().await.unwrap();
    device.install_layer("two").await;
    fs::remove_file(device.service().join(MANIFEST_FILE)).unwrap();

    let no_service = device.content().await.unwrap_err();

    assert_eq!(layer.item, layer_item());
    assert_eq!(device.damage.recv().await.unwrap().item, service_item());
    for error in [no_layer, no_service] {
        assert!(matches!(error, ContentError::Damaged { .. }), "{error}");
    }
    assert!(matches!(
        device.content().await,
        Err(ContentError::NoService(_))
    ));
}

#[tokio::test]
async fn what_is_in_use_is_proven_at_start_and_the_rest_on_demand() {
    let mut device = Device::new().await;
    store::retain(&device.shared.database, vec![info().key()], vec![], 1)
        .await
        .unwrap();
    fs::write(device.service().join("rootfs/more"), "").unwrap();
    fs::write(device.layer("one").join("more"), "").unwrap();
    let settings = CheckSettings {
        first: Duration::from_hours(1),
        ..CheckSettings::default()
    };
    let (demand, demanded) = mpsc::channel(1);
    let (shared, alive) = (device.shared.clone(), device.alive.subscribe());

    let task = tokio::spawn(run(shared, alive, settings, demanded));
    let at_start = device.damage.recv().await.unwrap();
    demand.send(()).await.unwrap();
    let on_demand = device.damage.recv().await.unwrap();
    drop(device.alive);
    task.await.unwrap();

    assert_eq!(at_start.item, service_item());
    assert_eq!(on_demand.item, layer_item());
}

#[tokio::test]
async fn checks_come_by_themselves_again_and_again() {
    let mut device = Device::new().await;
    device.prove().await.unwrap();
    let settings = CheckSettings {
        first: Duration::from_millis(20),
        period: Duration::from_millis(20),
        rate: u64::MAX,
    };
    let (_demand, demanded) = mpsc::channel(1);
    let (shared, alive) = (device.shared.clone(), device.alive.subscribe());
    let task = tokio::spawn(run(shared, alive, settings, demanded));

    for file in [
        device.service().join("rootfs/app"),
        device.layer("one").join("lib"),
    ] {
        fs::write(file, "other").unwrap();
        device.damage.recv().await.unwrap();
    }

    drop(device.alive);
    task.await.unwrap();
}

#[tokio::test]
async fn what_instances_run_on_is_not_taken_away_when_it_is_replaced() {
    let device = Device::new().await;
    let (held, other) = (device.layer("one"), device.service());
    device
        .shared
        .replaced()
        .extend([held.clone(), other.clone()]);
    device.shared.hold(vec![held.clone()]);

    let first = device.shared.take_replaced();
    device.shared.hold(vec![]);
    let second = device.shared.take_replaced();

    assert_eq!((first, second), (vec![other], vec![held]));
}
