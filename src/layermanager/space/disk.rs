//! What the filesystem tells.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::amount::Amount;

/// The partition that a path is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    /// Its device number: directories with the same one share its space.
    pub(super) id: u64,
    pub(super) size: Amount,
    pub(super) free: Amount,
}

/// Tells what is free. A trait, because a test's disk has to be small and full.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Looks at the partition of a path. What is not there yet is where its
    /// parent is.
    fn partition(&self, path: &Path) -> io::Result<Partition>;
}

/// The kernel's word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel;

impl Disk for Kernel {
    fn partition(&self, path: &Path) -> io::Result<Partition> {
        let path = existing(path)?;
        let id = fs::metadata(path)?.dev();
        let figures = statvfs(path)?;
        let fragment = figures.fragment_size();
        // Filesystems that make inodes as they are needed have none to count.
        let counted = figures.files() > 0;
        let inodes = |count: u64| if counted { count } else { u64::MAX };

        Ok(Partition {
            id,
            size: Amount {
                bytes: fragment.saturating_mul(figures.blocks()),
                inodes: inodes(figures.files()),
            },
            free: Amount {
                bytes: fragment.saturating_mul(figures.blocks_available()),
                inodes: inodes(figures.files_available()),
            },
        })
    }
}

fn existing(path: &Path) -> io::Result<&Path> {
    for path in path.ancestors() {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(path),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// What `path` and all below it take of the disk: the blocks that are in use,
/// and a file with several names once. Links are not followed, and what is
/// mounted below is not looked at.
///
/// # Errors
///
/// When something cannot be looked at. What vanishes meanwhile takes nothing.
pub(in crate::layermanager) fn disk_usage(path: &Path) -> io::Result<Amount> {
    let Some(top) = look(path)? else {
        return Ok(Amount::default());
    };
    let device = top.dev();
    let mut usage = Amount::default();
    let mut linked = HashSet::new();
    let mut rest: Vec<(PathBuf, Metadata)> = vec![(path.to_owned(), top)];
    while let Some((path, metadata)) = rest.pop() {
        let is_directory = metadata.is_dir();
        if metadata.dev() != device
            || !is_directory && metadata.nlink() > 1 && !linked.insert(metadata.ino())
        {
            continue;
        }
        usage = usage.plus(Amount {
            bytes: metadata.blocks().saturating_mul(512),
            inodes: 1,
        });
        if !is_directory {
            continue;
        }
        for entry in fs::read_dir(&path)? {
            let path = entry?.path();
            rest.extend(look(&path)?.map(|metadata| (path, metadata)));
        }
    }

    Ok(usage)
}

fn look(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        looked => looked.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn blocks(path: &Path) -> u64 {
        fs::symlink_metadata(path).unwrap().blocks() * 512
    }

    #[test]
    fn usage_is_that_of_the_blocks_and_of_a_file_with_two_names_once() {
        let directory = TempDir::new().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("small"), "x").unwrap();
        fs::write(root.join("sub/large"), vec![1; 100_000]).unwrap();
        fs::hard_link(root.join("sub/large"), root.join("again")).unwrap();
        symlink("/usr", root.join("link")).unwrap();

        let usage = disk_usage(&root).unwrap();

        let parts = ["", "sub", "small", "again", "link"];
        let bytes: u64 = parts.iter().map(|part| blocks(&root.join(part))).sum();
        assert_eq!(usage, Amount { bytes, inodes: 5 });
        assert!(usage.bytes > 100_000);
    }

    #[test]
    fn holes_take_nothing_and_what_is_not_there_neither() {
        let directory = TempDir::new().unwrap();
        let sparse = directory.path().join("sparse");
        let file = fs::File::create(&sparse).unwrap();
        file.set_len(5 << 40).unwrap();

        assert_eq!(disk_usage(&sparse).unwrap().bytes, 0);
        let missing = disk_usage(&directory.path().join("missing")).unwrap();
        assert_eq!(missing, Amount::default());
    }

    #[test]
    fn directory_that_is_not_there_yet_is_on_the_partition_of_its_parent() {
        let directory = TempDir::new().unwrap();
        let (here, there) = (directory.path(), directory.path().join("a/b/c"));

        let (here, there) = (Kernel.partition(here), Kernel.partition(&there));

        let (here, there) = (here.unwrap(), there.unwrap());
        assert_eq!((here.id, here.size), (there.id, there.size));
        assert!(here.free.bytes <= here.size.bytes);
    }
}
