//! Images that other tools have made, with several layers.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::support::{Device, Tar, gzip, sha256, tar_of, told};
use crate::layermanager::ContentError;
use crate::model::ServiceContent;

const LAYERS: [&str; 3] = ["top", "middle", "base"];

fn layer(name: &str) -> Vec<u8> {
    Tar::new().file(name, name).file("shared", name).build()
}

fn blob(content: &[u8]) -> (String, Vec<u8>) {
    (aos_package::blob_path(&sha256(content)), content.to_vec())
}

fn config() -> Vec<u8> {
    let layers = ["base", "middle", "top"].map(|name| sha256(&layer(name)));
    let config = json!({
        "os": "linux",
        "architecture": aos_package::Platform::host().architecture,
        "config": {"Entrypoint": ["/bin/service"]},
        "rootfs": {"type": "layers", "diff_ids": layers},
    });
    config.to_string().into_bytes()
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    let media_type = format!("application/vnd.oci.image.{media_type}");
    json!({"mediaType": media_type, "digest": sha256(content), "size": content.len()})
}

/// A layout with these blobs as its layers, the base first.
fn layout(layers: &[Vec<u8>], media_type: &str) -> Vec<(String, Vec<u8>)> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config()),
        "layers": layers.iter().map(|layer| descriptor(media_type, layer)).collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    let index = json!({
        "schemaVersion": 2,
        "manifests": [descriptor("manifest.v1+json", &manifest)],
    });

    let mut files = layers.iter().map(|layer| blob(layer)).collect::<Vec<_>>();
    files.extend([blob(&config()), blob(&manifest)]);
    let version = br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec();
    files.push(("oci-layout".into(), version));
    files.push(("index.json".into(), index.to_string().into_bytes()));
    files
}

fn plain_layers() -> Vec<Vec<u8>> {
    let base_first = LAYERS.iter().rev();
    base_first.map(|name| layer(name)).collect()
}

/// What `docker save` writes of the blobs with these names.
fn saved(layers: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let names = layers.iter().map(|(name, _)| name).collect::<Vec<_>>();
    let manifest = json!([{"Config": "config.json", "Layers": names}]).to_string();
    let mut files = layers.to_vec();
    files.push(("config.json".into(), config()));
    files.push(("manifest.json".into(), manifest.into_bytes()));
    files
}

async fn installed(device: &Device, package: &[u8]) -> Result<ServiceContent, ContentError> {
    let info = device.service("image", 1, package);
    device.content.install_service(&info).await?;
    device.content.service(&info.key()).await
}

fn assert_is_whole(service: &ServiceContent) {
    let roots = [&service.root].into_iter().chain(&service.layers);
    let roots = roots
        .map(std::path::PathBuf::as_path)
        .collect::<Vec<&Path>>();
    assert_eq!(roots.len(), 3);
    for (root, name) in roots.iter().zip(LAYERS) {
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), name);
        assert_eq!(fs::read_to_string(root.join("shared")).unwrap(), name);
    }
    assert_eq!(roots[0].file_name().unwrap(), "rootfs");
    assert_eq!(roots[2].file_name().unwrap(), "rootfs-2");
    assert!(service.layer_digests.is_empty());
    assert_eq!(service.image.config.entrypoint, ["/bin/service"]);
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn oci_layout_has_a_root_for_each_layer_top_first() {
    let compressed = plain_layers().into_iter().map(|layer| gzip(&layer));
    for (layers, media_type) in [
        (plain_layers(), "layer.v1.tar"),
        (compressed.collect(), "layer.v1.tar+gzip"),
    ] {
        for reversed in [false, true] {
            let mut files = layout(&layers, media_type);
            if reversed {
                files.reverse();
            }
            let device = Device::new().await;

            let service = installed(&device, &tar_of(&files)).await;

            assert_is_whole(&service.unwrap());
        }
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn docker_archive_is_checked_by_the_digests_of_its_tars() {
    let plain = |name: &str| (format!("{name}/layer.tar"), layer(name));
    let compressed = |name: &str| (format!("{name}.tar.gz"), gzip(&layer(name)));
    for layers in [
        ["base", "middle", "top"].map(plain),
        ["base", "middle", "top"].map(compressed),
    ] {
        let device = Device::new().await;

        let service = installed(&device, &tar_of(&saved(&layers))).await;

        assert_is_whole(&service.unwrap());
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn layer_whose_name_promises_another_digest_gets_a_second_look() {
    // By their names these are checked as they are, by the manifest as the tar
    // that they hold.
    let layers = ["base", "middle", "top"].map(|name| blob(&gzip(&layer(name))));
    let package = tar_of(&saved(&layers));

    for package in [gzip(&package), package] {
        let device = Device::new().await;

        let service = installed(&device, &package).await;

        assert_is_whole(&service.unwrap());
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn wrong_layer_of_an_image_is_named() {
    let names = ["base", "middle", "top"].map(|name| format!("{name}/layer.tar"));
    for (wrong, what) in [
        (0, "layer base/layer.tar"),
        (1, "layer middle/layer.tar"),
        (2, "the root filesystem"),
    ] {
        let mut layers = names.clone().map(|name| {
            let content = layer(name.strip_suffix("/layer.tar").unwrap());
            (name, content)
        });
        layers[wrong].1 = layer("other");
        let device = Device::new().await;

        let error = installed(&device, &tar_of(&saved(&layers))).await;

        let text = told(&error.unwrap_err());
        assert!(text.contains(&format!("{what}: digest mismatch")), "{text}");
        assert!(device.is_empty());
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn layer_that_is_an_archive_without_files_is_an_empty_root() {
    let empty = vec![0; 1024];
    let config = json!({
        "os": "linux",
        "config": {"Cmd": ["/bin/service"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256(&layer("base")), sha256(&empty)]},
    });
    let manifest = json!([{"Config": "config.json", "Layers": ["base.tar", "empty.tar"]}]);
    let device = Device::new().await;

    let service = installed(
        &device,
        &tar_of(&[
            ("base.tar".into(), layer("base")),
            ("empty.tar".into(), empty),
            ("config.json".into(), config.to_string().into_bytes()),
            ("manifest.json".into(), manifest.to_string().into_bytes()),
        ]),
    )
    .await
    .unwrap();

    assert_eq!(fs::read_dir(&service.root).unwrap().count(), 0);
    assert!(service.layers[0].join("base").exists());
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn image_that_lost_one_of_its_roots_is_damaged() {
    let device = Device::new().await;
    let package = tar_of(&layout(&plain_layers(), "layer.v1.tar"));
    let service = installed(&device, &package).await.unwrap();

    fs::remove_dir_all(&service.layers[1]).unwrap();
    let error = device.content.service(&service.key).await.unwrap_err();

    assert!(told(&error).contains("rootfs-2"), "{}", told(&error));
}
