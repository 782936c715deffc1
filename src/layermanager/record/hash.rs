//! XXH3-128 of contents: finds what a disk does to files. Against who changes
//! them on purpose, while an item is installed, stand its digests.

use std::fmt;
use std::io::{self, Read};

use twox_hash::XxHash3_128;

/// Bytes read at once.
const BUFFER: usize = 256 * 1024;

/// Hashes a content piece by piece.
pub(in crate::layermanager) struct ContentHasher(XxHash3_128);

impl ContentHasher {
    pub(in crate::layermanager) fn new() -> Self {
        Self(XxHash3_128::new())
    }

    pub(in crate::layermanager) fn update(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    pub(in crate::layermanager) fn finish(&self) -> u128 {
        self.0.finish_128()
    }

    /// The hash of `bytes`.
    pub(in crate::layermanager) fn of(bytes: &[u8]) -> u128 {
        XxHash3_128::oneshot(bytes)
    }
}

/// Reads all of `content`. `None`: stopped before its end.
pub(in crate::layermanager) fn hash_content(
    content: &mut impl Read,
    stopped: &dyn Fn() -> bool,
) -> io::Result<Option<u128>> {
    let mut hasher = ContentHasher::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        if stopped() {
            return Ok(None);
        }
        match content.read(&mut buffer) {
            Ok(0) => return Ok(Some(hasher.finish())),
            Ok(count) => hasher.update(buffer.split_at(count).0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Hashes of new files of one filesystem, by inode. 24 bytes a file.
#[derive(Debug, Default)]
pub(in crate::layermanager) struct Hashes {
    noted: Vec<(u64, [u8; 16])>,
}

impl Hashes {
    /// Notes the content of the file `inode`. What was noted before of a file
    /// with the same number, which is gone by now, no longer counts.
    pub(in crate::layermanager) fn note(&mut self, inode: u64, hash: u128) {
        self.noted.push((inode, hash.to_ne_bytes()));
    }

    pub(super) fn sorted(mut self) -> Sorted {
        // Stable: the last of equal ones is the latest.
        self.noted.sort_by_key(|(inode, _)| *inode);
        Sorted(self.noted)
    }
}

/// [`Hashes`] to be looked up.
pub(super) struct Sorted(Vec<(u64, [u8; 16])>);

impl Sorted {
    pub(super) fn get(&self, inode: u64) -> Option<u128> {
        let after = self.0.partition_point(|(noted, _)| *noted <= inode);
        let (noted, hash) = self.0.get(after.checked_sub(1)?)?;
        (*noted == inode).then(|| u128::from_ne_bytes(*hash))
    }
}

impl fmt::Debug for ContentHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentHasher")
    }
}
