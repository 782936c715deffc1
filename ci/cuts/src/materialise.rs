//! A state of the disk, laid out in a directory.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{self as unix, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;

use crate::disk::{Attributes, Disk, Inode, Kind, ROOT, State};

/// Two states with the same number are the same.
pub fn fingerprint(disk: &Disk, state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut names = HashMap::new();
    sum_up(disk, state, ROOT, &mut hasher, &mut names);
    hasher.finish()
}

fn sum_up(
    disk: &Disk,
    state: &State,
    directory: Inode,
    hasher: &mut DefaultHasher,
    names: &mut HashMap<Inode, usize>,
) {
    for (name, inode) in state.entries.get(&directory).into_iter().flatten() {
        name.hash(hasher);
        // Several names of one file are not several files.
        let number = names.len();
        names.entry(*inode).or_insert(number).hash(hasher);
        disk.kinds[*inode].0.hash(hasher);
        attributes(disk, state, *inode).hash(hasher);
        state.contents.get(inode).hash(hasher);
        if *disk.kind(*inode) == Kind::Directory {
            sum_up(disk, state, *inode, hasher, names);
        }
    }
    "end".hash(hasher);
}

fn attributes<'a>(disk: &'a Disk, state: &'a State, inode: Inode) -> &'a Attributes {
    state.attributes.get(&inode).unwrap_or(&disk.kinds[inode].1)
}

/// Fills the empty directory `target`.
pub fn materialise(disk: &Disk, state: &State, target: &Path) -> Result<()> {
    fill(disk, state, ROOT, target, &mut HashMap::new())
}

fn fill(
    disk: &Disk,
    state: &State,
    directory: Inode,
    target: &Path,
    made: &mut HashMap<Inode, PathBuf>,
) -> Result<()> {
    for (name, inode) in state.entries.get(&directory).into_iter().flatten() {
        let path = target.join(std::ffi::OsStr::from_bytes(name));
        let laid_out = || -> Result<()> {
            if let Some(same) = made.get(inode) {
                return Ok(fs::hard_link(same, &path)?);
            }
            match disk.kind(*inode) {
                Kind::Directory => {
                    fs::create_dir(&path)?;
                    return Ok(());
                }
                Kind::File => {
                    let content = state.contents.get(inode).map_or(&[][..], Vec::as_slice);
                    fs::write(&path, content)?;
                }
                Kind::Link(to) => unix::symlink(std::ffi::OsStr::from_bytes(to), &path)?,
                Kind::Device => mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0)?,
            }
            Ok(())
        };
        laid_out().with_context(|| format!("cannot make {}", path.display()))?;
        if *disk.kind(*inode) == Kind::Directory {
            fill(disk, state, *inode, &path, made)?;
        }
        if made.insert(*inode, path.clone()).is_none() {
            describe(attributes(disk, state, *inode), disk.kind(*inode), &path)
                .with_context(|| format!("cannot describe {}", path.display()))?;
        }
    }
    Ok(())
}

fn describe(attributes: &Attributes, kind: &Kind, path: &Path) -> Result<()> {
    let (user, group) = attributes.owner;
    unix::lchown(path, Some(user), Some(group))?;
    for (name, value) in &attributes.extended {
        xattr::set(path, std::ffi::OsStr::from_bytes(name), value)?;
    }
    if !matches!(kind, Kind::Link(_)) {
        fs::set_permissions(path, fs::Permissions::from_mode(attributes.mode))?;
    }
    if let Some((seconds, nanoseconds)) = attributes.modified {
        let time = TimeSpec::new(seconds, nanoseconds);
        utimensat(
            AT_FDCWD,
            path,
            &time,
            &time,
            UtimensatFlags::NoFollowSymlink,
        )?;
    }
    Ok(())
}
