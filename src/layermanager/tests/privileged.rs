//! Services: their files belong to root, so nobody else can install them.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use aos_package::archive::Compression;
use aos_package::pack::{LayerSource, ServiceSource, pack_layer, pack_service};
use aos_package::{ImageConfig, ServiceConfig};
use tar::EntryType;
use tempfile::{NamedTempFile, TempDir};

use super::support::{Device, ServiceParts, Tar, gzip, layer_package, sha256, told};
use super::unpacking::unpack_to;
use crate::layermanager::{expiry, store};
use crate::model::ServiceInfo;

fn root(text: &str) -> Vec<u8> {
    Tar::new().file("file", text).build()
}

fn service(device: &Device, version: u64, text: &str) -> ServiceInfo {
    let package = ServiceParts::new(&root(text)).build();
    device.service("foo", version, &package)
}

async fn text_of(device: &Device, info: &ServiceInfo) -> String {
    let content = device.content.service(&info.key()).await.unwrap();
    fs::read_to_string(content.root.join("file")).unwrap()
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn installed_service_is_read_back_as_it_was_packed() {
    let device = Device::new().await;
    let layer_tar = root("shared");
    let layer = device.layer(&layer_tar, &layer_package(&layer_tar));
    let package = ServiceParts::new(&root("own"))
        .shared_layer(&sha256(&layer_tar))
        .build();
    let info = device.service("foo", 3, &package);

    let layers = device.content.install_service(&info).await.unwrap();
    device.content.install_layer(&layer).await.unwrap();
    let content = device.content.service(&info.key()).await.unwrap();

    assert_eq!(layers, [layer.digest]);
    assert_eq!(content.key, info.key());
    assert_eq!(content.gid, 5000);
    assert_eq!(content.provider_id, "provider".into());
    assert_eq!(content.image.config.entrypoint, ["/bin/service"]);
    assert_eq!(content.config.quotas.ram_limit, Some(1024));
    assert_eq!(
        fs::read_to_string(content.root.join("file")).unwrap(),
        "own"
    );
    let shared = content.layers[0].join("file");
    assert_eq!(fs::read_to_string(shared).unwrap(), "shared");
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn compressed_service_in_a_compressed_package_is_installed() {
    let device = Device::new().await;
    let package = gzip(&ServiceParts::new(&gzip(&root("text"))).build());
    let info = device.service("foo", 3, &package);

    device.content.install_service(&info).await.unwrap();

    assert_eq!(text_of(&device, &info).await, "text");
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn packed_service_and_layer_are_installed() {
    let device = Device::new().await;
    let source = TempDir::new().unwrap();
    fs::write(source.path().join("file"), "text").unwrap();
    symlink("/nowhere", source.path().join("x")).unwrap();
    let output = |name: &str| device.directory.path().join(name);

    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let layer = LayerSource {
            root: source.path(),
            os_version: None,
            compression,
        };
        let layer = pack_layer(&layer, &output("layer")).unwrap();
        let digest = layer.layer_digest.unwrap();
        let service = ServiceSource {
            rootfs: source.path(),
            image: &ImageConfig::default(),
            config: Some(&ServiceConfig::default()),
            layers: std::slice::from_ref(&digest),
            compression,
        };
        pack_service(&service, &output("service")).unwrap();
        let info = device.service("packed", 1, &fs::read(output("service")).unwrap());
        let tar = device.layer(b"", &fs::read(output("layer")).unwrap());
        let layer = crate::model::LayerInfo { digest, ..tar };

        device.content.install_service(&info).await.unwrap();
        device.content.install_layer(&layer).await.unwrap();

        assert_eq!(text_of(&device, &info).await, "text");
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn files_belong_to_root_and_the_group_and_the_host_keeps_its_own() {
    let device = Device::new().await;
    let host = device.directory.path().join("shadow");
    fs::write(&host, "secret").unwrap();
    let tar = Tar::new()
        .entry("d/sub", EntryType::Directory, 0o755, "", b"")
        .file("d/file", "x")
        .symlink("x", &host.display().to_string())
        .symlink("dangling", "/nowhere")
        .file("implicit/.wh.gone", "")
        .build();
    let info = device.service("foo", 3, &ServiceParts::new(&tar).build());

    device.content.install_service(&info).await.unwrap();

    let content = device.content.service(&info.key()).await.unwrap();
    for name in [
        "",
        "d",
        "d/sub",
        "d/file",
        "x",
        "dangling",
        "implicit",
        "implicit/gone",
    ] {
        let metadata = fs::symlink_metadata(content.root.join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, 5000), "{name}");
    }
    let metadata = fs::metadata(&host).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn layer_files_keep_the_owners_of_the_archive() {
    let (target, host) = (TempDir::new().unwrap(), NamedTempFile::new().unwrap());
    let tar = Tar::new()
        .pax(&[("uid", b"1234"), ("gid", b"70000")])
        .file("file", "x")
        .pax(&[("uid", b"1234"), ("gid", b"70000")])
        .symlink("link", &host.path().display().to_string())
        .pax(&[("uid", b"1234"), ("gid", b"70000")])
        .directory("directory")
        .build();

    unpack_to(target.path(), &tar).unwrap();

    for name in ["file", "link", "directory"] {
        let metadata = fs::symlink_metadata(target.path().join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 70000), "{name}");
    }
    assert_eq!(fs::metadata(host.path()).unwrap().uid(), 0);
}

fn is_opaque(path: &Path) -> bool {
    xattr::get(path, "trusted.overlay.opaque").unwrap() == Some(b"y".to_vec())
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn opaque_mark_becomes_an_attribute_and_is_gone() {
    let target = TempDir::new().unwrap();
    let tar = Tar::new()
        .file("a/.wh..wh..opq", "")
        .entry("a", EntryType::Directory, 0o500, "", b"")
        .file(".wh..wh..opq", "")
        .directory("b")
        .build();

    unpack_to(target.path(), &tar).unwrap();

    assert!(is_opaque(&target.path().join("a")));
    assert!(is_opaque(target.path()));
    assert!(!is_opaque(&target.path().join("b")));
    assert_eq!(fs::read_dir(target.path().join("a")).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn directory_with_a_whiteout_of_its_own_name_hides_what_is_below() {
    let target = TempDir::new().unwrap();
    let tar = Tar::new()
        .file(".wh.a", "")
        .directory("a")
        .directory("b")
        .file(".wh.b", "")
        .file(".wh.c", "")
        .file("c/file", "x")
        .build();

    unpack_to(target.path(), &tar).unwrap();

    for name in ["a", "b", "c"] {
        assert!(is_opaque(&target.path().join(name)), "{name}");
    }
    assert!(target.path().join("c/file").is_file());
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn hostile_root_is_refused_by_name_and_leaves_nothing() {
    let device = Device::new().await;
    let tar = Tar::new()
        .file("a", "x")
        .file("../../etc/passwd", "x")
        .build();
    let info = device.service("foo", 3, &ServiceParts::new(&tar).build());

    let error = device.content.install_service(&info).await.unwrap_err();

    assert_eq!(
        told(&error),
        format!(
            "cannot install service foo version 3: package {}: the root filesystem: \
             entry ../../etc/passwd leaves the root",
            info.url
        )
    );
    assert!(device.is_empty());
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn changed_root_is_refused_and_leaves_nothing() {
    let device = Device::new().await;
    let mut parts = ServiceParts::new(&root("text"));
    parts.files[2].1[512] ^= 1;
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
async fn same_service_again_needs_no_package() {
    let device = Device::new().await;
    let info = service(&device, 3, "text");
    device.content.install_service(&info).await.unwrap();

    let again = ServiceInfo {
        url: "file:///missing".into(),
        provider_id: "another".into(),
        ..info.clone()
    };
    device.content.install_service(&again).await.unwrap();

    let content = device.content.service(&info.key()).await.unwrap();
    assert_eq!(content.provider_id, "another".into());
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn two_versions_are_there_side_by_side() {
    let device = Device::new().await;
    let (old, new) = (service(&device, 1, "old"), service(&device, 2, "new"));

    device.content.install_service(&old).await.unwrap();
    device.content.install_service(&new).await.unwrap();

    assert_eq!(text_of(&device, &old).await, "old");
    assert_eq!(text_of(&device, &new).await, "new");
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn failed_update_of_the_same_version_leaves_the_old_one() {
    let device = Device::new().await;
    let first = service(&device, 3, "first");
    device.content.install_service(&first).await.unwrap();

    let mut bad = service(&device, 3, "second");
    bad.sha256[0] ^= 1;
    device.content.install_service(&bad).await.unwrap_err();

    assert_eq!(text_of(&device, &first).await, "first");
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn another_group_gets_files_of_its_own() {
    let device = Device::new().await;
    let info = service(&device, 3, "text");
    device.content.install_service(&info).await.unwrap();

    let other = ServiceInfo { gid: 6000, ..info };
    device.content.install_service(&other).await.unwrap();

    let content = device.content.service(&other.key()).await.unwrap();
    assert_eq!(fs::metadata(content.root.join("file")).unwrap().gid(), 6000);
}

async fn directory_of(device: &Device, info: &ServiceInfo) -> PathBuf {
    let content = device.content.service(&info.key()).await.unwrap();
    content.root.parent().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn damage_is_told_by_file_and_repaired_by_an_install() {
    let device = Device::new().await;
    let info = service(&device, 3, "text");
    device.content.install_service(&info).await.unwrap();
    let directory = directory_of(&device, &info).await;
    let blobs = fs::read_dir(directory.join("blobs/sha256")).unwrap();
    let blobs = blobs.map(|entry| Path::new("blobs/sha256").join(entry.unwrap().file_name()));
    let damaged = blobs.chain(["manifest.json".into()]).collect::<Vec<_>>();

    for name in damaged {
        let file = directory_of(&device, &info).await.join(name);
        fs::write(&file, "changed").unwrap();
        let text = told(&device.content.service(&info.key()).await.unwrap_err());
        let start = "service foo version 3 is damaged: ";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains(file.to_str().unwrap()), "{text}");

        device.content.install_service(&info).await.unwrap();
        assert_eq!(text_of(&device, &info).await, "text");
    }

    let root = directory_of(&device, &info).await.join("rootfs");
    fs::remove_dir_all(&root).unwrap();
    let error = device.content.service(&info.key()).await.unwrap_err();
    assert!(told(&error).contains(root.to_str().unwrap()));
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn missing_layer_is_named() {
    let device = Device::new().await;
    let digest = sha256(b"layer");
    let package = ServiceParts::new(&root("own"))
        .shared_layer(&digest)
        .build();
    let info = device.service("foo", 3, &package);
    device.content.install_service(&info).await.unwrap();

    let error = device.content.service(&info.key()).await.unwrap_err();

    assert_eq!(
        told(&error),
        format!("service foo version 3: layer {digest} is not installed")
    );
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn cached_service_goes_after_its_time_and_one_in_use_stays() {
    let device = Device::new().await;
    let (cached, used) = (service(&device, 1, "old"), service(&device, 2, "new"));
    device.content.install_service(&cached).await.unwrap();
    device.content.install_service(&used).await.unwrap();
    store::retain(&device.database, vec![used.key()], vec![], 1000)
        .await
        .unwrap();

    expiry::expire(device.content.shared(), 1000 + 3600)
        .await
        .unwrap();

    assert_eq!(text_of(&device, &used).await, "new");
    assert!(device.content.service(&cached.key()).await.is_err());
    assert_eq!(device.installed(), 1);
}
