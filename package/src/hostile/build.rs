//! Packages around what is wrong in them.

use std::io::Write;

use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::digest::{Algorithm, Digest};
use crate::manifest::blob_path;

use super::raw::Tar;
use super::{Built, Expected, Hostile, Kind};

/// Runs until it is asked to end.
const SCRIPT: &str = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done\n";

/// The files of a package.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// The start of a root filesystem, in which there is what the service runs.
pub(super) fn root() -> Tar {
    Tar::default().file("service.sh", SCRIPT)
}

pub(super) fn digest(bytes: impl AsRef<[u8]>) -> Digest {
    Digest::of(Algorithm::Sha256, bytes.as_ref())
}

pub(super) fn blob(bytes: &[u8]) -> (String, Vec<u8>) {
    (blob_path(&digest(bytes)), bytes.to_vec())
}

pub(super) fn image_config() -> Vec<u8> {
    let entrypoint = ["/bin/sh", "/service.sh"];
    let config = json!({"os": "linux", "config": {"Entrypoint": entrypoint}});
    config.to_string().into_bytes()
}

pub(super) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// The manifest of a service with this root filesystem.
pub(super) fn manifest(root: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &image_config()),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", root)],
    })
}

/// The manifest comes first, the root filesystem last.
pub(super) fn service_files(root: &[u8]) -> Files {
    let manifest = manifest(root).to_string().into_bytes();
    vec![
        ("manifest.json".to_owned(), manifest),
        blob(&image_config()),
        blob(root),
    ]
}

pub(super) fn layer_files(root: &[u8]) -> Files {
    let descriptor = descriptor("application/vnd.oci.image.layer.v1.tar", root);
    vec![
        ("layer.json".to_owned(), descriptor.to_string().into_bytes()),
        (digest(root).hex().to_owned(), root.to_vec()),
    ]
}

pub(super) fn tar(files: &Files) -> Tar {
    files.iter().fold(Tar::default(), |tar, (name, content)| {
        if name.len() > 100 {
            let start: String = name.chars().take(100).collect();
            return tar.long(super::raw::LONG_NAME, name).file(start, content);
        }
        tar.file(name, content)
    })
}

/// A service whose root filesystem is made by `make`.
pub(super) fn in_service(
    name: &str,
    expected: Expected,
    make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
) -> Hostile {
    of_files(name, expected, move || service_files(&make()))
}

/// A layer whose archive is made by `make`.
pub(super) fn in_layer(
    name: &str,
    expected: Expected,
    make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
) -> Hostile {
    Hostile::new(name, Kind::Layer, expected, move || {
        let root = make();
        Built {
            package: tar(&layer_files(&root)).end(),
            layer: Some(digest(&root)),
        }
    })
}

/// A service of these files.
pub(super) fn of_files(
    name: &str,
    expected: Expected,
    make: impl Fn() -> Files + Send + Sync + 'static,
) -> Hostile {
    of_bytes(name, expected, move || tar(&make()).end())
}

/// A service in a package of these bytes.
pub(super) fn of_bytes(
    name: &str,
    expected: Expected,
    make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
) -> Hostile {
    Hostile::new(name, Kind::Service, expected, move || Built {
        package: make(),
        layer: None,
    })
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("memory can be written to")
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory can be read and written to")
}
