//! A layer, as unpacking would find it.

use std::io::{self, Read};

use aos_package::archive::{
    Archive, ArchiveError, Compression, LeftOut, Limits, Owners, Rehearsal, RehearsalError, Step,
    decode,
};
use aos_package::{Algorithm, BlobHasher, Digest};
use serde::Serialize;

/// What is in a layer, by its kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) entries: u64,
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) symlinks: u64,
    pub(super) hard_links: u64,
    pub(super) whiteouts: u64,
    pub(super) opaque: u64,
    /// Left out.
    pub(super) devices: u64,
    /// Left out.
    pub(super) fifos: u64,
    /// Setuid and setgid bits that are cleared.
    pub(super) set_id: u64,
    /// Extended attributes that are dropped.
    pub(super) attributes: u64,
}

/// A layer that has been read to its end.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// Of the file.
    pub(super) size: u64,
    /// Of the file.
    pub(super) digest: Digest,
    /// Of the tar in it, if that can be read.
    pub(super) decompressed: Option<Digest>,
    pub(super) compression: Compression,
    /// Bytes of all files.
    pub(super) unpacked: u64,
    pub(super) counts: Counts,
    /// Why it cannot be unpacked.
    pub(super) refusal: Option<String>,
}

/// How a layer is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) of_file: Algorithm,
    pub(super) of_tar: Algorithm,
}

#[derive(Debug, thiserror::Error)]
enum LayerError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Step(#[from] RehearsalError),
}

/// Reads all of `file`. That it is no layer is a finding; only when it cannot be
/// read at all there is none.
pub(super) fn examine(file: impl Read, owners: Owners, look: Look) -> io::Result<Layer> {
    let mut file = Hashed::new(file, look.of_file);
    let mut layer = Layer {
        size: 0,
        digest: Digest::of(look.of_file, b""),
        decompressed: None,
        compression: Compression::None,
        unpacked: 0,
        counts: Counts::default(),
        refusal: None,
    };

    match unpack(&mut file, owners, look, &mut layer) {
        Ok(()) => {}
        Err(error) => layer.refusal = Some(format!("{:#}", anyhow::Error::from(error))),
    }
    io::copy(&mut file, &mut io::sink())?;
    layer.size = file.size;
    layer.digest = file.hasher.finish();
    Ok(layer)
}

fn unpack(
    file: impl Read,
    owners: Owners,
    look: Look,
    layer: &mut Layer,
) -> Result<(), LayerError> {
    let decoded = decode(file).map_err(ArchiveError::Read)?;
    layer.compression = decoded.compression();
    let mut tar = Hashed::new(decoded, look.of_tar);

    let mut archive = Archive::new(&mut tar, Limits::default());
    let filled = fill(&mut archive, &mut Rehearsal::new(owners), layer);
    if filled.is_ok() {
        archive.finish()?;
    } else if io::copy(&mut tar, &mut io::sink()).is_err() {
        // What was wrong first is told.
        return filled;
    }
    // What is wrong with an entry does not change the digest.
    layer.decompressed = Some(tar.hasher.finish());
    filled
}

fn fill(
    archive: &mut Archive<impl Read>,
    rehearsal: &mut Rehearsal,
    layer: &mut Layer,
) -> Result<(), LayerError> {
    while let Some(entry) = archive.next_entry()? {
        let planned = Step::plan(&entry)?;
        rehearsal.take(&planned.step)?;

        let counts = &mut layer.counts;
        counts.entries += 1;
        counts.set_id += u64::from(planned.set_id_cleared);
        counts.attributes += entry.attributes;
        match planned.step {
            Step::Directory { .. } => counts.directories += 1,
            Step::File { .. } => {
                counts.files += 1;
                layer.unpacked += entry.size;
            }
            Step::Symlink { .. } => counts.symlinks += 1,
            Step::HardLink { .. } => counts.hard_links += 1,
            Step::Whiteout { .. } => counts.whiteouts += 1,
            Step::Opaque { .. } => counts.opaque += 1,
            Step::LeaveOut(LeftOut::Device) => counts.devices += 1,
            Step::LeaveOut(LeftOut::Fifo) => counts.fifos += 1,
        }
    }
    Ok(())
}

struct Hashed<R> {
    source: R,
    hasher: BlobHasher,
    size: u64,
}

impl<R> Hashed<R> {
    fn new(source: R, algorithm: Algorithm) -> Self {
        Self {
            source,
            hasher: BlobHasher::new(algorithm),
            size: 0,
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let (bytes, _) = buffer.split_at(count);
        self.hasher.update(bytes);
        self.size += count as u64;
        Ok(count)
    }
}
