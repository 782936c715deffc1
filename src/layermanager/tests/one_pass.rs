//! Packages are read once, whatever comes first in them and however they are
//! compressed.

use std::fs;

use serde_json::json;

use super::support::{Device, ServiceParts, Tar, gzip, layer_package, sha256, tar_of, told};
use crate::layermanager::record::{self, Entry, Kind, Record};
use crate::model::ServiceContent;

fn root() -> Vec<u8> {
    Tar::new()
        .file("bin/service", "#!")
        .hard_link("bin/other", "bin/service")
        .symlink("link", "bin")
        .file("etc/.wh.gone", "")
        .build()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// All orders of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let shorter = orders(last).into_iter();
    shorter
        .flat_map(|order| {
            (0..count).map(move |place| {
                let mut order = order.clone();
                order.insert(place, last);
                order
            })
        })
        .collect()
}

async fn installed(device: &Device, package: &[u8]) -> ServiceContent {
    let info = device.service("foo", 3, package);
    let installed = device.content.install_service(&info).await;
    installed.unwrap_or_else(|error| panic!("{}", told(&error)));
    device.content.service(&info.key()).await.unwrap()
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn files_of_a_package_may_come_in_any_order() {
    let parts = ServiceParts::new(&root());
    let mut files = parts.files;
    files.push(("manifest.json".into(), parts.manifest.to_string().into()));

    for order in orders(files.len()) {
        let files = order.iter().map(|index| files[*index].clone());
        let device = Device::new().await;

        let service = installed(&device, &tar_of(&files.collect::<Vec<_>>())).await;

        let file = fs::read_to_string(service.root.join("bin/service"));
        assert_eq!(file.unwrap(), "#!", "{order:?}");
    }
}

#[tokio::test]
async fn layer_package_may_begin_with_its_layer() {
    let device = Device::new().await;
    let tar = Tar::new().file("a", "text").build();
    let descriptor = json!({"digest": sha256(&tar)}).to_string();
    let package = tar_of(&[
        (sha256(&tar).hex().to_owned(), tar.clone()),
        ("layer.json".into(), descriptor.into_bytes()),
    ]);

    let info = device.layer(&tar, &package);
    device.content.install_layer(&info).await.unwrap();

    let layer = device.layers().join("sha256").join(sha256(&tar).hex());
    assert_eq!(fs::read_to_string(layer.join("a")).unwrap(), "text");
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn package_and_filesystem_may_be_compressed_or_not() {
    type Compress = fn(&[u8]) -> Vec<u8>;
    let ways: [(&str, Compress); 3] = [("plain", <[u8]>::to_vec), ("gzip", gzip), ("zstd", zstd)];

    for (outer_name, outer) in ways {
        for (inner_name, inner) in ways {
            let device = Device::new().await;

            let package = outer(&ServiceParts::new(&inner(&root())).build());
            let service = installed(&device, &package).await;

            let file = fs::read_to_string(service.root.join("bin/service"));
            assert_eq!(file.unwrap(), "#!", "{inner_name} in {outer_name}");
        }
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn filesystem_that_is_not_the_promised_one_is_refused() {
    let device = Device::new().await;
    let other = Tar::new().file("other", "").build();
    let mut parts = ServiceParts::new(&root());
    parts.files[2].1 = other;

    let info = device.service("foo", 3, &parts.build());
    let error = device.content.install_service(&info).await.unwrap_err();

    let text = told(&error);
    assert!(
        text.contains("the root filesystem: digest mismatch"),
        "{text}"
    );
    assert!(device.is_empty());
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn bytes_after_the_end_of_a_filesystem_count_for_its_digest() {
    let longer = [&root()[..], b"more"].concat();
    let device = Device::new().await;
    let mut parts = ServiceParts::new(&longer);
    installed(&device, &parts.build()).await;

    parts = ServiceParts::new(&root());
    parts.files[2].1 = longer;
    let info = device.service("foo", 4, &parts.build());
    let error = device.content.install_service(&info).await.unwrap_err();

    assert!(told(&error).contains("digest mismatch"));
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn damaged_archive_that_nobody_needs_does_no_harm() {
    let damaged = gzip(&[7; 5000]);
    let hostile = Tar::new().file("../../out", "x").build();
    for place in [0, 3] {
        let device = Device::new().await;
        let mut parts = ServiceParts::new(&root());
        for content in [&damaged, &hostile] {
            let name = aos_package::blob_path(&sha256(content));
            parts.files.insert(place, (name, content.clone()));
        }
        let manifest = parts.manifest.to_string().into_bytes();
        parts.files.push(("manifest.json".into(), manifest));

        let service = installed(&device, &tar_of(&parts.files)).await;

        assert!(service.root.join("bin/service").exists());
        let item = service.root.parent().unwrap();
        assert_eq!(fs::read_dir(item).unwrap().count(), 3);
        assert_eq!(fs::read_dir(device.services()).unwrap().count(), 2);
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn later_one_of_two_filesystems_of_a_name_counts() {
    let device = Device::new().await;
    let mut parts = ServiceParts::new(&root());
    let (name, root) = parts.files[2].clone();
    let other = Tar::new().file("other", "").build();
    parts.files[2].1 = other.clone();
    parts.files.push((name.clone(), root));
    installed(&device, &parts.build()).await;

    let mut parts = ServiceParts::new(&super::one_pass::root());
    parts.files.push((name, other));
    let info = device.service("foo", 4, &parts.build());
    let error = device.content.install_service(&info).await.unwrap_err();

    assert!(told(&error).contains("digest mismatch"));
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn every_file_is_in_the_record() {
    let device = Device::new().await;
    let package = ServiceParts::new(&root()).build();
    let service = installed(&device, &package).await;
    let tar = Tar::new().directory("d").file("d/f", "text").build();
    let layer = device.layer(&tar, &layer_package(&tar));
    device.content.install_layer(&layer).await.unwrap();
    let layer = device.layers().join("sha256").join(sha256(&tar).hex());

    for item in [service.root.parent().unwrap(), &layer] {
        let entries = Record::open(&record::beside(item)).unwrap();
        let entries = entries.collect::<Result<Vec<Entry>, _>>().unwrap();
        let files = entries.iter().filter(|entry| entry.kind == Kind::File);
        assert!(files.count() > 0);

        // What is there now is what was there before it was moved into place.
        let read = device.directory.path().join("read");
        record::write_by_reading(&[("", item)], &read, &|| false).unwrap();
        let recorded = fs::read_to_string(record::beside(item)).unwrap();
        assert_eq!(fs::read_to_string(&read).unwrap(), recorded);
        fs::remove_file(read).unwrap();
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn both_configurations_may_be_the_same_blob() {
    let device = Device::new().await;
    let mut parts = ServiceParts::new(&root());
    parts.manifest["aosService"] = parts.manifest["config"].clone();

    let service = installed(&device, &parts.build()).await;

    assert!(service.root.join("bin/service").exists());
}
