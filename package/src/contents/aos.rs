//! A service as its own package has it.

use crate::manifest::{MANIFEST_FILE, Manifest, ManifestError, blob_path};

use super::found::Found;
use super::{Check, OwnLayer, ServiceParts};

pub(super) fn service(found: &Found) -> Result<ServiceParts, ManifestError> {
    let bytes = found.text(MANIFEST_FILE)?;
    let manifest = Manifest::parse(bytes)?;
    if !manifest.own_layers.is_empty() {
        return Err(ManifestError::OwnLayers);
    }

    let document = |what, digest| Ok((Clone::clone(digest), found.blob(what, digest)?.to_vec()));
    Ok(ServiceParts {
        manifest: bytes.to_vec(),
        image_config: document("the image config", &manifest.image_config)?,
        service_config: manifest
            .service_config
            .as_ref()
            .map(|digest| document("the service config", digest))
            .transpose()?,
        own: vec![OwnLayer {
            name: found.archive(&blob_path(&manifest.root))?,
            check: Check::Content(manifest.root),
        }],
        shared: manifest.layers,
    })
}
