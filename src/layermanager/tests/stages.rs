//! What a crash leaves of an install, in each of its states, is no item.

use std::fs;
use std::path::{Path, PathBuf};

use super::support::{Device, ServiceParts, Tar};
use crate::layermanager::record::beside;
use crate::layermanager::staging::{Staging, publish};
use crate::model::ServiceInfo;

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names = names.collect::<Vec<_>>();
    names.sort();
    names
}

fn staged(directory: &Path) -> Staging {
    let staging = Staging::new(directory).unwrap();
    fs::create_dir_all(staging.content().join("rootfs")).unwrap();
    fs::write(staging.content().join("manifest.json"), "{}").unwrap();
    fs::write(staging.record(), "record").unwrap();
    staging
}

/// The name of a state, and what leaves it behind in a directory.
type State = (&'static str, fn(&Path));

/// What is on the disk when the power goes in each state of an install.
fn states() -> [State; 5] {
    fn target(directory: &Path) -> PathBuf {
        directory.join("item")
    }
    [
        ("nothing staged", |directory| {
            std::mem::forget(Staging::new(directory).unwrap());
        }),
        ("staged", |directory| {
            let staging = staged(directory);
            fs::remove_file(staging.record()).unwrap();
            std::mem::forget(staging);
        }),
        ("synced", |directory| std::mem::forget(staged(directory))),
        ("recorded", |directory| {
            let staging = staged(directory);
            fs::rename(staging.record(), beside(&target(directory))).unwrap();
            std::mem::forget(staging);
        }),
        ("published", |directory| {
            let staging = staged(directory);
            publish(&staging, directory, &target(directory)).unwrap();
            std::mem::forget(staging);
        }),
    ]
}

fn service(device: &Device) -> ServiceInfo {
    let root = Tar::new().file("bin/service", "#!").build();
    device.service("foo", 3, &ServiceParts::new(&root).build())
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn crash_in_any_state_leaves_the_items_that_there_were() {
    let mut device = Device::new().await;
    let info = service(&device);
    device.content.install_service(&info).await.unwrap();
    let before = names(&device.services());
    assert_eq!(before.len(), 2, "directory and record: {before:?}");

    for (state, leave) in states() {
        leave(&device.services());
        assert!(names(&device.services()).len() > before.len(), "{state}");

        device.restart().await;
        let services = vec![info.key()];
        device.content.retain(services, Vec::new()).await.unwrap();

        assert_eq!(names(&device.services()), before, "{state}");
        device.content.service(&info.key()).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn install_after_a_crash_is_as_any_other() {
    for (state, leave) in states() {
        let mut device = Device::new().await;
        leave(&device.services());

        device.restart().await;
        let info = service(&device);
        device.content.install_service(&info).await.unwrap();
        let services = vec![info.key()];
        device.content.retain(services, Vec::new()).await.unwrap();

        device.content.service(&info.key()).await.unwrap();
        assert_eq!(names(&device.services()).len(), 2, "{state}");
    }
}

#[tokio::test]
async fn layer_whose_record_was_left_alone_can_be_installed() {
    let device = Device::new().await;
    let tar = Tar::new().file("a", "text").build();
    let info = device.layer(&tar, &super::support::layer_package(&tar));
    let place = device.layers().join(info.digest.replace(':', "/"));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(beside(&place), "of what was here before").unwrap();

    device.content.install_layer(&info).await.unwrap();
}
