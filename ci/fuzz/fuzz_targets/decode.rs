//! Any file is passed on, decompressed or refused; what has failed stays failed,
//! and the size of the pieces in which it is read does not matter.

#![no_main]

use std::io::Read;

use aos_package::archive::{Compression, decode};
use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut whole) = decode(bytes) else {
        return;
    };
    let compression = whole.compression();
    let mut content = Vec::new();
    let outcome = (&mut whole).take(LIMIT).read_to_end(&mut content);
    if compression == Compression::None {
        assert_eq!(content, bytes);
    }
    if outcome.is_err() {
        assert!(whole.read(&mut [0; 10]).is_err());
    }

    let mut pieces = decode(Slowly(bytes)).expect("it begins as before");
    let mut again = Vec::new();
    let second = (&mut pieces).take(LIMIT).read_to_end(&mut again);
    assert_eq!(outcome.is_ok(), second.is_ok());
    if outcome.is_ok() {
        assert_eq!(content, again);
    }
});

/// Gives three bytes at a time.
struct Slowly<'a>(&'a [u8]);

impl Read for Slowly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(3);
        self.0.read(&mut buffer[..count])
    }
}
