//! Content that release 7.2.3 installed.

use std::fs;
use std::path::PathBuf;

use aos_package::{Algorithm, Digest, blob_path};
use serde_json::json;

use super::device::{Device, info, service_item};
use crate::layermanager::record;

/// Gives service `web` the layout of release 7.2.3.
async fn make_old(device: &Device, is_checked: bool) -> PathBuf {
    let root = Digest::of(Algorithm::Sha256, b"root");
    let place = device.service().join(blob_path(&root));
    fs::rename(device.service().join("rootfs"), &place).unwrap();
    fs::remove_file(record::beside(&device.service())).unwrap();
    let unchecked = json!([info().key()]).to_string();
    let sql = "INSERT INTO config (key, value) VALUES ('takeover.unchecked', ?1)";
    if !is_checked {
        let database = &device.shared.database;
        let stored = database.call(move |connection| Ok(connection.execute(sql, [unchecked])?));
        stored.await.unwrap();
    }
    place
}

#[tokio::test]
async fn root_among_the_blobs_is_started_recorded_and_then_looked_after() {
    let mut device = Device::new().await;
    let root = make_old(&device, true).await;

    let before = device.prove().await;
    device.check().await;
    let recorded = device.prove().await;
    fs::write(root.join("app"), "APP").unwrap();
    device.check().await;

    assert_eq!((before, recorded), (Ok(()), Ok(())));
    let damage = device.damage.recv().await.unwrap();
    assert_eq!(damage.item, service_item());
    let file = root.join("app");
    assert_eq!(
        damage.reason,
        format!("{} has other content", file.display())
    );
}

#[tokio::test]
async fn what_the_older_release_installed_is_not_recorded_before_its_own_hash_was_checked() {
    let mut device = Device::new().await;
    make_old(&device, false).await;

    device.check().await;

    assert!(!record::beside(&device.service()).exists());
    assert!(device.damage.try_recv().is_err());
    assert_eq!(device.prove().await, Ok(()));
}
