//! The directory of downloads at start: only what can be gone on with stays.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::error::FetchError;
use super::limits::STALE;
use super::spool::{META, Meta, PART, is_name, prepare, refused};
use crate::model::Chain;

/// Made by mkfs in the root of a partition, and not ours.
const LOST_AND_FOUND: &str = "lost+found";

/// Removes partial downloads that are old or not described, and all that is none.
pub(super) fn sweep(directory: &Path, now: SystemTime) -> Result<(), FetchError> {
    prepare(directory).map_err(refused(directory))?;
    let names = names(directory).map_err(refused(directory))?;
    let good: BTreeSet<String> = names
        .iter()
        .filter_map(|name| name.to_str()?.strip_suffix(PART)?.strip_suffix('.'))
        .filter(|stem| is_name(stem) && can_go_on(directory, stem, now))
        .flat_map(|stem| [PART, META].map(|kind| format!("{stem}.{kind}")))
        .collect();

    for name in names {
        let kept = name
            .to_str()
            .is_some_and(|name| name == LOST_AND_FOUND || good.contains(name));
        if !kept {
            remove(&directory.join(name));
        }
    }
    Ok(())
}

/// A time in the future is a clock that was set back, and tells no age.
fn can_go_on(directory: &Path, stem: &str, now: SystemTime) -> bool {
    let Some(meta) = Meta::read(&directory.join(format!("{stem}.{META}")), stem) else {
        return false;
    };
    let Ok(part) = fs::symlink_metadata(directory.join(format!("{stem}.{PART}"))) else {
        return false;
    };
    let fresh = part.modified().is_ok_and(|modified| {
        now.duration_since(modified)
            .map_or(true, |age| age <= STALE)
    });
    part.is_file() && fresh && (1..=meta.size).contains(&part.len())
}

fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect()
}

/// What cannot be removed is in nobody's way: the next start tries again.
fn remove(path: &Path) {
    tracing::info!(path = %path.display(), "removing a download that cannot be gone on with");
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        _ => fs::remove_file(path),
    };
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), error = %Chain(&error), "it is left");
    }
}
