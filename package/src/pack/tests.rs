use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use tempfile::TempDir;

use super::*;
use crate::{LayerDescriptor, Manifest, PackageSums};

fn tree() -> TempDir {
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join("usr/bin")).unwrap();
    fs::write(root.path().join("usr/bin/service"), b"#!/bin/sh\n").unwrap();
    fs::set_permissions(
        root.path().join("usr/bin/service"),
        Permissions::from_mode(0o755),
    )
    .unwrap();
    fs::write(root.path().join("a b\nc"), b"newline").unwrap();
    fs::write(root.path().join("n".repeat(200)), b"long").unwrap();
    symlink("/nowhere", root.path().join("dangling")).unwrap();
    root
}

static IMAGE: LazyLock<ImageConfig> = LazyLock::new(|| ImageConfig {
    os: "linux".into(),
    ..ImageConfig::default()
});

fn service(rootfs: &Path) -> ServiceSource<'_> {
    ServiceSource {
        rootfs,
        image: &IMAGE,
        config: None,
        layers: &[],
        compression: Compression::None,
    }
}

/// Names and contents of a tar, in order.
fn content(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    tar::Archive::new(tar)
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            (
                String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
                data,
            )
        })
        .collect()
}

#[test]
fn same_input_gives_the_same_bytes() {
    let (first, second, out) = (tree(), tree(), TempDir::new().unwrap());

    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let packed = [&first, &second].map(|root| {
            let source = ServiceSource {
                compression,
                ..service(root.path())
            };
            pack_service(&source, &out.path().join("package")).unwrap()
        });

        assert_eq!(packed[0], packed[1]);
    }
}

#[test]
fn sums_and_size_are_those_of_the_file() {
    let (root, out) = (tree(), TempDir::new().unwrap());
    let output = out.path().join("package");

    let packed = pack_service(&service(root.path()), &output).unwrap();

    let bytes = fs::read(&output).unwrap();
    let sums = PackageSums::of(&bytes);
    assert_eq!(packed.size, bytes.len() as u64);
    assert_eq!(packed.sha3_256, sums.sha3_256);
    assert_eq!(packed.sha3_512, sums.sha3_512);
    assert_eq!(packed.layer_digest, None);
}

#[test]
fn every_blob_of_a_service_is_named_by_its_digest() {
    let (root, out) = (tree(), TempDir::new().unwrap());
    let output = out.path().join("package");
    let shared = Digest::of(Algorithm::Sha256, b"shared").to_string();
    let source = ServiceSource {
        config: Some(&ServiceConfig::default()),
        layers: std::slice::from_ref(&shared),
        ..service(root.path())
    };

    pack_service(&source, &output).unwrap();

    let files = content(&fs::read(&output).unwrap());
    let manifest = Manifest::parse(&files[0].1).unwrap();
    assert_eq!(files[0].0, MANIFEST_FILE);
    let wanted = [
        &manifest.image_config,
        manifest.service_config.as_ref().unwrap(),
        &manifest.root,
    ];
    assert_eq!(files.len(), 1 + wanted.len());
    for (digest, (name, bytes)) in wanted.into_iter().zip(&files[1..]) {
        assert_eq!(*name, blob_path(digest));
        assert!(digest.matches(bytes), "{name}");
    }
    assert_eq!(manifest.layers[0].to_string(), shared);
}

#[test]
fn names_of_the_tree_are_sorted_and_owners_and_times_are_gone() {
    let (root, out) = (tree(), TempDir::new().unwrap());
    let output = out.path().join("package");

    pack_service(&service(root.path()), &output).unwrap();

    let files = content(&fs::read(&output).unwrap());
    let mut tar = tar::Archive::new(files.last().unwrap().1.as_slice());
    let mut names = Vec::new();
    for entry in tar.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(
            (header.uid().unwrap(), header.gid().unwrap()),
            (0, 0),
            "owner"
        );
        assert_eq!(header.mtime().unwrap(), 0);
        names.push(String::from_utf8(entry.path_bytes().into_owned()).unwrap());
    }
    let long = "n".repeat(200);
    assert_eq!(
        names,
        [
            "./",
            "a b\nc",
            "dangling",
            &long,
            "usr/",
            "usr/bin/",
            "usr/bin/service"
        ]
    );
}

#[test]
fn layer_is_named_by_the_digest_of_its_compressed_tar() {
    let (root, out) = (tree(), TempDir::new().unwrap());
    let output = out.path().join("package");
    let source = LayerSource {
        root: root.path(),
        os_version: Some("5.0"),
        compression: Compression::Gzip,
    };

    let packed = pack_layer(&source, &output).unwrap();

    let files = content(&fs::read(&output).unwrap());
    let descriptor = LayerDescriptor::parse(&files[0].1).unwrap();
    assert_eq!(packed.layer_digest, Some(descriptor.digest.to_string()));
    assert_eq!(descriptor.os_version.as_deref(), Some("5.0"));
    assert_eq!(files[1].0, descriptor.digest.hex());
    assert!(descriptor.digest.matches(&files[1].1));
    let mut tar = Vec::new();
    GzDecoder::new(files[1].1.as_slice())
        .read_to_end(&mut tar)
        .unwrap();
    assert_eq!(content(&tar).len(), 7);
}

#[test]
fn source_that_is_a_file_is_refused() {
    let root = tree();
    let file = root.path().join("usr/bin/service");

    let error = pack_service(&service(&file), &root.path().join("out")).unwrap_err();

    assert!(
        matches!(error, PackError::Source { path, .. } if path == file),
        "names the file"
    );
}

#[test]
fn socket_in_the_source_is_refused_and_leaves_no_package() {
    let (root, out) = (tree(), TempDir::new().unwrap());
    let socket = root.path().join("usr/socket");
    std::os::unix::net::UnixListener::bind(&socket).unwrap();

    let result = pack_service(&service(root.path()), &out.path().join("package"));

    assert!(matches!(result, Err(PackError::SpecialFile { path }) if path == socket));
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn malformed_digest_of_a_shared_layer_is_refused() {
    let (root, out) = (tree(), TempDir::new().unwrap());
    let source = ServiceSource {
        layers: &["sha256:../../etc".into()],
        ..service(root.path())
    };

    let result = pack_service(&source, &out.path().join("package"));

    assert!(matches!(result, Err(PackError::Layer(_))));
}

#[test]
fn output_in_a_missing_directory_is_an_error() {
    let root = tree();
    let output = root.path().join("missing/package");

    let result = pack_service(&service(root.path()), &output);

    assert!(matches!(result, Err(PackError::Output { path, .. }) if path == output));
}

#[test]
fn compressed_layer_is_called_what_it_is() {
    let (root, out) = (tree(), TempDir::new().unwrap());
    let output = out.path().join("package");

    for (compression, media_type) in [
        (Compression::None, MEDIA_TYPE_LAYER),
        (Compression::Gzip, MEDIA_TYPE_LAYER_GZIP),
        (Compression::Zstd, MEDIA_TYPE_LAYER_ZSTD),
    ] {
        let source = LayerSource {
            root: root.path(),
            os_version: None,
            compression,
        };
        pack_layer(&source, &output).unwrap();

        let files = content(&fs::read(&output).unwrap());
        let descriptor: Descriptor = serde_json::from_slice(&files[0].1).unwrap();
        assert_eq!(descriptor.media_type, media_type);
        let mut tar = Vec::new();
        let mut decoded = crate::archive::decode(files[1].1.as_slice()).unwrap();
        assert_eq!(decoded.compression(), compression);
        decoded.read_to_end(&mut tar).unwrap();
        assert_eq!(content(&tar).len(), 7);
    }
}
