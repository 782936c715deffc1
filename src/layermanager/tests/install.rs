//! Packages that are refused, and what CM is told of each.

use std::fs;

use serde_json::{Value, json};

use super::support::{Device, ServiceParts, Tar, gzip, layer_package, sha256, tar_of, told};
use crate::model::ServiceInfo;

fn root() -> Vec<u8> {
    Tar::new().file("bin/service", "#!").build()
}

/// The service is refused with a text that has all these parts, and nothing of
/// it is left.
async fn refuses(device: &Device, info: &ServiceInfo, parts: &[&str]) {
    let error = device.content.install_service(info).await.unwrap_err();

    let text = told(&error);
    assert!(
        text.starts_with("cannot install service foo version 3: "),
        "{text}"
    );
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    assert!(device.is_empty());
}

async fn refuses_package(package: &[u8], parts: &[&str]) {
    let device = Device::new().await;
    refuses(&device, &device.service("foo", 3, package), parts).await;
}

async fn refuses_parts(change: impl FnOnce(&mut ServiceParts), parts: &[&str]) {
    let mut service = ServiceParts::new(&root());
    change(&mut service);
    refuses_package(&service.build(), parts).await;
}

#[tokio::test]
async fn url_without_a_scheme_is_refused() {
    let device = Device::new().await;
    let info = ServiceInfo {
        url: "ftp://host/a.tar".into(),
        ..device.service("foo", 3, b"")
    };

    let parts = &[
        "ftp://host/a.tar",
        "it is not a file://, http:// or https:// URL",
    ];
    refuses(&device, &info, parts).await;
}

#[tokio::test]
async fn missing_file_is_named() {
    let device = Device::new().await;
    let info = ServiceInfo {
        url: "file:///missing/package.tar".into(),
        ..device.service("foo", 3, b"")
    };

    refuses(
        &device,
        &info,
        &["file:///missing/package.tar", "No such file"],
    )
    .await;
}

#[tokio::test]
async fn what_is_no_file_is_refused_and_does_not_hang() {
    let device = Device::new().await;
    let fifo = device.directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();

    for path in [fifo.as_path(), device.directory.path()] {
        let info = ServiceInfo {
            url: format!("file://{}", path.display()),
            ..device.service("foo", 3, b"")
        };
        refuses(&device, &info, &["it is not a file"]).await;
    }
}

#[tokio::test]
async fn wrong_size_is_told_with_both_sizes() {
    let device = Device::new().await;
    let package = ServiceParts::new(&root()).build();
    let info = ServiceInfo {
        size: 20,
        ..device.service("foo", 3, &package)
    };

    let size = format!("file is {} bytes, expected 20", package.len());
    refuses(&device, &info, &[&size]).await;
}

#[tokio::test]
async fn each_sum_is_checked() {
    let device = Device::new().await;
    let info = device.service("foo", 3, &ServiceParts::new(&root()).build());

    let mut short = info.clone();
    short.sha256[0] ^= 1;
    refuses(&device, &short, &["SHA3-256 is ", "expected "]).await;
    let mut long = info.clone();
    long.sha512[63] ^= 1;
    refuses(&device, &long, &["SHA3-512 is ", "expected "]).await;
    let empty = ServiceInfo {
        sha256: Vec::new(),
        ..info
    };
    refuses(&device, &empty, &["SHA3-256 is "]).await;
}

#[tokio::test]
async fn wrong_sum_is_told_before_anything_else_that_is_wrong() {
    let device = Device::new().await;
    let mut info = device.service("foo", 3, b"this is no archive");
    info.sha256[0] ^= 1;

    refuses(&device, &info, &["SHA3-256 is "]).await;
}

#[tokio::test]
async fn package_that_is_no_archive_is_refused() {
    refuses_package(b"this is no archive", &["cannot read it as an archive"]).await;
    refuses_package(&[7; 4096], &["damaged header"]).await;
    refuses_package(b"", &["it has no manifest.json"]).await;
    refuses_package(&gzip(b""), &["it has no manifest.json"]).await;
}

