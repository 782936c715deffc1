//! What is not in use stays for its time, which counts from when it was no
//! longer desired.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::support::{Device, Tar, layer_package};
use crate::layermanager::expiry;
use crate::layermanager::{Users, store};
use crate::model::{LayerInfo, ServiceId, ServiceKey};

const HOUR: i64 = 3600;

fn layer(device: &Device) -> LayerInfo {
    let tar = Tar::new().file("file", "text").build();
    device.layer(&tar, &layer_package(&tar))
}

async fn installed(device: &Device) -> (LayerInfo, PathBuf) {
    let info = layer(device);
    device.content.install_layer(&info).await.unwrap();
    let path = device.layers().join(info.digest.replace(':', "/"));
    (info, path)
}

/// A service that nobody had to unpack as root.
async fn service(device: &Device, id: &'static str) -> (ServiceKey, PathBuf) {
    let path = device.services().join(id);
    fs::create_dir(&path).unwrap();
    device
        .database
        .call(move |connection| {
            let sql = "INSERT INTO services VALUES (?1, 1, '', '', '', 0, ?1, '', '', 1, NULL)";
            connection.execute(sql, [id])?;
            Ok(())
        })
        .await
        .unwrap();
    let key = ServiceKey {
        id: ServiceId::from(id),
        version: 1,
    };
    (key, path)
}

async fn cached_since(device: &Device) -> Option<i64> {
    device
        .database
        .call(|connection| {
            let sql = "SELECT cached_since FROM layers";
            Ok(connection.query_row(sql, [], |row| row.get(0))?)
        })
        .await
        .unwrap()
}

async fn retain_at(device: &Device, now: i64) {
    let database = &device.database;
    store::retain(database, vec![], vec![], now).await.unwrap();
}

async fn expire(device: &Device, now: i64) {
    expiry::expire(device.content.shared(), now).await.unwrap();
}

#[tokio::test]
async fn what_is_not_in_use_is_cached_from_the_first_time_on() {
    let device = Device::new().await;
    installed(&device).await;

    for now in [1000, 2000] {
        retain_at(&device, now).await;
    }

    assert_eq!(cached_since(&device).await, Some(1000));
}

#[tokio::test]
async fn time_of_a_clock_that_was_wrong_becomes_now() {
    let device = Device::new().await;
    installed(&device).await;

    for now in [9_000_000_000, 1000] {
        retain_at(&device, now).await;
    }

    assert_eq!(cached_since(&device).await, Some(1000));
}

#[tokio::test]
async fn what_is_in_use_again_is_not_cached_any_more() {
    let device = Device::new().await;
    let (info, _) = installed(&device).await;
    device.content.retain(vec![], vec![]).await.unwrap();
    assert!(cached_since(&device).await.is_some());

    let digests = vec![info.digest.clone(), "unknown".into()];
    device.content.retain(vec![], digests).await.unwrap();
    assert_eq!(cached_since(&device).await, None);
}

