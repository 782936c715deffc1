//! Layers come, stay while they are used, and go. Owners are the process, so
//! none of it needs root; services share all of this code.

use std::fs;
use std::path::PathBuf;

use aos_package::LAYER_FILE;

use super::support::{Device, Tar, gzip, layer_package, sha256, tar_of, told};
use crate::layermanager::store;
use crate::model::{LayerInfo, ServiceKey};

fn tar(text: &str) -> Vec<u8> {
    Tar::new().file("file", text).build()
}

fn layer(device: &Device, text: &str) -> LayerInfo {
    device.layer(&tar(text), &layer_package(&tar(text)))
}

fn path(device: &Device, info: &LayerInfo) -> PathBuf {
    let path = device.layers().join(info.digest.replace(':', "/"));
    let name = path.file_name().unwrap().to_str().unwrap();
    let repaired = fs::read_dir(path.parent().unwrap())
        .ok()
        .and_then(|entries| {
            let mut paths = entries.map(|entry| entry.unwrap().path());
            paths.find(|path| {
                let found = path.file_name().unwrap().to_str().unwrap();
                found.starts_with(name) && path.is_dir()
            })
        });
    repaired.unwrap_or(path)
}

fn content(device: &Device, info: &LayerInfo) -> Option<String> {
    fs::read_to_string(path(device, info).join("file")).ok()
}

#[tokio::test]
async fn layer_is_where_its_digest_says() {
    let device = Device::new().await;
    let info = layer(&device, "text");

    device.content.install_layer(&info).await.unwrap();

    assert_eq!(content(&device, &info).as_deref(), Some("text"));
    assert_eq!(fs::read_dir(device.layers()).unwrap().count(), 1);
}

#[tokio::test]
async fn compressed_layer_in_a_compressed_package_is_installed() {
    let device = Device::new().await;
    let tar = gzip(&tar("text"));
    let info = device.layer(&tar, &gzip(&layer_package(&tar)));

    device.content.install_layer(&info).await.unwrap();

    assert_eq!(content(&device, &info).as_deref(), Some("text"));
}

#[tokio::test]
async fn order_and_prefix_of_names_in_a_package_do_not_matter() {
    let device = Device::new().await;
    let tar = tar("text");
    let digest = sha256(&tar);
    let descriptor = serde_json::json!({"digest": digest}).to_string();
    let package = tar_of(&[
        (format!("./{}", digest.hex()), tar.clone()),
        (format!("./{LAYER_FILE}"), descriptor.into_bytes()),
    ]);

    for package in [gzip(&package), package] {
        let info = device.layer(&tar, &package);
        device.content.install_layer(&info).await.unwrap();
        assert_eq!(content(&device, &info).as_deref(), Some("text"));
        fs::remove_dir_all(path(&device, &info)).unwrap();
    }
}

#[tokio::test]
async fn installed_layer_needs_its_package_no_more() {
    let device = Device::new().await;
    let mut info = layer(&device, "text");
    device.content.install_layer(&info).await.unwrap();

    info.url = "file:///missing".into();
    info.version.aos = 7;
    device.content.install_layer(&info).await.unwrap();

    assert_eq!(content(&device, &info).as_deref(), Some("text"));
}

#[tokio::test]
async fn same_layer_asked_for_at_once_is_installed_once() {
    let device = Device::new().await;
    let info = layer(&device, "text");

    let calls = (0..8).map(|_| device.content.install_layer(&info));
    let results = futures_util::future::join_all(calls).await;

    assert!(results.iter().all(Result::is_ok));
    assert_eq!(store::layers(&device.database).await.unwrap().len(), 1);
    assert_eq!(fs::read_dir(device.layers()).unwrap().count(), 1);
}

#[tokio::test]
async fn install_goes_on_when_its_caller_does_not_wait() {
    let device = Device::new().await;
    let info = layer(&device, "text");
    let mut call = Box::pin(device.content.install_layer(&info));
    while fs::read_dir(device.layers()).unwrap().count() == 0 {
        assert!(futures_util::poll!(&mut call).is_pending());
        tokio::task::yield_now().await;
    }
    drop(call);

    // Waits for the one in progress.
    let mut other = info.clone();
    other.url = "file:///missing".into();
    device.content.install_layer(&other).await.unwrap();

    assert_eq!(content(&device, &info).as_deref(), Some("text"));
}

#[tokio::test]
async fn queued_install_is_never_begun_when_its_caller_has_gone() {
    let device = Device::new().await;
    let info = layer(&device, "text");
    let shared = device.content.shared();
    let busy = shared.slots.acquire_many(2).await.unwrap();
    let mut call = Box::pin(device.content.install_layer(&info));
    for _ in 0..100 {
        assert!(futures_util::poll!(&mut call).is_pending());
        tokio::task::yield_now().await;
    }

    drop(call);
    drop(busy);

    // Fails at once if the other one was given up, and waits for it if not.
    let mut other = info.clone();
    other.url = "file:///missing".into();
    let error = device.content.install_layer(&other).await.unwrap_err();
    assert!(told(&error).contains("file:///missing"), "{}", told(&error));
    assert!(device.is_empty());
    device.content.install_layer(&info).await.unwrap();
}

#[tokio::test]
async fn one_bad_package_does_not_keep_others_from_being_installed() {
    let device = Device::new().await;
    let good = layer(&device, "good");
    let bad = LayerInfo {
        url: "file:///missing".into(),
        ..layer(&device, "bad")
    };

    let (bad, good_result) = tokio::join!(
        device.content.install_layer(&bad),
        device.content.install_layer(&good)
    );

    assert!(bad.is_err());
    assert!(good_result.is_ok());
}

#[tokio::test]
async fn failed_install_can_be_tried_again() {
    let device = Device::new().await;
    let info = layer(&device, "text");
    let bad = LayerInfo {
        size: 1,
        ..info.clone()
    };
    device.content.install_layer(&bad).await.unwrap_err();

    device.content.install_layer(&info).await.unwrap();

    assert_eq!(content(&device, &info).as_deref(), Some("text"));
}

#[tokio::test]
async fn layer_that_vanished_is_installed_again() {
    let device = Device::new().await;
    let info = layer(&device, "text");
    device.content.install_layer(&info).await.unwrap();
    fs::remove_dir_all(path(&device, &info)).unwrap();

    device.content.install_layer(&info).await.unwrap();

    assert_eq!(content(&device, &info).as_deref(), Some("text"));
}

#[tokio::test]
async fn installed_layers_survive_a_restart() {
    let mut device = Device::new().await;
    let info = layer(&device, "text");
    device.content.install_layer(&info).await.unwrap();

    device.restart().await;

    assert!(content(&device, &info).is_some());
    assert_eq!(store::layers(&device.database).await.unwrap().len(), 1);
}

#[tokio::test]
async fn unknown_service_is_told_by_name() {
    let device = Device::new().await;
    let key = ServiceKey {
        id: "foo".into(),
        version: 3,
    };

    let error = device.content.service(&key).await.unwrap_err();

    assert_eq!(told(&error), "service foo version 3 is not installed");
}
