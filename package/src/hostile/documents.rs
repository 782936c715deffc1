//! Manifests and configurations that are wrong.

use serde_json::{Value, json};

use super::Expected::{Installed, Refused};
use super::build::{
    Files, blob, descriptor, digest, image_config, layer_files, manifest, of_files, root,
    service_files, tar,
};
use super::{Built, Expected, Hostile, Kind};

const NOT_READ: Expected = Refused("cannot read manifest.json");
const NO_DIGEST: Expected = Refused("is not a digest");
const MISMATCH: Expected = Refused("digest mismatch");

/// A service with something else as its manifest.
fn with_manifest(
    name: &str,
    expected: Expected,
    make: impl Fn() -> Vec<u8> + Send + Sync + 'static,
) -> Hostile {
    of_files(name, expected, move || {
        replaced(service_files(&root().end()), 0, make())
    })
}

/// A service with another value at a place of its manifest.
fn changed(name: &str, expected: Expected, pointer: &'static str, value: Value) -> Hostile {
    with_manifest(name, expected, move || {
        let mut manifest = manifest(&root().end());
        if let Some(place) = manifest.pointer_mut(pointer) {
            *place = value.clone();
        }
        manifest.to_string().into_bytes()
    })
}

fn replaced(mut files: Files, index: usize, content: Vec<u8>) -> Files {
    if let Some(file) = files.get_mut(index) {
        file.1 = content;
    }
    files
}

/// A service with this image configuration.
fn with_image(name: &str, expected: Expected, config: Vec<u8>) -> Hostile {
    of_files(name, expected, move || {
        let root = root().end();
        let mut manifest = manifest(&root);
        if let Some(place) = manifest.pointer_mut("/config") {
            *place = descriptor("application/vnd.oci.image.config.v1+json", &config);
        }
        let manifest = manifest.to_string().into_bytes();
        vec![
            ("manifest.json".to_owned(), manifest),
            blob(&config),
            blob(&root),
        ]
    })
}

fn layer(
    name: &str,
    expected: Expected,
    change: impl Fn(Files) -> Files + Send + Sync + 'static,
) -> Hostile {
    Hostile::new(name, Kind::Layer, expected, move || {
        let root = root().end();
        Built {
            package: tar(&change(layer_files(&root))).end(),
            layer: Some(digest(&root)),
        }
    })
}

pub(super) fn all() -> Vec<Hostile> {
    [manifests(), configurations(), layers()]
        .into_iter()
        .flatten()
        .collect()
}

fn manifests() -> Vec<Hostile> {
    let upwards = format!("sha256:../../../../../../etc/{}", "a".repeat(40));
    let hex = "a".repeat(64);
    let root_digest = "/layers/0/digest";
    vec![
        with_manifest("manifest-of-nothing", NOT_READ, Vec::new),
        with_manifest("manifest-of-no-json", NOT_READ, || b"{".to_vec()),
        with_manifest("manifest-of-utf-16", NOT_READ, || {
            let text = manifest(&root().end()).to_string();
            let units = text.encode_utf16().flat_map(u16::to_le_bytes);
            b"\xff\xfe".iter().copied().chain(units).collect()
        }),
        with_manifest("manifest-with-byte-order-mark", NOT_READ, || {
            format!("\u{feff}{}", manifest(&root().end())).into_bytes()
        }),
        with_manifest("manifest-100000-deep", NOT_READ, || {
            let deep = "{\"annotations\":".to_owned() + &"[".repeat(100_000);
            deep.into_bytes()
        }),
        with_manifest(
            "manifest-of-megabytes",
            Refused("more than 1048576"),
            || {
                let mut text = manifest(&root().end()).to_string().into_bytes();
                text.resize(2 << 20, b' ');
                text
            },
        ),
        with_manifest("manifest-of-100000-layers", NOT_READ, || {
            format!("{{\"layers\":[{}{{}}]}}", "{},".repeat(100_000)).into_bytes()
        }),
        with_manifest(
            "manifest-of-archive",
            Refused("is an archive, not a document"),
            || root().end(),
        ),
        changed(
            "manifest-without-layers",
            Refused("names no layers"),
            "/layers",
            json!([]),
        ),
        changed("digest-upwards", NO_DIGEST, root_digest, json!(upwards)),
        changed(
            "digest-without-colon",
            NO_DIGEST,
            root_digest,
            json!(format!("sha256{hex}")),
        ),
        changed(
            "digest-too-short",
            NO_DIGEST,
            root_digest,
            json!(format!("sha512:{hex}")),
        ),
        changed(
            "digest-too-long",
            NO_DIGEST,
            root_digest,
            json!(format!("sha256:{hex}a")),
        ),
        changed("digest-of-nothing", NO_DIGEST, root_digest, json!("")),
        changed(
            "digest-of-unknown-kind",
            NO_DIGEST,
            root_digest,
            json!(format!("md5:{hex}")),
        ),
        changed(
            "digest-of-capitals",
            NO_DIGEST,
            root_digest,
            json!(format!("sha256:{}", hex.to_uppercase())),
        ),
        changed("digest-no-text", NOT_READ, root_digest, json!(5)),
        changed(
            "digest-of-missing-root",
            Refused("it has no blobs"),
            root_digest,
            json!(format!("sha256:{hex}")),
        ),
        changed(
            "digest-of-config-upwards",
            NO_DIGEST,
            "/config/digest",
            json!(upwards),
        ),
        changed(
            "size-in-manifest-wrong",
            Installed,
            "/layers/0/size",
            json!(-1),
        ),
        changed(
            "media-type-wrong",
            Installed,
            "/layers/0/mediaType",
            json!("text/html"),
        ),
    ]
}

