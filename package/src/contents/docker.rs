//! A service as `docker save` and those who write the same have it.
//!
//! Layers are `<id>/layer.tar`, some of them links to another, or
//! `blobs/sha256/<digest>`; a configuration is `<digest>.json` or such a blob.

use serde::Deserialize;

use crate::digest::{Algorithm, Digest};
use crate::few::few;
use crate::image_config::null_is_default;
use crate::manifest::{Descriptor, MANIFEST_FILE, MEDIA_TYPE_LAYER, ManifestError};

use super::found::{Found, check};
use super::oci::{Layer, written};
use super::{Check, OwnLayer, ServiceParts};

#[derive(Deserialize)]
struct Saved(#[serde(deserialize_with = "few")] Vec<Image>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    /// The base first.
    #[serde(default, deserialize_with = "few")]
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default, deserialize_with = "null_is_default")]
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
struct RootFs {
    /// The base first.
    #[serde(default, deserialize_with = "few")]
    diff_ids: Vec<String>,
}

pub(super) fn service(found: &Found) -> Result<ServiceParts, ManifestError> {
    let saved: Saved = serde_json::from_slice(found.text(MANIFEST_FILE)?)
        .map_err(|source| ManifestError::json(MANIFEST_FILE, source))?;
    let [image] = saved.0.as_slice() else {
        return Err(ManifestError::ImageCount {
            count: saved.0.len(),
        });
    };

    let config = found.text(&image.config)?;
    if let Some(digest) = digest_of_name(&image.config) {
        check("the image config", config, &digest)?;
    }
    let digests = serde_json::from_slice::<Config>(config)
        .map_err(|source| ManifestError::json(image.config.as_str(), source))?
        .rootfs
        .diff_ids;
    if digests.len() != image.layers.len() {
        return Err(ManifestError::LayerDigests {
            layers: image.layers.len(),
            digests: digests.len(),
        });
    }

    let mut layers = Vec::new();
    for (number, (name, digest)) in image.layers.iter().zip(digests).enumerate() {
        let digest: Digest = digest.parse().map_err(|source| {
            ManifestError::digest(image.config.as_str(), format!("layer {number}"), source)
        })?;
        layers.push(layer(found, name, digest)?);
    }
    let digest = Digest::of(Algorithm::Sha256, config);
    written((digest, config.to_vec()), None, layers)
}

fn layer(found: &Found, name: &str, digest: Digest) -> Result<Layer, ManifestError> {
    let name = found.archive(name)?;
    let size = found
        .place(&name)
        .map(|place| place.size)
        .unwrap_or_default();
    Ok(Layer {
        descriptor: Descriptor {
            media_type: MEDIA_TYPE_LAYER.into(),
            digest: digest.to_string(),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            platform: None,
        },
        own: OwnLayer {
            name,
            check: Check::Decompressed(digest),
        },
    })
}

/// The digest that a name promises, if it does: of `blobs/sha512/<hex>` or
/// `<hex>.json`.
fn digest_of_name(name: &str) -> Option<Digest> {
    let mut parts = name.rsplit('/');
    let last = parts.next()?;
    let algorithm = parts.next().unwrap_or(Algorithm::Sha256.name());
    let hex = last.strip_suffix(".json").unwrap_or(last);
    let of = |algorithm| format!("{algorithm}:{hex}").parse().ok();
    of(algorithm).or_else(|| of(Algorithm::Sha256.name()))
}
