//! One blob of a package, unpacked to a directory and hashed on the way.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use aos_package::archive::{Archive, ArchiveError, LeftOut, Limits, Step, decode};
use aos_package::{BlobHasher, Digest, Short};

use super::tree::Tree;

/// A filesystem of a package cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is damaged, or asks for what it must not have.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The package cannot be read.
    #[error("cannot read the package")]
    Read(#[source] io::Error),
    /// A name goes through something that is not a directory.
    #[error(
        "entry below {:?}, which is not a directory but maybe a link",
        Short(path)
    )]
    NotDirectory {
        /// What is in the way.
        path: PathBuf,
    },
    /// A hard link does not lead to a file of the same archive.
    #[error(
        "entry {:?} is a hard link to {:?}, which is not a file of this archive",
        Short(path),
        Short(target)
    )]
    LinkTarget {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// No system can have such an owner.
    #[error("entry {:?} has an owner that cannot exist", Short(path))]
    Owner {
        /// The entry.
        path: PathBuf,
    },
    /// The filesystem refused.
    #[error("cannot write {:?}", Short(path))]
    Write {
        /// Below the root that is unpacked to.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The content is not what the manifest promised.
    #[error("digest mismatch: content is {actual}, expected {expected}")]
    Digest {
        /// Of what was read.
        actual: Digest,
        /// Of the manifest.
        expected: Digest,
    },
    /// The service manager is stopping.
    #[error("the service manager is stopping")]
    Stopped,
}

/// What came out of a blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unpacked {
    /// Bytes of all files.
    pub(super) size: u64,
    /// Device nodes left out.
    pub(super) devices: u64,
    /// Named pipes left out.
    pub(super) fifos: u64,
    /// Entries whose setuid or setgid bit was cleared.
    pub(super) set_id: u64,
    /// Extended attributes dropped. Overlayfs obeys some of them, so none may
    /// come from a package.
    pub(super) attributes: u64,
}

/// Unpacks `blob`, plain or gzip and no more than `limits` allow, whose bytes as they are must have `digest`.
pub(super) fn unpack(
    blob: impl Read,
    digest: &Digest,
    mut tree: Tree,
    limits: Limits,
    stopped: &dyn Fn() -> bool,
) -> Result<Unpacked, UnpackError> {
    let hashed = Hashed {
        source: blob,
        hasher: BlobHasher::new(digest.algorithm()),
    };
    let decoded = decode(hashed).map_err(UnpackError::Read)?;
    let mut archive = Archive::new(decoded, limits);

    let unpacked = fill(&mut archive, &mut tree, stopped)?;
    // What follows the end of the archive is part of the blob too.
    let mut hashed = archive.into_source().into_source();
    io::copy(&mut hashed, &mut io::sink()).map_err(UnpackError::Read)?;
    let actual = hashed.hasher.finish();
    if actual != *digest {
        return Err(UnpackError::Digest {
            actual,
            expected: digest.clone(),
        });
    }

    tree.finish()?;
    Ok(unpacked)
}

fn fill(
    archive: &mut Archive<impl Read>,
    tree: &mut Tree,
    stopped: &dyn Fn() -> bool,
) -> Result<Unpacked, UnpackError> {
    let mut unpacked = Unpacked::default();
    while let Some(entry) = archive.next_entry()? {
        if stopped() {
            return Err(UnpackError::Stopped);
        }
        let planned = Step::plan(&entry)?;
        unpacked.set_id += u64::from(planned.set_id_cleared);
        unpacked.attributes += entry.attributes;

        match planned.step {
            Step::Directory { path, attributes } => tree.directory(path, attributes)?,
            Step::File { path, attributes } => {
                unpacked.size += tree.file(&path, attributes, entry.size, archive, stopped)?;
            }
            Step::Symlink {
                path,
                target,
                attributes,
            } => tree.symlink(&path, OsStr::from_bytes(&target), attributes)?,
            Step::HardLink { path, target } => tree.hard_link(&path, &target)?,
            Step::Whiteout { path } => tree.whiteout(&path)?,
            Step::Opaque { directory } => tree.opaque(&directory)?,
            Step::LeaveOut(LeftOut::Device) => unpacked.devices += 1,
            Step::LeaveOut(LeftOut::Fifo) => unpacked.fifos += 1,
        }
    }

    Ok(unpacked)
}

struct Hashed<R> {
    source: R,
    hasher: BlobHasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let (bytes, _) = buffer.split_at(count);
        self.hasher.update(bytes);
        Ok(count)
    }
}