#[tokio::test]
async fn restore_needs_no_package_and_begins_the_time_anew() {
    let device = Device::new().await;
    let (mut info, path) = installed(&device).await;
    retain_at(&device, 1000).await;

    info.url = "file:///missing".into();
    device.content.install_layer(&info).await.unwrap();

    assert_eq!(cached_since(&device).await, None);
    retain_at(&device, 1000 + 2 * HOUR).await;
    expire(&device, 1000 + 4 * HOUR - 1).await;
    assert!(path.exists());
    expire(&device, 1000 + 4 * HOUR).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn cached_layer_goes_after_its_time_and_not_before() {
    let device = Device::new().await;
    let (_, path) = installed(&device).await;
    let record = path.with_extension("files");
    fs::write(&record, "").unwrap();
    retain_at(&device, 1000).await;

    expire(&device, 1000 + 2 * HOUR - 1).await;
    assert!(path.exists());

    expire(&device, 1000 + 2 * HOUR).await;
    assert!(!path.exists() && !record.exists());
    assert_eq!(store::layers(&device.database).await.unwrap(), []);
}

#[tokio::test]
async fn services_and_layers_have_times_of_their_own() {
    let device = Device::new().await;
    let (_, layer) = installed(&device).await;
    let (_, service) = service(&device, "web").await;
    retain_at(&device, 1000).await;

    expire(&device, 1000 + HOUR).await;

    assert!(!service.exists() && layer.exists());
}

#[tokio::test]
async fn time_goes_on_across_a_restart_and_was_not_counted_while_in_use() {
    let mut device = Device::new().await;
    let (_, path) = installed(&device).await;
    // In use for longer than its time as a cached one.
    expire(&device, i64::MAX).await;
    retain_at(&device, 1_000_000).await;

    device.restart().await;

    assert_eq!(cached_since(&device).await, Some(1_000_000));
    expire(&device, 1_000_000 + 2 * HOUR - 1).await;
    assert!(path.exists());
    expire(&device, 1_000_000 + 2 * HOUR).await;
    assert!(!path.exists());
}

#[tokio::test]
async fn without_a_time_to_live_it_goes_with_the_retain_that_does_not_name_it() {
    let mut device = Device::new().await;
    device.settings.layer_ttl = Duration::ZERO;
    device.restart().await;
    let (info, path) = installed(&device).await;

    let digests = vec![info.digest.clone()];
    device.content.retain(vec![], digests).await.unwrap();
    assert!(path.exists());
    device.content.retain(vec![], vec![]).await.unwrap();

    assert!(!path.exists());
    assert_eq!(store::layers(&device.database).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_in_use_never_goes() {
    let device = Device::new().await;
    let (_, layer) = installed(&device).await;
    let (_, service) = service(&device, "web").await;

    expire(&device, i64::MAX).await;

    assert!(layer.exists() && service.exists());
}

#[tokio::test]
async fn what_an_instance_runs_on_outlives_its_time() {
    let mut device = Device::new().await;
    let (_, path) = installed(&device).await;
    let used = path.clone();
    device.settings.users = Users::new(move || Ok(vec![used.clone()]));
    device.restart().await;
    retain_at(&device, 1000).await;

    expire(&device, i64::MAX).await;

    assert!(path.exists());
    assert_eq!(store::layers(&device.database).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_removed_keeps_nothing_else_from_going() {
    let device = Device::new().await;
    let (_, path) = installed(&device).await;
    device
        .database
        .call(|connection| {
            let sql = "INSERT INTO layers VALUES ('stuck', '', 1, '', '', ?1, 1, NULL)";
            connection.execute(sql, ["stuck\0"])?;
            Ok(())
        })
        .await
        .unwrap();
    retain_at(&device, 1000).await;

    expire(&device, i64::MAX).await;

    assert!(!path.exists());
    let left = device.content.shared().replaced().clone();
    assert_eq!(left, [device.layers().join("stuck\0")]);
}

#[tokio::test]
async fn size_of_a_row_is_what_the_content_takes_of_the_disk() {
    let device = Device::new().await;
    let (_, path) = installed(&device).await;

    let size: i64 = device
        .database
        .call(|connection| {
            Ok(connection.query_row("SELECT size FROM layers", [], |row| row.get(0))?)
        })
        .await
        .unwrap();

    let usage = crate::layermanager::space::disk_usage(&path).unwrap();
    assert_eq!(size, usage.bytes.cast_signed());
    assert!(size >= 4096, "{size}");
}

#[tokio::test]
async fn database_that_refuses_is_told_later() {
    let device = Device::new().await;
    installed(&device).await;
    let refuse =
        "CREATE TRIGGER full BEFORE UPDATE ON layers BEGIN SELECT RAISE(ABORT, 'full'); END";
    execute(&device, refuse).await;

    device.content.retain(vec![], vec![]).await.unwrap_err();

    assert_eq!(cached_since(&device).await, None);
    execute(&device, "DROP TRIGGER full").await;
    tokio::time::pause();
    while cached_since(&device).await.is_none() {
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::task::yield_now().await;
    }
    assert!(device.content.shared().untold().is_none());
}

async fn execute(device: &Device, sql: &'static str) {
    let done = device
        .database
        .call(move |connection| Ok(connection.execute_batch(sql)?));
    done.await.unwrap();
}