fn configurations() -> Vec<Hostile> {
    let invalid = Refused("the image config is not valid");
    vec![
        with_image("image-config-of-no-json", invalid, b"{".to_vec()),
        with_image(
            "image-config-of-other-types",
            invalid,
            b"{\"config\": {\"Env\": 5}}".to_vec(),
        ),
        with_image(
            "image-config-deep",
            invalid,
            [b"{\"config\":".repeat(1000)].concat(),
        ),
        with_image("image-config-of-megabytes", Refused("more than 1048576"), {
            let mut text = image_config();
            text.resize(2 << 20, b' ');
            text
        }),
        of_files("image-config-changed", MISMATCH, || {
            replaced(service_files(&root().end()), 1, b"{}".to_vec())
        }),
        of_files("image-config-missing", Refused("it has no blobs"), || {
            let mut files = service_files(&root().end());
            files.remove(1);
            files
        }),
        of_files(
            "service-config-of-no-json",
            Refused("the service config is not valid"),
            || {
                let root = root().end();
                let mut manifest = manifest(&root);
                if let Some(manifest) = manifest.as_object_mut() {
                    manifest.insert("aosService".to_owned(), descriptor("", b"[]x"));
                }
                let manifest = manifest.to_string().into_bytes();
                let files = replaced(service_files(&root), 0, manifest);
                [files, vec![blob(b"[]x")]].concat()
            },
        ),
        of_files("root-changed", MISMATCH, || {
            replaced(
                service_files(&root().end()),
                2,
                root().file("x", "other").end(),
            )
        }),
        of_files("root-of-text", Refused("is not an archive"), || {
            service_files(b"text")
        }),
        of_files("root-of-nothing", Refused("is not an archive"), || {
            service_files(b"")
        }),
        of_files("root-of-xz", Refused("compressed with xz"), || {
            service_files(b"\xfd7zXZ\0\0")
        }),
        of_files("root-of-bzip2", Refused("compressed with bzip2"), || {
            service_files(b"BZh91AY&SY")
        }),
        of_files("root-without-entries", Installed, || {
            service_files(&[0; 1024])
        }),
        of_files("root-twice-in-one-blob", Installed, || {
            service_files(&[root().end(), root().file("../outside", "out").end()].concat())
        }),
        of_files(
            "layers-of-our-own",
            Refused("which a package cannot have"),
            || {
                let root = root().end();
                let mut manifest = manifest(&root);
                if let Some(manifest) = manifest.as_object_mut() {
                    manifest.insert("ownLayers".to_owned(), json!([descriptor("", &root)]));
                }
                replaced(service_files(&root), 0, manifest.to_string().into_bytes())
            },
        ),
    ]
}

fn layers() -> Vec<Hostile> {
    let other = digest("other");
    let sha512 = crate::Digest::of(crate::Algorithm::Sha512, &root().end());
    vec![
        layer(
            "layer-without-descriptor",
            Refused("it has no layer.json"),
            |files| files.into_iter().skip(1).collect(),
        ),
        layer("layer-without-content", Refused("it has no "), |files| {
            files.into_iter().take(1).collect()
        }),
        layer("layer-changed", MISMATCH, |files| {
            replaced(files, 1, root().file("x", "other").end())
        }),
        layer("layer-of-text", Refused("is not an archive"), |files| {
            replaced(files, 1, b"text".to_vec())
        }),
        layer(
            "layer-of-other-digest",
            Refused("it holds layer"),
            move |files| {
                let mut files =
                    replaced(files, 0, json!({"digest": other}).to_string().into_bytes());
                files.push((other.hex().to_owned(), root().end()));
                files
            },
        ),
        layer(
            "layer-of-other-algorithm",
            Refused("it holds layer"),
            move |files| {
                let mut files =
                    replaced(files, 0, json!({"digest": sha512}).to_string().into_bytes());
                files.push((sha512.hex().to_owned(), root().end()));
                files
            },
        ),
        layer("layer-digest-upwards", NO_DIGEST, |files| {
            replaced(files, 0, b"{\"digest\": \"sha256:../../x\"}".to_vec())
        }),
    ]
}