#[tokio::test]
async fn package_cut_off_anywhere_is_refused() {
    let package = ServiceParts::new(&root()).build();
    let content = package.len() - 1024;

    for cut in [1, 511, 512, 700, 1024, 2000, content - 2000, content - 1] {
        refuses_package(&package[..cut], &["package file://"]).await;
    }
}

#[tokio::test]
async fn compressed_package_cut_off_is_refused() {
    let package = gzip(&ServiceParts::new(&root()).build());

    for cut in [5, package.len() / 2, package.len() - 100] {
        refuses_package(&package[..cut], &["package file://"]).await;
    }
}

#[tokio::test]
async fn package_without_a_manifest_is_refused() {
    let files = ServiceParts::new(&root()).files;

    refuses_package(&tar_of(&files), &["it has no manifest.json"]).await;
}

#[tokio::test]
async fn huge_manifest_is_refused() {
    let manifest = vec![b' '; (1 << 20) + 1];
    let package = tar_of(&[("manifest.json".into(), manifest)]);

    refuses_package(&package, &["manifest.json has 1048577 bytes"]).await;
}

#[tokio::test]
async fn manifest_that_is_no_manifest_is_refused() {
    for manifest in [
        json!("text"),
        json!([]),
        json!({"layers": 5}),
        json!({"config": []}),
    ] {
        refuses_parts(|parts| parts.manifest = manifest, &["manifest.json"]).await;
    }
}

#[tokio::test]
async fn manifest_without_layers_is_refused() {
    for layers in [json!([]), Value::Null] {
        refuses_parts(
            |parts| parts.manifest["layers"] = layers,
            &["names no layers"],
        )
        .await;
    }
}

#[tokio::test]
async fn malformed_digests_are_refused_wherever_they_are() {
    let upper = format!("sha256:{}", "A".repeat(64));
    let path = format!("sha256:../../../{}", "a".repeat(55));
    for digest in ["", "sha256", "e3b0", "sha256:", "md5:00", &upper, &path] {
        for (place, what) in [
            ("/config/digest", "image config"),
            ("/aosService/digest", "service config"),
            ("/layers/0/digest", "layer 0"),
        ] {
            refuses_parts(
                |parts| *parts.manifest.pointer_mut(place).unwrap() = json!(digest),
                &[what, "is not a digest"],
            )
            .await;
        }
    }
}

#[tokio::test]
async fn malformed_digest_of_a_shared_layer_is_refused() {
    refuses_parts(
        |parts| {
            let layers = parts.manifest["layers"].as_array_mut().unwrap();
            layers.push(json!({"digest": "sha256:../x"}));
        },
        &["layer 1", "is not a digest"],
    )
    .await;
}

#[tokio::test]
async fn missing_blobs_are_named() {
    for blob in 0..3 {
        let name = ServiceParts::new(&root()).files.remove(blob).0;
        refuses_parts(
            |parts| drop(parts.files.remove(blob)),
            &["it has no ", &name],
        )
        .await;
    }
}

#[tokio::test]
async fn changed_configurations_are_refused() {
    for (blob, what) in [(0, "the image config"), (1, "the service config")] {
        refuses_parts(
            |parts| parts.files[blob].1.push(b' '),
            &[what, "digest mismatch"],
        )
        .await;
    }
}

#[tokio::test]
async fn configurations_that_make_no_sense_are_refused() {
    for (blob, place, what) in [
        (0, "config", "the image config is not valid"),
        (1, "aosService", "the service config is not valid"),
    ] {
        refuses_parts(
            |parts| {
                let digest = sha256(b"no json");
                parts.manifest[place]["digest"] = json!(digest);
                parts.files[blob] = (aos_package::blob_path(&digest), b"no json".to_vec());
            },
            &[what],
        )
        .await;
    }
}

