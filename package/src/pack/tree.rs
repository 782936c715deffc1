//! A directory as a tar.

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::GzBuilder;
use tar::{Builder, EntryType};

use crate::archive::Compression;
use crate::digest::{Algorithm, BlobHasher, Digest};

use super::PackError;
use super::writer::header;

/// Bytes that are hashed and written at once.
const BUFFER: usize = 256 * 1024;
/// Within the window that readers allow, and smaller than gzip's best.
const ZSTD_LEVEL: i32 = 9;

/// Writes the tar of `root` to `content`. Returns its digest and size; `output`
/// is what errors of writing name.
pub(super) fn write(
    root: &Path,
    compression: Compression,
    content: &File,
    output: &Path,
) -> Result<(Digest, u64), PackError> {
    let failed = |source| PackError::Output {
        path: output.to_owned(),
        source,
    };
    let hashed = BufWriter::with_capacity(BUFFER, Hashed::new(content));

    let hashed = match compression {
        Compression::None => {
            let mut tar = Builder::new(hashed);
            append_all(&mut tar, root, output)?;
            tar.into_inner().map_err(failed)?
        }
        Compression::Gzip => {
            // No name and no time in the header.
            let encoder = GzBuilder::new().write(hashed, flate2::Compression::default());
            let mut tar = Builder::new(encoder);
            append_all(&mut tar, root, output)?;
            tar.into_inner()
                .and_then(flate2::write::GzEncoder::finish)
                .map_err(failed)?
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(hashed, ZSTD_LEVEL).map_err(failed)?;
            encoder.include_checksum(true).map_err(failed)?;
            let mut tar = Builder::new(encoder);
            append_all(&mut tar, root, output)?;
            tar.into_inner()
                .and_then(zstd::Encoder::finish)
                .map_err(failed)?
        }
    };
    let hashed = hashed
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;

    Ok((hashed.hasher.finish(), hashed.size))
}

fn append_all<W: Write>(tar: &mut Builder<W>, root: &Path, output: &Path) -> Result<(), PackError> {
    append_directory(tar, root, Path::new("."), &metadata(root)?, output)?;

    let mut pending = children(root, Path::new(""))?;
    while let Some(name) = pending.pop() {
        let path = root.join(&name);
        let metadata = metadata(&path)?;
        if metadata.is_dir() {
            append_directory(tar, &path, &name, &metadata, output)?;
            pending.extend(children(&path, &name)?);
        } else {
            append_file(tar, &path, &name, &metadata, output)?;
        }
    }

    Ok(())
}

/// Names of the entries of a directory, the last one first: what is pushed last
/// is taken first.
fn children(path: &Path, name: &Path) -> Result<Vec<PathBuf>, PackError> {
    let failed = |source| PackError::Source {
        path: path.to_owned(),
        source,
    };
    let mut names = fs::read_dir(path)
        .map_err(failed)?
        .map(|entry| entry.map(|entry| name.join(entry.file_name())))
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed)?;
    names.sort_unstable_by(|a, b| b.cmp(a));

    Ok(names)
}

fn append_directory<W: Write>(
    tar: &mut Builder<W>,
    path: &Path,
    name: &Path,
    metadata: &Metadata,
    output: &Path,
) -> Result<(), PackError> {
    if !metadata.is_dir() {
        return Err(PackError::Source {
            path: path.to_owned(),
            source: io::ErrorKind::NotADirectory.into(),
        });
    }

    let mut header = header(EntryType::Directory, metadata.mode() & 0o7777);
    // The builder drops the slash of `./`, which readers do not need either.
    tar.append_data(&mut header, name.join(""), io::empty())
        .map_err(|source| PackError::Output {
            path: output.to_owned(),
            source,
        })
}

fn append_file<W: Write>(
    tar: &mut Builder<W>,
    path: &Path,
    name: &Path,
    metadata: &Metadata,
    output: &Path,
) -> Result<(), PackError> {
    let unread = |source| PackError::Source {
        path: path.to_owned(),
        source,
    };
    let unwritten = |source| PackError::Output {
        path: output.to_owned(),
        source,
    };
    let mode = metadata.mode() & 0o7777;

    if metadata.is_symlink() {
        let target = fs::read_link(path).map_err(unread)?;
        return tar
            .append_link(&mut header(EntryType::Symlink, 0o777), name, target)
            .map_err(unwritten);
    }
    if !metadata.is_file() {
        return Err(PackError::SpecialFile {
            path: path.to_owned(),
        });
    }

    let mut header = header(EntryType::Regular, mode);
    header.set_size(metadata.len());
    let mut source = SourceFile {
        content: File::open(path).map_err(unread)?,
        left: metadata.len(),
        failure: None,
    };
    let written = tar.append_data(&mut header, name, &mut source);
    match source.failure {
        Some(failure) => Err(unread(failure)),
        None => written.map_err(unwritten),
    }
}

fn metadata(path: &Path) -> Result<Metadata, PackError> {
    fs::symlink_metadata(path).map_err(|source| PackError::Source {
        path: path.to_owned(),
        source,
    })
}

/// A file that is read to the size it had; knows which side failed.
struct SourceFile {
    content: File,
    left: u64,
    failure: Option<io::Error>,
}

impl SourceFile {
    fn refuse(&mut self, error: io::Error) -> io::Error {
        let copy = io::Error::from(error.kind());
        self.failure = Some(error);
        copy
    }
}

impl Read for SourceFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(buffer) = buffer.get_mut(..wanted).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        match self.content.read(buffer) {
            Ok(0) => Err(self.refuse(io::Error::other("the file became shorter meanwhile"))),
            Ok(count) => {
                self.left -= count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.refuse(error)),
        }
    }
}

struct Hashed<'a> {
    content: &'a File,
    hasher: BlobHasher,
    size: u64,
}

impl<'a> Hashed<'a> {
    fn new(content: &'a File) -> Self {
        Self {
            content,
            hasher: BlobHasher::new(Algorithm::Sha256),
            size: 0,
        }
    }
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.content.write(bytes)?;
        let (written, _) = bytes.split_at(count);
        self.hasher.update(written);
        self.size += count as u64;

        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.content.flush()
    }
}
