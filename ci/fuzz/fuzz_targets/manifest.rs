//! Any manifest is refused or names blobs by safe paths.

#![no_main]

use std::path::{Component, Path};

use aos_package::{Manifest, blob_path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(bytes) else {
        return;
    };
    let digests = [&manifest.image_config, &manifest.root]
        .into_iter()
        .chain(&manifest.service_config)
        .chain(&manifest.own_layers)
        .chain(&manifest.layers);
    for digest in digests {
        let path = blob_path(digest);
        let parts = Path::new(&path).components().collect::<Vec<_>>();
        assert_eq!(parts.len(), 3);
        assert!(
            parts
                .iter()
                .all(|part| matches!(part, Component::Normal(_)))
        );
        assert_eq!(digest.to_string().parse().as_ref(), Ok(digest));
    }
});