#[tokio::test]
async fn error_does_not_grow_with_what_the_package_says() {
    let long = "x".repeat(100_000);
    let errors = [
        json!({"layers": long}),
        json!({"config": {"digest": long}, "layers": [{}]}),
        json!({"config": {"digest": "\u{1}".repeat(10_000)}, "layers": [{}]}),
    ]
    .map(|manifest| tar_of(&[("manifest.json".into(), manifest.to_string().into_bytes())]));

    for package in errors {
        let device = Device::new().await;
        let info = device.service("foo", 3, &package);
        let text = told(&device.content.install_service(&info).await.unwrap_err());
        assert!(text.len() < 1000, "{} bytes: {text:.200}", text.len());
        assert!(text.contains('…'), "{text}");
    }
}

#[tokio::test]
async fn name_in_a_package_that_leads_upwards_is_refused() {
    refuses_parts(
        |parts| parts.files.push(("../../manifest.json".into(), Vec::new())),
        &["entry ../../manifest.json leaves the root"],
    )
    .await;
}

#[tokio::test]
async fn too_many_files_in_a_package_are_refused() {
    refuses_parts(
        |parts| {
            let many = (0..5000).map(|index| (index.to_string(), Vec::new()));
            parts.files.extend(many);
        },
        &["more than 4096 entries"],
    )
    .await;
}

#[tokio::test]
async fn layer_that_is_another_one_is_refused() {
    let device = Device::new().await;
    let tar = root();
    let mut info = device.layer(&tar, &layer_package(&tar));
    info.digest = sha256(b"other").to_string();

    let error = device.content.install_layer(&info).await.unwrap_err();

    let text = told(&error);
    assert!(text.starts_with("cannot install layer sha256:"), "{text}");
    assert!(
        text.contains(&format!("it holds layer {}", sha256(&tar))),
        "{text}"
    );
    assert!(device.is_empty());
}

#[tokio::test]
async fn layer_descriptors_that_are_none_are_refused() {
    let device = Device::new().await;
    let tar = root();
    for descriptor in [
        "",
        "[]",
        "{}",
        r#"{"digest": "sha256"}"#,
        r#"{"digest": "sha256:../"}"#,
    ] {
        let package = tar_of(&[("layer.json".into(), descriptor.into())]);
        let info = device.layer(&tar, &package);

        let error = device.content.install_layer(&info).await.unwrap_err();

        assert!(told(&error).contains("layer.json"), "{}", told(&error));
        assert!(device.is_empty());
    }
}

#[tokio::test]
async fn layer_with_a_name_that_is_no_digest_is_refused() {
    let device = Device::new().await;
    let tar = root();
    for digest in ["", "../../etc", "sha256:..", "sha256"] {
        let mut info = device.layer(&tar, &layer_package(&tar));
        info.digest = digest.into();

        let error = device.content.install_layer(&info).await.unwrap_err();

        assert!(told(&error).contains("is not a digest"));
    }
}

#[tokio::test]
async fn layer_whose_content_changed_is_refused() {
    let device = Device::new().await;
    let tar = root();
    let mut changed = tar.clone();
    // In the content of the file.
    changed[512] ^= 1;
    let descriptor = json!({"digest": sha256(&tar)}).to_string();
    let package = tar_of(&[
        ("layer.json".into(), descriptor.into_bytes()),
        (sha256(&tar).hex().to_owned(), changed),
    ]);

    let error = device
        .content
        .install_layer(&device.layer(&tar, &package))
        .await
        .unwrap_err();

    assert!(told(&error).contains("digest mismatch"), "{}", told(&error));
    assert!(device.is_empty());
}

#[tokio::test]
async fn hostile_layer_leaves_nothing_behind() {
    let device = Device::new().await;
    let outside = device.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let tar = Tar::new()
        .file("a", "x")
        .symlink("b", &outside.display().to_string())
        .file("b/new", "x")
        .build();

    let info = device.layer(&tar, &layer_package(&tar));
    let error = device.content.install_layer(&info).await.unwrap_err();

    assert!(told(&error).contains("the layer's filesystem: entry below \"b\""));
    assert!(device.is_empty());
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}
