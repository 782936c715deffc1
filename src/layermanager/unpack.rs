//! One layer of a package, unpacked to a directory.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::ops::AddAssign;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aos_package::archive::{Archive, ArchiveError, EntryPath, LeftOut, Limits, MisfitError, Step};
use aos_package::{Digest, Short};

use super::allowance::Allowance;
use super::budget::Budget;
use super::counting::Counting;
use super::record::Hashes;
use super::space::NoSpace;
use super::tree::{Ownership, Tree};

/// A filesystem of a package cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is damaged, or asks for what it must not have.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The package cannot be read.
    #[error("cannot read the package")]
    Read(#[source] io::Error),
    /// An entry does not fit what is there.
    #[error(transparent)]
    Misfit(#[from] MisfitError),
    /// The filesystem refused.
    #[error("cannot write {:?}", Short(path))]
    Write {
        /// Below the root that is unpacked to.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no room for it.
    #[error(transparent)]
    NoSpace(#[from] NoSpace),
    /// The directory cannot be used that it is unpacked to.
    #[error("cannot write to {}", path.display())]
    Root {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There can be no thread to do it.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
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

/// What came out of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unpacked {
    /// Entries.
    pub(super) entries: u64,
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

impl AddAssign for Unpacked {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.devices += other.devices;
        self.fifos += other.fifos;
        self.set_id += other.set_id;
        self.attributes += other.attributes;
    }
}

/// Where a layer is unpacked to.
pub(super) struct Target<'a> {
    /// An empty directory.
    pub(super) root: &'a Path,
    pub(super) ownership: Ownership,
    pub(super) allowance: &'a mut Allowance,
    /// Get those of all files.
    pub(super) hashes: &'a mut Hashes,
}

/// Unpacks the tar `content`, no more of it than `limits` allow, and reads it to
/// its end. When there is no room for it, the rest is only counted.
pub(super) fn unpack(
    content: &mut impl Read,
    target: Target<'_>,
    limits: Limits,
    stopped: &dyn Fn() -> bool,
) -> Result<Unpacked, UnpackError> {
    let Target {
        root,
        ownership,
        allowance,
        hashes,
    } = target;
    let mut archive = Archive::new(content, limits);
    let refused = allowance.refused();
    let budget = Budget::new(limits, allowance);
    if let Some(refused) = refused {
        let counting = Counting::new(budget, [EntryPath::default()], refused);
        return Err(missing(counting, None, &mut archive, stopped));
    }

    let tree = Tree::new(root, ownership, budget, hashes);
    let mut tree = tree.map_err(|source| UnpackError::Root {
        path: root.to_owned(),
        source,
    })?;
    let mut unpacked = Unpacked::default();
    while let Some(entry) = archive.next_entry()? {
        if stopped() {
            return Err(UnpackError::Stopped);
        }
        let planned = Step::plan(&entry)?;
        unpacked.entries += 1;
        unpacked.set_id += u64::from(planned.set_id_cleared);
        unpacked.attributes += entry.attributes;

        let step = planned.step;
        match apply(&step, entry.size, &mut archive, &mut tree, stopped) {
            Err(UnpackError::NoSpace(refused)) => {
                let counting = tree.into_counting(refused);
                let first = Some((&step, entry.size));
                return Err(missing(counting, first, &mut archive, stopped));
            }
            applied => applied?,
        }
        match step {
            Step::LeaveOut(LeftOut::Device) => unpacked.devices += 1,
            Step::LeaveOut(LeftOut::Fifo) => unpacked.fifos += 1,
            _ => {}
        }
    }
    archive.finish()?;

    tree.finish()?;
    Ok(unpacked)
}

/// Carries out one step.
fn apply(
    step: &Step,
    size: u64,
    content: &mut impl Read,
    tree: &mut Tree<'_>,
    stopped: &dyn Fn() -> bool,
) -> Result<(), UnpackError> {
    match step {
        Step::File { path, attributes } => tree.file(path, *attributes, size, content, stopped),
        Step::Directory { path, attributes } => tree.directory(path.clone(), *attributes),
        Step::Symlink {
            path,
            target,
            attributes,
        } => tree.symlink(path, OsStr::from_bytes(target), *attributes),
        Step::HardLink { path, target } => tree.hard_link(path, target),
        Step::Whiteout { path } => tree.whiteout(path),
        Step::Opaque { directory } => tree.opaque(directory),
        Step::LeaveOut(_) => Ok(()),
    }
}

/// What is missing for the rest of an archive.
fn missing(
    counting: Counting<'_>,
    first: Option<(&Step, u64)>,
    archive: &mut Archive<impl Read>,
    stopped: &dyn Fn() -> bool,
) -> UnpackError {
    match counting.rest(first, archive, stopped) {
        Ok(refused) => refused.into(),
        Err(error) => error,
    }
}
