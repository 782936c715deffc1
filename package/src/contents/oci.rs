//! A service as an OCI image layout has it.

use std::collections::HashSet;

use serde::Deserialize;

use crate::digest::Digest;
use crate::few::few;
use crate::manifest::{
    Descriptor, Image, Images, MEDIA_TYPE_IMAGE_CONFIG, MEDIA_TYPE_LAYER, MEDIA_TYPE_LAYER_GZIP,
    MEDIA_TYPE_LAYER_ZSTD, MEDIA_TYPE_MANIFEST, MEDIA_TYPE_SERVICE_CONFIG, ManifestError,
    ManifestFile, OCI_INDEX_FILE, Platform, blob_path,
};

use super::found::Found;
use super::{Check, LAYERS_MAX, OwnLayer, ServiceParts};

/// Indexes that are looked at, and how deep they are nested.
const INDEXES_MAX: usize = 32;
const INDEX_TYPES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFEST_TYPES: [&str; 2] = [
    MEDIA_TYPE_MANIFEST,
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// Some tools write no type.
const LAYER_TYPES: [&str; 7] = [
    "",
    MEDIA_TYPE_LAYER,
    MEDIA_TYPE_LAYER_GZIP,
    MEDIA_TYPE_LAYER_ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// An index, and of a manifest what tells that it is one.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Index {
    #[serde(deserialize_with = "few")]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
}

/// What of an image's configuration tells what it is for.
#[derive(Deserialize)]
struct Target {
    os: String,
    architecture: String,
}

/// A layer, and how the stored manifest describes it.
pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    pub(super) own: OwnLayer,
}

pub(super) fn service(found: &Found, platform: &Platform) -> Result<ServiceParts, ManifestError> {
    let chosen = choose(images(found)?, platform)?;
    let file = blob_path(&chosen);
    let manifest: ManifestFile = serde_json::from_slice(found.blob("the manifest", &chosen)?)
        .map_err(|source| ManifestError::json(&file, source))?;
    let digest_of = |what: &str, descriptor: &Descriptor| -> Result<Digest, ManifestError> {
        let digest = descriptor.digest.parse();
        digest.map_err(|source| ManifestError::digest(&file, what, source))
    };

    let digest = digest_of("the image config", &manifest.config)?;
    let config = found.blob("the image config", &digest)?;
    let service_config = match &manifest.aos_service {
        Some(descriptor) => {
            let digest = digest_of("the service config", descriptor)?;
            let bytes = found.blob("the service config", &digest)?.to_vec();
            Some((digest, bytes))
        }
        None => None,
    };

    let mut layers = Vec::new();
    for (number, descriptor) in manifest.layers.into_iter().enumerate() {
        check_type(number, &descriptor.media_type)?;
        let digest = digest_of(&format!("layer {number}"), &descriptor)?;
        let name = found.archive(&blob_path(&digest))?;
        let check = Check::Content(digest);
        layers.push(Layer {
            descriptor: Descriptor {
                platform: None,
                ..descriptor
            },
            own: OwnLayer { name, check },
        });
    }
    written((digest, config.to_vec()), service_config, layers)
}

/// The parts of a service of these layers, the base first.
pub(super) fn written(
    image_config: (Digest, Vec<u8>),
    service_config: Option<(Digest, Vec<u8>)>,
    layers: Vec<Layer>,
) -> Result<ServiceParts, ManifestError> {
    if layers.len() > LAYERS_MAX {
        return Err(ManifestError::LayerCount {
            count: layers.len(),
            allowed: LAYERS_MAX,
        });
    }

    // A layer that is there twice is hidden by itself further up.
    let mut seen = HashSet::new();
    let mut descriptors = Vec::new();
    let mut own = Vec::new();
    for layer in layers.into_iter().rev() {
        if seen.insert(layer.own.check.clone()) {
            descriptors.push(layer.descriptor);
            own.push(layer.own);
        }
    }
    if own.is_empty() {
        return Err(ManifestError::NoImageLayers);
    }

    let own_layers = descriptors.split_off(1);
    let describe = |media_type: &str, (digest, bytes): &(Digest, Vec<u8>)| Descriptor {
        media_type: media_type.into(),
        digest: digest.to_string(),
        size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        platform: None,
    };
    let manifest = ManifestFile {
        schema_version: 2,
        media_type: MEDIA_TYPE_MANIFEST.into(),
        config: describe(MEDIA_TYPE_IMAGE_CONFIG, &image_config),
        layers: descriptors,
        aos_service: service_config
            .as_ref()
            .map(|config| describe(MEDIA_TYPE_SERVICE_CONFIG, config)),
        own_layers,
    };
    Ok(ServiceParts {
        manifest: serde_json::to_vec(&manifest)
            .map_err(|source| ManifestError::json("the manifest to be stored", source))?,
        image_config,
        service_config,
        own,
        shared: Vec::new(),
    })
}

