//! Any layer descriptor is refused or has a digest that is safe as a name.

#![no_main]

use aos_package::LayerDescriptor;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(layer) = LayerDescriptor::parse(bytes) {
        assert!(
            layer
                .digest
                .hex()
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit())
        );
        assert!(layer.digest.hex().len() >= 64);
    }
});
