use std::error::Error;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Algorithm;

fn digest(text: &str) -> Digest {
    Digest::of(Algorithm::Sha256, text.as_bytes())
}

fn manifest() -> Value {
    json!({
        "schemaVersion": 2,
        "config": {"mediaType": "a", "digest": digest("image"), "size": 1},
        "aosService": {"digest": digest("service")},
        "layers": [{"digest": digest("root")}, {"digest": digest("shared"), "size": -1}],
        "annotations": {"unknown": "is ignored"},
    })
}

fn parse(manifest: &Value) -> Result<Manifest, ManifestError> {
    Manifest::parse(manifest.to_string().as_bytes())
}

#[test]
fn first_layer_is_the_root_and_the_others_are_shared() {
    let manifest = parse(&manifest()).unwrap();

    assert_eq!(manifest.image_config, digest("image"));
    assert_eq!(manifest.service_config, Some(digest("service")));
    assert_eq!(manifest.root, digest("root"));
    assert_eq!(manifest.layers, [digest("shared")]);
}

#[test]
fn service_config_is_optional() {
    for absent in [Value::Null, json!({})] {
        let mut manifest = manifest();
        if absent.is_null() {
            manifest["aosService"] = absent;
        } else {
            manifest.as_object_mut().unwrap().remove("aosService");
        }

        assert_eq!(parse(&manifest).unwrap().service_config, None);
    }
}

#[test]
fn manifest_without_layers_is_refused() {
    for layers in [Value::Null, json!([])] {
        let mut manifest = manifest();
        manifest["layers"] = layers;

        assert!(matches!(parse(&manifest), Err(ManifestError::NoLayers)));
    }
}

#[test]
fn malformed_digest_is_told_with_its_place_and_text() {
    let mut manifest = manifest();
    manifest["layers"][1]["digest"] = json!("sha256:../../etc");

    let error = parse(&manifest).unwrap_err();

    assert_eq!(error.to_string(), "manifest.json, digest of layer 1");
    let cause = error.source().unwrap().to_string();
    assert!(cause.starts_with("\"sha256:../../etc\" is not a digest"));
}

#[test]
fn text_that_is_no_manifest_is_refused() {
    for text in ["", "{", "null", "5", r#"{"layers": {}}"#, "\u{feff}{}"] {
        assert!(Manifest::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(Manifest::parse(&[0xff, 0xfe]).is_err());
    assert!(Manifest::parse("[".repeat(1 << 20).as_bytes()).is_err());
}

#[test]
fn layer_descriptor_has_digest_and_system_version() {
    let text = json!({"digest": digest("layer"), "platform": {"os.version": "5.0"}});

    let layer = LayerDescriptor::parse(text.to_string().as_bytes()).unwrap();

    assert_eq!(layer.digest, digest("layer"));
    assert_eq!(layer.os_version.as_deref(), Some("5.0"));
}

#[test]
fn layer_descriptor_without_a_digest_is_refused() {
    for text in ["{}", r#"{"digest": "sha256"}"#, r#"{"digest": null}"#, ""] {
        assert!(LayerDescriptor::parse(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn blob_lies_below_its_algorithm() {
    assert_eq!(
        blob_path(&digest("")),
        "blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

proptest! {
    #[test]
    fn any_text_in_place_of_a_digest_is_refused_or_safe(text in "\\PC{0,80}") {
        let mut manifest = manifest();
        manifest["layers"][0]["digest"] = json!(text);

        if let Ok(manifest) = parse(&manifest) {
            prop_assert!(!blob_path(&manifest.root).contains(".."));
        }
    }
}
