//! Content on its way from an archive to a file.

use std::fs::File;
use std::io::{self, Read, Write};

use aos_package::archive::EntryPath;

use super::unpack::UnpackError;

/// Copies all that `content` gives to the file, which is at `path`. Tells how many
/// bytes that was.
pub(super) fn copy(
    content: &mut impl Read,
    file: &mut File,
    buffer: &mut [u8],
    stopped: &dyn Fn() -> bool,
    path: &EntryPath,
) -> Result<u64, UnpackError> {
    let mut written = 0;
    loop {
        if stopped() {
            return Err(UnpackError::Stopped);
        }
        let count = match content.read(buffer) {
            Ok(0) => return Ok(written),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(UnpackError::Read(source)),
        };
        let (bytes, _) = buffer.split_at(count);
        file.write_all(bytes).map_err(|source| UnpackError::Write {
            path: path.as_path().to_owned(),
            source,
        })?;
        written += count as u64;
    }
}
