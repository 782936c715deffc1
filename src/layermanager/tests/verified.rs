//! Damage of what was installed from packages, and its healing.

use std::fs;
use std::os::unix::fs::lchown;
use std::path::PathBuf;

use tokio::sync::mpsc;

use super::support::{Device, ServiceParts, Tar, layer_package, sha256, told};
use crate::layermanager::CheckSettings;
use crate::model::{ContentItem, LayerInfo, ServiceInfo};

/// A service with a shared layer, installed.
async fn installed(device: &Device) -> (ServiceInfo, LayerInfo) {
    let tar = Tar::new().directory("lib").file("lib/so", "lib").build();
    let layer = device.layer(&tar, &layer_package(&tar));
    let root = Tar::new()
        .directory("bin")
        .file("bin/app", "app")
        .symlink("app", "bin/app")
        .build();
    let package = ServiceParts::new(&root).shared_layer(&sha256(&tar)).build();
    let service = device.service("foo", 3, &package);
    device.content.install_service(&service).await.unwrap();
    device.content.install_layer(&layer).await.unwrap();
    (service, layer)
}

async fn root_of(device: &Device, service: &ServiceInfo) -> PathBuf {
    device.content.service(&service.key()).await.unwrap().root
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn check_finds_what_was_changed_and_nothing_wrong_with_what_was_installed() {
    let device = Device::new().await;
    let (service, layer) = installed(&device).await;
    let mut damage = device.content.damage();
    let content = device.content.service(&service.key()).await.unwrap();
    device.content.prove(&content).await.unwrap();
    let (demand, demanded) = mpsc::channel(1);
    let check = tokio::spawn(device.content.check(CheckSettings::default(), demanded));
    fs::write(content.layers[0].join("lib/so"), "LIB").unwrap();

    demand.send(()).await.unwrap();
    // Services are looked at first.
    let found = damage.recv().await.unwrap();
    drop(device.content);
    check.await.unwrap();

    assert_eq!(found.item, ContentItem::Layer(layer.digest));
    assert!(damage.try_recv().is_err());
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn damaged_service_is_healed_by_an_install_and_the_old_directory_goes() {
    let device = Device::new().await;
    let (service, layer) = installed(&device).await;
    let mut damage = device.content.damage();
    let content = device.content.service(&service.key()).await.unwrap();
    lchown(content.root.join("app"), Some(7), Some(7)).unwrap();

    let refused = device.content.prove(&content).await.unwrap_err();
    let gone = device.content.service(&service.key()).await.unwrap_err();
    device.content.install_service(&service).await.unwrap();
    let healed = device.content.service(&service.key()).await.unwrap();
    let proof = device.content.prove(&healed).await;
    let keys = vec![service.key()];
    let retained = device.content.retain(keys, vec![layer.digest]).await;

    let link = content.root.join("app");
    let expected = format!(
        "service foo version 3 is damaged: {} belongs to 7:7, expected 0:5000",
        link.display()
    );
    assert_eq!(told(&refused), expected);
    assert_eq!(told(&gone), "service foo version 3 is not installed");
    let told = damage.recv().await.unwrap();
    assert_eq!(told.item, ContentItem::Service(service.key()));
    assert!(content.root.starts_with(&told.directory));
    assert!(proof.is_ok() && retained.is_ok());
    assert_ne!(content.root, healed.root);
    assert!(!content.root.exists());
    assert_eq!(device.installed(), 1);
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn damaged_layer_is_healed_by_an_install() {
    let device = Device::new().await;
    let (service, layer) = installed(&device).await;
    let content = device.content.service(&service.key()).await.unwrap();
    let file = content.layers[0].join("lib/so");
    fs::remove_file(&file).unwrap();

    let refused = device.content.prove(&content).await.unwrap_err();
    device.content.install_layer(&layer).await.unwrap();
    let healed = device.content.service(&service.key()).await.unwrap();

    let text = told(&refused);
    assert!(text.contains(&layer.digest), "{text}");
    assert!(text.contains(&format!("{} is missing", file.display())));
    assert!(healed.layers[0].join("lib/so").exists());
    assert!(device.content.prove(&healed).await.is_ok());
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn damage_outlives_a_restart() {
    let mut device = Device::new().await;
    let (service, _) = installed(&device).await;
    let content = device.content.service(&service.key()).await.unwrap();
    fs::write(content.root.join("bin/app"), "APP").unwrap();
    device.content.prove(&content).await.unwrap_err();

    device.restart().await;
    let after = device.content.service(&service.key()).await.unwrap_err();
    device.content.install_service(&service).await.unwrap();

    assert_eq!(told(&after), "service foo version 3 is not installed");
    let app = root_of(&device, &service).await.join("bin/app");
    assert_eq!(fs::read_to_string(app).unwrap(), "app");
}
