//! OCI image layouts and docker archives that are wrong.

use serde_json::{Value, json};

use super::Expected::{Installed, Refused};
use super::build::{Files, blob, descriptor, digest, image_config, of_bytes, of_files, root, tar};
use super::{Expected, Hostile};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn document(name: &str, value: &Value) -> (String, Vec<u8>) {
    (name.to_owned(), value.to_string().into_bytes())
}

fn layout(manifests: &[Value]) -> Files {
    vec![
        document("oci-layout", &json!({"imageLayoutVersion": "1.0.0"})),
        document(
            "index.json",
            &json!({"schemaVersion": 2, "manifests": manifests}),
        ),
    ]
}

/// A layout with an image of these layers, the base first.
fn image(layers: &[Value]) -> Files {
    let config = image_config();
    let manifest = json!({"config": descriptor("", &config), "layers": layers});
    let manifest = manifest.to_string().into_bytes();
    let blobs = [blob(&config), blob(&manifest), blob(&root().end())];
    [layout(&[descriptor(MANIFEST, &manifest)]), blobs.to_vec()].concat()
}

fn of_type(name: &str, expected: Expected, media_type: &'static str) -> Hostile {
    of_files(name, expected, move || {
        image(&[descriptor(media_type, &root().end())])
    })
}

/// A docker archive of this configuration and these layers.
fn saved(digests: &[Value], layers: &[&str]) -> Files {
    let config = json!({"os": "linux", "rootfs": {"diff_ids": digests}});
    let manifest = json!([{"Config": "config.json", "Layers": layers}]);
    vec![
        document("config.json", &config),
        ("a/layer.tar".to_owned(), root().end()),
        document("manifest.json", &manifest),
    ]
}

pub(super) fn all() -> Vec<Hostile> {
    let layouts = layouts();
    layouts.into_iter().chain(archives()).collect()
}

fn layouts() -> Vec<Hostile> {
    let helm = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let encrypted = "application/vnd.oci.image.layer.v1.tar+encrypted";
    vec![
        of_type("oci-of-charts", Refused("which is not supported"), helm),
        of_type(
            "oci-of-foreign-layers",
            Refused("is not part of the package"),
            foreign,
        ),
        of_type(
            "oci-of-encrypted-layers",
            Refused("which is encrypted"),
            encrypted,
        ),
        of_files("oci-layer-three-times", Installed, || {
            image(&vec![descriptor(LAYER, &root().end()); 3])
        }),
        of_files("oci-of-128-layers", Refused("more than 127"), || {
            image(&vec![descriptor(LAYER, &root().end()); 128])
        }),
        of_files("oci-without-layers", Refused("no layers"), || image(&[])),
        of_files("oci-without-images", Refused("names no image"), || {
            layout(&[])
        }),
        of_files("oci-layer-missing", Refused("it has no blobs"), || {
            image(&[descriptor(LAYER, b"missing")])
        }),
        of_files("oci-layer-changed", Refused("digest mismatch"), || {
            let mut files = image(&[descriptor(LAYER, &root().end())]);
            if let Some(layer) = files.last_mut() {
                layer.1 = root().file("x", "other").end();
            }
            files
        }),
        of_files("oci-manifest-changed", Refused("digest mismatch"), || {
            let manifest = descriptor(MANIFEST, b"{}");
            let name = blob(b"{}").0;
            [layout(&[manifest]), vec![(name, b"{ }".to_vec())]].concat()
        }),
        of_files("oci-of-several-images", Refused("images are for"), || {
            let platform = json!({"os": "plan9", "architecture": "mips"});
            let of = |content: &[u8]| {
                let mut descriptor = descriptor(MANIFEST, content);
                if let Some(descriptor) = descriptor.as_object_mut() {
                    descriptor.insert("platform".to_owned(), platform.clone());
                }
                descriptor
            };
            layout(&[of(b"one"), of(b"two")])
        }),
        of_files("oci-index-in-a-circle", Refused("digest mismatch"), || {
            let this = json!({"mediaType": INDEX, "digest": digest("circle")});
            let circle = json!({"manifests": [this]});
            [
                layout(std::slice::from_ref(&this)),
                vec![document(&blob(b"circle").0, &circle)],
            ]
            .concat()
        }),
        of_files(
            "oci-index-in-index-in-index",
            Refused("more than 32 indexes"),
            || {
                let mut files = Vec::new();
                let mut inner = descriptor(MANIFEST, b"{}");
                for _ in 0..50 {
                    let index = json!({"manifests": [inner]}).to_string().into_bytes();
                    inner = descriptor(INDEX, &index);
                    files.push(blob(&index));
                }
                [layout(&[inner]), files].concat()
            },
        ),
        of_files("oci-index-deep", Refused("cannot read index.json"), || {
            let mut files = layout(&[]);
            if let Some(index) = files.last_mut() {
                index.1 = b"{\"manifests\":".repeat(50_000);
            }
            files
        }),
    ]
}

fn archives() -> Vec<Hostile> {
    let right = || json!(digest(root().end()));
    vec![
        of_files(
            "docker-layer-missing",
            Refused("it has no b/layer.tar"),
            move || saved(&[right()], &["b/layer.tar"]),
        ),
        of_files(
            "docker-layer-upwards",
            Refused("it has no ../layer.tar"),
            move || saved(&[right()], &["../layer.tar"]),
        ),
        of_files(
            "docker-layer-of-other-digest",
            Refused("digest mismatch"),
            || saved(&[json!(digest("other"))], &["a/layer.tar"]),
        ),
        of_files(
            "docker-layer-without-digest",
            Refused("digests of 1"),
            move || saved(&[right()], &["a/layer.tar", "a/layer.tar"]),
        ),
        of_files(
            "docker-layer-of-text",
            Refused("is not an archive"),
            move || saved(&[right()], &["config.json"]),
        ),
        of_bytes(
            "docker-layer-linked-outside",
            Refused("is a link that leads"),
            move || {
                let files = saved(&[right()], &["b/layer.tar"]);
                tar(&files).symlink("b/layer.tar", "../../etc/shadow").end()
            },
        ),
        of_bytes(
            "docker-layer-linked-in-a-circle",
            Refused("is a link that leads"),
            move || {
                let files = saved(&[right()], &["b/layer.tar"]);
                let tar = tar(&files).symlink("b/layer.tar", "../c/layer.tar");
                tar.symlink("c/layer.tar", "../b/layer.tar").end()
            },
        ),
        of_bytes("docker-layer-linked", Installed, move || {
            let files = saved(&[right()], &["b/layer.tar"]);
            tar(&files).symlink("b/layer.tar", "../a/layer.tar").end()
        }),
        of_files(
            "docker-config-missing",
            Refused("it has no config.json"),
            move || {
                saved(&[right()], &["a/layer.tar"])
                    .into_iter()
                    .skip(1)
                    .collect()
            },
        ),
        of_files(
            "docker-of-several-images",
            Refused("names 2 images"),
            || {
                let one = json!({"Config": "config.json", "Layers": []});
                vec![document("manifest.json", &json!([one, one]))]
            },
        ),
        of_files("docker-of-no-images", Refused("names 0 images"), || {
            vec![document("manifest.json", &json!([]))]
        }),
    ]
}
