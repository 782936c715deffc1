//! What is in a package: the manifest of a service, the descriptor of a layer.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, DigestError};
use crate::image_config::null_is_default;
use crate::short::JsonError;

/// Name of the manifest in a service package.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Name of the descriptor in a layer package.
pub const LAYER_FILE: &str = "layer.json";

/// Media type of a service's manifest.
pub const MEDIA_TYPE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image configuration.
pub const MEDIA_TYPE_IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a service configuration.
pub const MEDIA_TYPE_SERVICE_CONFIG: &str = "application/vnd.aos.service.config.v1+json";
/// Media type of a layer, a plain tar.
pub const MEDIA_TYPE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Media type of a layer, a compressed tar.
pub const MEDIA_TYPE_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A manifest or descriptor cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not the JSON that it should be.
    #[error("cannot read {file}")]
    Json {
        /// The file.
        file: &'static str,
        /// Why.
        #[source]
        source: JsonError,
    },
    /// A digest is missing or malformed.
    #[error("{file}, digest of {what}")]
    Digest {
        /// The file.
        file: &'static str,
        /// Whose digest.
        what: String,
        /// Why.
        #[source]
        source: DigestError,
    },
    /// There is no root filesystem.
    #[error("{MANIFEST_FILE} names no layers: a service needs its own as the first")]
    NoLayers,
}

/// A descriptor as it is written. [`Manifest::parse`] checks it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    /// What the blob is. Not checked: tools disagree.
    pub media_type: String,
    /// Digest of the blob as it is in the package.
    pub digest: String,
    /// Bytes of the blob. A hint: the digest decides.
    pub size: i64,
    /// What the blob is made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// `platform` of a descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// CPU architecture, in Go's names. Not checked.
    pub architecture: String,
    /// Operating system. Not checked.
    pub os: String,
    /// Version of the operating system that a layer was made for.
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

/// `manifest.json` as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManifestFile {
    /// Always 2.
    pub schema_version: u32,
    /// Type of the document itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The image configuration.
    pub config: Descriptor,
    /// The service's own root filesystem, then shared layers, the top first.
    #[serde(deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    /// The service configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aos_service: Option<Descriptor>,
}

/// A checked manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The image configuration.
    pub image_config: Digest,
    /// The service configuration.
    pub service_config: Option<Digest>,
    /// The service's own root filesystem.
    pub root: Digest,
    /// Shared layers, the top first. They come in packages of their own.
    pub layers: Vec<Digest>,
}

impl Manifest {
    /// Reads `manifest.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let json = |source: serde_json::Error| ManifestError::Json {
            file: MANIFEST_FILE,
            source: source.into(),
        };
        let digest = |what: String, descriptor: &Descriptor| {
            descriptor
                .digest
                .parse()
                .map_err(|source| ManifestError::Digest {
                    file: MANIFEST_FILE,
                    what,
                    source,
                })
        };

        let file: ManifestFile = serde_json::from_slice(bytes).map_err(json)?;
        let (root, shared) = file.layers.split_first().ok_or(ManifestError::NoLayers)?;

        Ok(Self {
            image_config: digest("the image config".into(), &file.config)?,
            service_config: file
                .aos_service
                .as_ref()
                .map(|descriptor| digest("the service config".into(), descriptor))
                .transpose()?,
            root: digest("layer 0".into(), root)?,
            layers: shared
                .iter()
                .enumerate()
                .map(|(index, descriptor)| digest(format!("layer {}", index + 1), descriptor))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// A checked layer descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerDescriptor {
    /// Digest of the layer's tar as it is in the package.
    pub digest: Digest,
    /// Version of the operating system that it was made for.
    pub os_version: Option<String>,
}

impl LayerDescriptor {
    /// Reads `layer.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let descriptor: Descriptor =
            serde_json::from_slice(bytes).map_err(|source| ManifestError::Json {
                file: LAYER_FILE,
                source: source.into(),
            })?;

        Ok(Self {
            digest: descriptor
                .digest
                .parse()
                .map_err(|source| ManifestError::Digest {
                    file: LAYER_FILE,
                    what: "the layer".into(),
                    source,
                })?,
            os_version: descriptor.platform.and_then(|platform| platform.os_version),
        })
    }
}

/// Path of a blob in a service package, and below an installed service.
#[must_use]
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

#[cfg(test)]
mod tests {
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
}
