//! What becomes of installed items that are proven and checked.

use std::fs;
use std::time::Duration;

use aos_package::MANIFEST_FILE;
use tokio::sync::mpsc;

use super::device::{Device, LAYER_DIGEST, info, layer_item, service_item};
use crate::layermanager::error::ContentError;
use crate::layermanager::shared::Retained;
use crate::layermanager::verify::{CheckSettings, run};
use crate::layermanager::{record, store};
use crate::model::Damage;

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
async fn damaged_content_stays_as_long_as_instances_run_on_it() {
    let mut device = Device::new().await;
    let (root, directory) = (device.service().join("rootfs"), device.service());
    device.shared.hold(vec![root.clone()]);
    fs::write(root.join("app"), "APP").unwrap();
    device.check().await;
    device.damage.recv().await.unwrap();

    let replaced = device.shared.take_replaced();
    let retained = device.shared.retain(Retained::default(), replaced).await;
    let held = directory.exists();
    device.shared.hold(vec![]);
    let replaced = device.shared.take_replaced();
    let let_go = device.shared.retain(Retained::default(), replaced).await;

    assert!(retained.is_ok() && let_go.is_ok());
    assert!(held && !directory.exists());
    assert!(!record::beside(&directory).exists());
}

#[tokio::test]
async fn own_layers_of_a_service_are_proven_with_it_and_not_taken_for_shared_ones() {
    let device = Device::new().await;
    let own = device.service().join("rootfs-1");
    fs::create_dir(&own).unwrap();
    let mut content = device.content().await.unwrap();
    content.layers.insert(0, own);

    assert_eq!(device.prove_this(content).await, Ok(()));
}
