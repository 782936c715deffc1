//! Any package, plain or compressed, ends, keeps to its limits, and names as its
//! layers only what was shown.

#![no_main]

use std::collections::HashSet;
use std::io;

use aos_package::archive::Limits;
use aos_package::contents::{DOCUMENTS_MAX, LAYERS_MAX, scan};
use aos_package::{Manifest, Platform};
use libfuzzer_sys::fuzz_target;
use tar::Header;

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    entries: 200,
    names: 1 << 16,
};

fuzz_target!(|bytes: &[u8]| {
    let bytes = with_checksums(bytes);
    let mut shown = HashSet::new();
    let mut total = 0;
    let scanned = scan(&bytes[..], LIMITS, &mut |name, size, content| {
        let mut read = Vec::new();
        // Some are skipped instead.
        if size % 3 != 0 {
            content.read_to_end(&mut read)?;
            assert_eq!(read.len() as u64, size);
        }
        total += read.len() as u64;
        assert!(total <= LIMITS.bytes);
        shown.insert(name.clone());
        Ok::<_, io::Error>(())
    });
    let Ok(contents) = scanned else {
        return;
    };

    let platform = Platform {
        architecture: "arm64".into(),
        os: "linux".into(),
        os_version: None,
    };
    if let Ok(parts) = contents.service(&platform) {
        assert!(!parts.own.is_empty() && parts.own.len() <= LAYERS_MAX);
        assert!(parts.own.iter().all(|layer| shown.contains(&layer.name)));
        assert!(parts.image_config.0.matches(&parts.image_config.1));
        assert!(parts.manifest.len() as u64 <= DOCUMENTS_MAX);
        let manifest = Manifest::parse(&parts.manifest).expect("what is stored can be read");
        assert_eq!(manifest.own_layers.len() + 1, parts.own.len());
        assert_eq!(&manifest.root, parts.own[0].check.digest());
        assert_eq!(manifest.layers, parts.shared);
    }
    let _ = contents.layer();
});

/// Makes the checksums right wherever a header is: a fuzzer does not guess them.
fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut offset = 0;
    while let Some(block) = bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..512)) {
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        let end = block.iter().all(|byte| *byte == 0);
        if end
            || offset == 0 && (block.starts_with(&[0x1f, 0x8b]) || block.starts_with(b"\x28\xb5"))
        {
            break;
        }
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());

        let size = header.entry_size().unwrap_or(0).min(1 << 20);
        offset += 512 + usize::try_from(size).unwrap_or(0).next_multiple_of(512);
    }
    bytes
}
