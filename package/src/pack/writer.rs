//! The outer tar of a package, hashed as it is written.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;

use tar::{Builder, EntryType, Header};

use crate::sums::{PackageSums, Sha3Long, Sha3Short};

/// Bytes that are hashed and written at once.
const BUFFER: usize = 256 * 1024;

/// Writes files into a package.
pub(super) struct PackageWriter<'a> {
    tar: Builder<BufWriter<Summed<'a>>>,
}

impl<'a> PackageWriter<'a> {
    pub(super) fn new(file: &'a mut File) -> Self {
        let summed = Summed {
            file,
            size: 0,
            short: Sha3Short::default(),
            long: Sha3Long::default(),
        };
        Self {
            tar: Builder::new(BufWriter::with_capacity(BUFFER, summed)),
        }
    }

    /// Adds a file with this content.
    pub(super) fn bytes(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.file(name, content.len() as u64, content)
    }

    /// Adds a file of `size` bytes, read from `content`.
    pub(super) fn file(&mut self, name: &str, size: u64, content: impl Read) -> io::Result<()> {
        let mut header = header(EntryType::Regular, 0o644);
        header.set_size(size);
        self.tar.append_data(&mut header, name, content)
    }

    /// Ends the package. Returns its sums and its size.
    pub(super) fn finish(self) -> io::Result<(PackageSums, u64)> {
        let summed = self
            .tar
            .into_inner()?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        summed.file.sync_all()?;

        let sums = PackageSums {
            sha3_256: summed.short.finish(),
            sha3_512: summed.long.finish(),
        };
        Ok((sums, summed.size))
    }
}

/// A header that tells nothing of who packs, and when.
pub(super) fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// Temporary files are private; a package is not.
pub(super) fn make_readable(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o644))
}

struct Summed<'a> {
    file: &'a mut File,
    size: u64,
    short: Sha3Short,
    long: Sha3Long,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        let (written, _) = bytes.split_at(count);
        self.short.update(written);
        self.long.update(written);
        self.size += count as u64;

        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
