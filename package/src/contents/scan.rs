//! One pass over a package.

use std::io::{self, Cursor, Read};

use crate::archive::{
    Archive, ArchiveError, Decoded, Entry, EntryPath, Kind, Limits, begins_like_archive, decode,
};

use super::found::Found;
use super::{Contents, DOCUMENT_MAX, ENTRIES_MAX, Place};

/// Bytes of all names of a package.
const NAMES_MAX: u64 = 1 << 20;
/// Bytes that tell an archive from a document.
const START: u64 = 512;

/// Whoever is shown the archives of a package: by name, size and content.
pub type Blob<'a, E> = dyn FnMut(&EntryPath, u64, &mut dyn Read) -> Result<(), E> + 'a;

/// As [`Blob`], and is also shown what the package has before the archive.
pub type KnowingBlob<'a, E> =
    dyn FnMut(&Contents, &EntryPath, u64, &mut dyn Read) -> Result<(), E> + 'a;

/// A pass over a package has ended early.
#[derive(Debug, thiserror::Error)]
pub enum ScanError<E> {
    /// The package is damaged, or asks for what it must not have.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Whoever was shown a file wants no more.
    #[error(transparent)]
    Blob(E),
}

/// Reads a package to its end. `blob` is shown, in their order, all files that
/// are no documents: larger than 1 MiB, or beginning like an archive. It is
/// given the name, the size and the content of each; what it does not read is
/// skipped. When a name comes again, the later file counts.
///
/// `limits` are those of the package as it is after decompression; there are
/// never more than 4096 entries.
pub fn scan<R: Read, E>(
    source: R,
    limits: Limits,
    blob: &mut Blob<'_, E>,
) -> Result<Contents, ScanError<E>> {
    scan_knowing(source, limits, &mut |_, path, size, content| {
        blob(path, size, content)
    })
}

/// As [`scan`], for who wants to know what the package has before each archive.
pub fn scan_knowing<R: Read, E>(
    source: R,
    limits: Limits,
    blob: &mut KnowingBlob<'_, E>,
) -> Result<Contents, ScanError<E>> {
    let decoded = decode(source).map_err(ArchiveError::Read)?;
    let compression = decoded.compression();
    let limits = Limits {
        entries: limits.entries.min(ENTRIES_MAX),
        names: limits.names.min(NAMES_MAX),
        ..limits
    };
    let mut archive = Archive::new(decoded, limits);
    let mut contents = Contents {
        compression,
        found: Found::default(),
    };

    while let Some(entry) = archive.next_entry()? {
        let path = EntryPath::parse(&entry.name).map_err(|reason| ArchiveError::Path {
            name: entry.shown(),
            reason,
        })?;
        contents.found.remove(&path);
        match entry.kind {
            Kind::File => take(&mut contents, path, &entry, &mut archive, blob)?,
            Kind::Symlink | Kind::HardLink => contents.found.add_link(path, &entry),
            // The others are nothing that a package can consist of.
            Kind::Directory | Kind::Device | Kind::Fifo | Kind::Sparse | Kind::Unknown(_) => {}
        }
    }
    archive.finish()?;

    Ok(contents)
}

fn take<R: Read, E>(
    contents: &mut Contents,
    path: EntryPath,
    entry: &Entry,
    archive: &mut Archive<Decoded<R>>,
    blob: &mut KnowingBlob<'_, E>,
) -> Result<(), ScanError<E>> {
    let place = Place {
        offset: entry.offset,
        size: entry.size,
    };
    let mut start = Vec::new();
    read_all(archive.by_ref().take(START), &mut start)?;

    if entry.size > DOCUMENT_MAX || begins_like_archive(&start) {
        let mut content = Cursor::new(start).chain(archive);
        blob(contents, &path, entry.size, &mut content).map_err(ScanError::Blob)?;
        contents.found.add_archive(path, place);
    } else if contents.found.has_room(&path, entry.size) {
        read_all(archive, &mut start)?;
        contents.found.add_document(path, place, start);
    } else {
        contents.found.add_dropped(path, place);
    }
    Ok(())
}

fn read_all(mut content: impl Read, bytes: &mut Vec<u8>) -> Result<(), ArchiveError> {
    let read: io::Result<usize> = content.read_to_end(bytes);
    read.map(drop).map_err(ArchiveError::of_content)
}
