//! A package on its way in.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use nix::fcntl::OFlag;

use super::package::{PackageError, check_size};
use super::source::file_path;

/// A package, wherever it comes from.
pub(super) struct Fetched {
    /// All of its bytes once, in their order. May block.
    pub(super) reader: Box<dyn Read + Send>,
    /// All of its bytes, once the reader has come to its end.
    pub(super) file: Arc<File>,
}

/// Opens the package at a file URL, which is to have `size` bytes.
pub(super) fn open(url: &str, size: u64) -> Result<Fetched, PackageError> {
    let file = OpenOptions::new()
        .read(true)
        // A FIFO must not make us wait.
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(file_path(url)?)
        .map_err(PackageError::Open)?;
    let metadata = file.metadata().map_err(PackageError::Open)?;
    if !metadata.is_file() {
        return Err(PackageError::NotFile);
    }
    check_size(metadata.len(), size)?;

    let file = Arc::new(file);
    Ok(Fetched {
        reader: Box::new(Arc::clone(&file)),
        file,
    })
}
