//! Content that other content took the place of.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::{Device, ServiceParts, Tar, layer_package};
use crate::layermanager::store;
use crate::model::{LayerInfo, ServiceInfo};

fn service(device: &Device, text: &str) -> ServiceInfo {
    let root = Tar::new().file("file", text).build();
    device.service("foo", 3, &ServiceParts::new(&root).build())
}

async fn root_of(device: &Device, info: &ServiceInfo) -> PathBuf {
    device.content.service(&info.key()).await.unwrap().root
}

fn text_in(root: &Path) -> String {
    fs::read_to_string(root.join("file")).unwrap()
}

fn layer(device: &Device) -> LayerInfo {
    let tar = Tar::new().file("file", "text").build();
    device.layer(&tar, &layer_package(&tar))
}

async fn path_of(device: &Device) -> PathBuf {
    let rows = store::layers(&device.database).await.unwrap();
    device.layers().join(&rows[0].path)
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn other_package_of_the_same_version_takes_over_and_the_old_stays_until_retain() {
    let device = Device::new().await;
    let first = service(&device, "first");
    device.content.install_service(&first).await.unwrap();
    let before = device.content.service(&first.key()).await.unwrap();

    let second = service(&device, "second");
    device.content.install_service(&second).await.unwrap();

    let after = device.content.service(&first.key()).await.unwrap();
    assert_eq!(text_in(&after.root), "second");
    assert_ne!(before.manifest_digest, after.manifest_digest);
    assert!(before.root.join("file").exists(), "instances may run on it");
    let keys = vec![second.key()];
    device.content.retain(keys, vec![]).await.unwrap();
    assert!(!before.root.exists());
    assert_eq!(device.installed(), 1);
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn package_that_comes_back_before_retain_stays_after_it() {
    let device = Device::new().await;
    let first = service(&device, "first");
    device.content.install_service(&first).await.unwrap();
    let before = root_of(&device, &first).await;
    let second = service(&device, "second");
    device.content.install_service(&second).await.unwrap();

    let reverted = service(&device, "first");
    device.content.install_service(&reverted).await.unwrap();
    let after = root_of(&device, &first).await;
    let keys = vec![first.key()];
    device.content.retain(keys, vec![]).await.unwrap();

    assert_ne!(before, after);
    assert_eq!(text_in(&after), "first");
    assert_eq!(device.installed(), 1);
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn repair_leaves_the_damaged_content_to_who_runs_on_it() {
    let device = Device::new().await;
    let info = service(&device, "text");
    device.content.install_service(&info).await.unwrap();
    let before = root_of(&device, &info).await;
    fs::remove_file(before.parent().unwrap().join("manifest.json")).unwrap();

    device.content.install_service(&info).await.unwrap();

    let after = root_of(&device, &info).await;
    assert_ne!(before, after);
    assert_eq!(
        (text_in(&before), text_in(&after)),
        ("text".into(), "text".into())
    );
    device
        .content
        .retain(vec![info.key()], vec![])
        .await
        .unwrap();
    assert!(!before.exists());
    assert_eq!(text_in(&after), "text");
}

#[tokio::test]
async fn repaired_layer_has_a_directory_of_its_own() {
    let device = Device::new().await;
    let info = layer(&device);
    device.content.install_layer(&info).await.unwrap();
    let before = path_of(&device).await;
    fs::remove_dir_all(&before).unwrap();
    fs::write(&before, "no directory").unwrap();

    device.content.install_layer(&info).await.unwrap();

    let after = path_of(&device).await;
    assert_ne!(before, after);
    let digests = vec![info.digest.clone()];
    device.content.retain(vec![], digests).await.unwrap();
    assert!(!before.exists());
    assert_eq!(text_in(&after), "text");
}

#[tokio::test]
async fn layer_is_installed_beside_what_an_expiry_could_not_remove() {
    let device = Device::new().await;
    let info = layer(&device);
    let left = device.layers().join(info.digest.replace(':', "/"));
    fs::create_dir_all(left.join("left")).unwrap();

    device.content.install_layer(&info).await.unwrap();

    assert_eq!(text_in(&path_of(&device).await), "text");
}

#[tokio::test]
async fn repaired_layer_survives_a_restart() {
    let mut device = Device::new().await;
    let info = layer(&device);
    device.content.install_layer(&info).await.unwrap();
    fs::remove_dir_all(path_of(&device).await).unwrap();
    device.content.install_layer(&info).await.unwrap();

    device.restart().await;

    assert_eq!(text_in(&path_of(&device).await), "text");
}

#[tokio::test]
async fn what_is_replaced_after_retain_was_asked_for_stays() {
    let device = Device::new().await;
    let late = device.directory.path().join("late");
    fs::create_dir(&late).unwrap();
    let mut retain = Box::pin(device.content.retain(vec![], vec![]));
    assert!(futures_util::poll!(&mut retain).is_pending());

    device.content.shared().replaced().push(late.clone());
    retain.await.unwrap();

    assert!(late.exists());
    device.content.retain(vec![], vec![]).await.unwrap();
    assert!(!late.exists());
}

#[tokio::test]
async fn removal_that_fails_is_tried_again_and_keeps_no_other_from_going() {
    let device = Device::new().await;
    let stuck = PathBuf::from("no\0path");
    let other = device.directory.path().join("other");
    fs::create_dir(&other).unwrap();
    let paths = [stuck.clone(), other.clone()];
    device.content.shared().replaced().extend(paths);

    device.content.retain(vec![], vec![]).await.unwrap();

    assert!(!other.exists());
    assert_eq!(*device.content.shared().replaced(), [stuck]);
}
