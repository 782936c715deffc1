//! OCI image layouts.

use super::*;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = r#"{"os": "linux", "architecture": "arm64"}"#;

fn image(layers: &[Vec<u8>]) -> Value {
    let layers = layers.iter().map(|layer| descriptor(LAYER, layer));
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("a", CONFIG),
        "layers": layers.collect::<Vec<_>>(),
    })
}

fn with_index(package: Package, manifests: &[Value]) -> Package {
    package
        .file("oci-layout", r#"{"imageLayoutVersion": "1.0.0"}"#)
        .json(
            "index.json",
            &json!({"schemaVersion": 2, "manifests": manifests}),
        )
}

/// A layout with this image and all blobs that it can need.
fn layout(image: &Value) -> Package {
    let text = image.to_string();
    let package = ["base", "middle", "top"]
        .iter()
        .fold(Package::new(), |package, name| package.blob(layer(name)));
    with_index(package, &[descriptor(MANIFEST, &text)])
        .blob(CONFIG)
        .blob("service")
        .blob(text)
}

fn three() -> Value {
    image(&["base", "middle", "top"].map(layer))
}

#[test]
fn layers_come_top_first_and_are_stored_so() {
    let parts = layout(&three()).service().unwrap();

    assert_eq!(
        names(&parts),
        ["top", "middle", "base"].map(|name| blob(layer(name)))
    );
    assert_eq!(parts.own[2].check, Check::Content(digest(layer("base"))));
    assert_eq!(parts.shared, []);
    assert_eq!(parts.image_config, (digest(CONFIG), CONFIG.into()));
    let stored = crate::Manifest::parse(&parts.manifest).unwrap();
    assert_eq!(stored.image_config, digest(CONFIG));
    assert_eq!(stored.service_config, None);
    assert_eq!(stored.root, digest(layer("top")));
    assert_eq!(
        stored.own_layers,
        ["middle", "base"].map(|name| digest(layer(name)))
    );
    assert_eq!(stored.layers, []);
}

#[test]
fn image_may_have_a_service_config() {
    let mut image = three();
    image["aosService"] = descriptor("a", "service");

    let parts = layout(&image).service().unwrap();

    assert_eq!(
        parts.service_config,
        Some((digest("service"), b"service".to_vec()))
    );
    let stored = crate::Manifest::parse(&parts.manifest).unwrap();
    assert_eq!(stored.service_config, Some(digest("service")));
}

#[test]
fn layer_that_is_there_twice_is_used_once_where_it_is_highest() {
    let image = image(&["base", "top", "base"].map(layer));

    let parts = layout(&image).service().unwrap();

    assert_eq!(names(&parts), ["base", "top"].map(|name| blob(layer(name))));
}

#[test]
fn every_document_is_checked_on_the_way() {
    let text = three().to_string();
    let changed = text.replace("schemaVersion", "schemaversion");

    let manifest = layout(&three()).file(&blob(&text), changed).refusal();
    assert!(
        manifest.starts_with("the manifest: digest mismatch"),
        "{manifest}"
    );
    let config = layout(&three()).file(&blob(CONFIG), "{}").refusal();
    assert!(
        config.starts_with("the image config: digest mismatch"),
        "{config}"
    );
    let nested = json!({"manifests": [descriptor(MANIFEST, &text)]}).to_string();
    let index = with_index(layout(&three()), &[descriptor(INDEX, &nested)])
        .file(&blob(&nested), nested.replace(' ', "") + " ")
        .refusal();
    assert!(index.starts_with("an index: digest mismatch"), "{index}");
}

#[test]
fn parts_that_are_missing_are_named() {
    let mut service = three();
    service["aosService"] = descriptor("a", "absent");
    for (image, name) in [
        (image(&[layer("absent")]), blob(layer("absent"))),
        (service, blob("absent")),
    ] {
        let refusal = layout(&image).refusal();
        assert!(
            refusal.starts_with(&format!("it has no {name}")),
            "{refusal}"
        );
    }
    let unlisted = with_index(Package::new(), &[descriptor(MANIFEST, "absent")]).refusal();
    assert!(
        unlisted.starts_with(&format!("it has no {}", blob("absent"))),
        "{unlisted}"
    );
}

#[test]
fn layers_that_are_not_in_the_package_or_unreadable_are_refused_by_their_type() {
    for (media_type, reason) in [
        (
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "is not part of the",
        ),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "is not part of the",
        ),
        (
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            "is encrypted",
        ),
        (
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            "is not supported",
        ),
    ] {
        let mut image = three();
        image["layers"][1]["mediaType"] = json!(media_type);

        let refusal = layout(&image).refusal();

        assert!(refusal.starts_with("layer 1 is of type"), "{refusal}");
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn image_without_layers_or_with_too_many_is_refused() {
    let none = layout(&image(&[])).refusal();
    assert!(none.contains("no layers"), "{none}");
    let many = layout(&image(&vec![layer("base"); 128])).refusal();
    assert!(many.contains("has 128 layers, more than 127"), "{many}");
}

#[test]
fn malformed_digests_are_refused_with_their_place() {
    for (pointer, place) in [
        ("/config/digest", "digest of the image config"),
        ("/layers/1/digest", "digest of layer 1"),
    ] {
        for wrong in ["sha256:../../etc", "md5:00", "", "sha256"] {
            let mut image = three();
            *image.pointer_mut(pointer).unwrap() = json!(wrong);

            let refusal = layout(&image).refusal();

            assert!(refusal.contains(place), "{refusal}");
        }
    }
    let index = with_index(Package::new(), &[json!({"digest": "sha256:../x"})]).refusal();
    assert!(
        index.starts_with("index.json, digest of manifest 0"),
        "{index}"
    );
}

#[test]
fn documents_that_make_no_sense_are_refused() {
    for text in ["", "5", "[", "{\"layers\": 5}", "{\"manifests\": [5]}"] {
        let package = Package::new()
            .file("oci-layout", "{}")
            .file("index.json", text);
        let refusal = package.refusal();
        let expected = refusal.starts_with("cannot read index.json")
            || refusal.starts_with("index.json names no image");
        assert!(expected, "{refusal}");

        let package = with_index(Package::new(), &[descriptor(MANIFEST, text)]).blob(text);
        let refusal = package.refusal();
        let expected = refusal.starts_with(&format!("cannot read {}", blob(text)))
            || refusal.contains("is not a digest");
        assert!(expected, "{text}: {refusal}");
    }
}
