//! Content on its way from an archive to a file.

use std::fs::File;
use std::io::{self, Read, Write};

use aos_package::archive::EntryPath;

use super::record::ContentHasher;
use super::space::NoSpace;
use super::unpack::UnpackError;

/// Copies all that `content` gives to the file, which is at `path`. Before each
/// piece is written, it is `taken`. Returns the hash of all, as a record has it.
pub(super) fn copy(
    content: &mut impl Read,
    file: &mut File,
    buffer: &mut [u8],
    stopped: &dyn Fn() -> bool,
    path: &EntryPath,
    taken: &mut dyn FnMut(u64) -> Result<(), NoSpace>,
) -> Result<u128, UnpackError> {
    let mut hasher = None;
    loop {
        if stopped() {
            return Err(UnpackError::Stopped);
        }
        let count = fill(content, buffer).map_err(UnpackError::Read)?;
        let (piece, rest) = buffer.split_at(count);
        taken(count as u64)?;
        file.write_all(piece).map_err(|source| UnpackError::Write {
            path: path.as_path().to_owned(),
            source,
        })?;

        let is_last = !rest.is_empty();
        let hash = match (&mut hasher, is_last) {
            // Most files are small, and are hashed faster as a whole.
            (None, true) => Some(ContentHasher::of(piece)),
            (hasher, _) => {
                let hasher = hasher.get_or_insert_with(ContentHasher::new);
                hasher.update(piece);
                is_last.then(|| hasher.finish())
            }
        };
        if let Some(hash) = hash {
            return Ok(hash);
        }
    }
}

/// Whether a write failed for want of room.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Reads until the buffer is full or the content ends.
fn fill(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match content.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_and_size_are_those_of_the_content_wherever_the_buffer_ends() {
        for size in [0, 1, 99, 100, 101, 200, 1234] {
            let content = vec![b'x'; size];
            let mut file = tempfile::tempfile().unwrap();
            let mut sum = 0;

            let hash = copy(
                &mut &content[..],
                &mut file,
                &mut [0; 100],
                &|| false,
                &EntryPath::default(),
                &mut |bytes| {
                    sum += bytes;
                    Ok(())
                },
            )
            .unwrap();

            assert_eq!(hash, ContentHasher::of(&content), "{size}");
            assert_eq!(sum, size as u64);
            assert_eq!(file.metadata().unwrap().len(), size as u64);
        }
    }
}
