//! What is in a directory, as a value that can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, Result};
use aos_package::{Algorithm, Digest};

/// The time of all files in packages here: whoever has another was not given it.
pub const PACKAGED: i64 = 1_600_000_000;

/// One line for each path.
pub type Listing = BTreeMap<String, String>;

/// Lists all that is below `directory`, with the directory itself as `.`.
pub fn list(directory: &Path) -> Result<Listing> {
    let mut listing = Listing::new();
    add(directory, ".", &mut listing)?;
    Ok(listing)
}

fn add(path: &Path, name: &str, listing: &mut Listing) -> Result<()> {
    let metadata = fs::symlink_metadata(path).with_context(|| format!("{}", path.display()))?;
    let kind = metadata.file_type();
    let what = if kind.is_dir() {
        let opaque = xattr::get(path, "trusted.overlay.opaque")?.is_some();
        format!("directory{}", if opaque { " opaque" } else { "" })
    } else if kind.is_symlink() {
        format!("link {}", fs::read_link(path)?.display())
    } else if kind.is_char_device() {
        format!("device {}", metadata.rdev())
    } else {
        let content = fs::read(path)?;
        let links = metadata.nlink();
        format!(
            "file {} {} links {links}",
            content.len(),
            Digest::of(Algorithm::Sha256, &content)
        )
    };
    let time = if !kind.is_dir() && metadata.mtime() == PACKAGED {
        " packaged"
    } else {
        ""
    };
    listing.insert(
        name.to_owned(),
        format!(
            "{:o} {}:{} {what}{time}",
            metadata.mode() & 0o7777,
            metadata.uid(),
            metadata.gid()
        ),
    );
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let inner = String::from_utf8_lossy(entry.file_name().as_bytes()).into_owned();
            let inner = if name == "." {
                inner
            } else {
                format!("{name}/{inner}")
            };
            add(&entry.path(), &inner, listing)?;
        }
    }
    Ok(())
}

/// What differs, for people; empty if nothing does.
pub fn difference(expected: &Listing, found: &Listing) -> String {
    let mut lines = Vec::new();
    for (path, line) in expected {
        match found.get(path) {
            None => lines.push(format!("{path} is missing")),
            Some(other) if other != line => {
                lines.push(format!("{path} is `{other}`, expected `{line}`"));
            }
            Some(_) => {}
        }
    }
    let more = found.keys().filter(|path| !expected.contains_key(*path));
    lines.extend(more.map(|path| format!("{path} is there too")));
    lines.truncate(5);
    lines.join("; ")
}