/// All images that the index leads to.
fn images(found: &Found) -> Result<Vec<Image>, ManifestError> {
    let mut images = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![(OCI_INDEX_FILE.to_owned(), found.text(OCI_INDEX_FILE)?)];
    let mut indexes = 0;

    while let Some((file, bytes)) = open.pop() {
        indexes += 1;
        if indexes > INDEXES_MAX {
            return Err(ManifestError::Indexes(INDEXES_MAX));
        }
        let index: Index =
            serde_json::from_slice(bytes).map_err(|source| ManifestError::json(&file, source))?;
        for (number, descriptor) in index.manifests.into_iter().enumerate() {
            let digest: Digest = descriptor.digest.parse().map_err(|source| {
                ManifestError::digest(&file, format!("manifest {number}"), source)
            })?;
            if is_attestation(&descriptor) || !seen.insert(digest.clone()) {
                continue;
            }
            match role(found, &descriptor, &digest)? {
                Role::Index => {
                    open.push((blob_path(&digest), found.blob("an index", &digest)?));
                }
                Role::Manifest => images.push(Image {
                    platform: platform_of(found, descriptor.platform, &digest),
                    digest,
                }),
                Role::Other => {}
            }
        }
    }
    if images.is_empty() {
        return Err(ManifestError::NoImages(OCI_INDEX_FILE.to_owned()));
    }
    Ok(images)
}

enum Role {
    Index,
    Manifest,
    Other,
}

fn role(found: &Found, descriptor: &Descriptor, digest: &Digest) -> Result<Role, ManifestError> {
    let media_type = descriptor.media_type.as_str();
    if INDEX_TYPES.contains(&media_type) {
        return Ok(Role::Index);
    }
    if MANIFEST_TYPES.contains(&media_type) {
        return Ok(Role::Manifest);
    }
    if !media_type.is_empty() {
        return Ok(Role::Other);
    }
    let document: Index = serde_json::from_slice(found.blob("a manifest", digest)?)
        .map_err(|source| ManifestError::json(blob_path(digest), source))?;
    Ok(match document.config {
        Some(_) => Role::Manifest,
        None => Role::Index,
    })
}

/// What says how an image was built is listed like an image.
fn is_attestation(descriptor: &Descriptor) -> bool {
    let platform = descriptor.platform.as_ref();
    platform.is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown")
}

/// What an image is for: by its descriptor, or else by its configuration. What
/// is wrong with that is told if the image is taken.
fn platform_of(found: &Found, told: Option<Platform>, digest: &Digest) -> Option<Platform> {
    if let Some(platform) = told.filter(|platform| !platform.architecture.is_empty()) {
        return Some(platform);
    }
    let manifest: ManifestFile =
        serde_json::from_slice(found.blob("the manifest", digest).ok()?).ok()?;
    let config = manifest.config.digest.parse().ok()?;
    let target: Target =
        serde_json::from_slice(found.blob("the image config", &config).ok()?).ok()?;
    Some(Platform {
        architecture: target.architecture,
        os: target.os,
        os_version: None,
    })
}

fn choose(images: Vec<Image>, wanted: &Platform) -> Result<Digest, ManifestError> {
    if let [only] = images.as_slice() {
        return Ok(only.digest.clone());
    }
    let fits = |image: &&Image| {
        let platform = image.platform.as_ref();
        platform.is_some_and(|platform| {
            (&platform.os, &platform.architecture) == (&wanted.os, &wanted.architecture)
        })
    };
    let matching = images.iter().filter(fits).collect::<Vec<_>>();
    if let [only] = matching.as_slice() {
        return Ok(only.digest.clone());
    }
    Err(ManifestError::Choice {
        wanted: wanted.to_string(),
        matching: matching.len(),
        found: Images(images),
    })
}

fn check_type(number: usize, media_type: &str) -> Result<(), ManifestError> {
    let reason = if LAYER_TYPES.contains(&media_type) {
        return Ok(());
    } else if media_type.ends_with("+encrypted") {
        "is encrypted"
    } else if media_type.contains(".nondistributable.") || media_type.contains(".foreign.") {
        "is not part of the package"
    } else {
        "is not supported"
    };
    Err(ManifestError::LayerType {
        number,
        media_type: media_type.to_owned(),
        reason,
    })
}
