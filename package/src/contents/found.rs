//! The files of a package by their names.

use std::collections::HashMap;

use crate::archive::{Entry, EntryPath, Kind};
use crate::digest::Digest;
use crate::manifest::{
    LAYER_FILE, MANIFEST_FILE, ManifestError, OCI_INDEX_FILE, OCI_LAYOUT_FILE, blob_path,
};

use super::{DOCUMENT_MAX, DOCUMENTS_MAX, Place};

/// Links that are followed, one after the other.
const HOPS_MAX: usize = 40;
/// What of the room for documents only those with known names can have: others
/// may come before them, and take all that there is.
const RESERVED: u64 = 1 << 20;

/// The files of a package.
#[derive(Debug, Default)]
pub(super) struct Found {
    files: HashMap<EntryPath, File>,
    /// Bytes of all documents.
    kept: u64,
}

#[derive(Debug)]
enum File {
    Document(Place, Vec<u8>),
    /// A document for which there was no room.
    Dropped(Place),
    Archive(Place),
    /// Where a link leads, if that is below the root.
    Link(Option<EntryPath>),
}

impl Found {
    /// Whether a document of this size and name can be kept.
    pub(super) fn has_room(&self, path: &EntryPath, size: u64) -> bool {
        let known = [MANIFEST_FILE, LAYER_FILE, OCI_INDEX_FILE, OCI_LAYOUT_FILE];
        let known = known.iter().any(|name| name.as_bytes() == path.as_bytes());
        let reserved = if known { 0 } else { RESERVED };
        size <= (DOCUMENTS_MAX - reserved).saturating_sub(self.kept)
    }

    pub(super) fn add_document(&mut self, path: EntryPath, place: Place, bytes: Vec<u8>) {
        self.kept += place.size;
        self.files.insert(path, File::Document(place, bytes));
    }

    pub(super) fn add_dropped(&mut self, path: EntryPath, place: Place) {
        self.files.insert(path, File::Dropped(place));
    }

    pub(super) fn add_archive(&mut self, path: EntryPath, place: Place) {
        self.files.insert(path, File::Archive(place));
    }

    pub(super) fn add_link(&mut self, path: EntryPath, entry: &Entry) {
        let target = match (entry.kind, path.split()) {
            (Kind::Symlink, Some((directory, _))) => resolve(&directory, &entry.link),
            _ => EntryPath::parse(&entry.link).ok(),
        };
        self.files.insert(path, File::Link(target));
    }

    /// An entry takes the place of an earlier one.
    pub(super) fn remove(&mut self, path: &EntryPath) {
        if let Some(File::Document(place, _)) = self.files.remove(path) {
            self.kept -= place.size;
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    pub(super) fn place(&self, path: &EntryPath) -> Option<Place> {
        match self.files.get(path)? {
            File::Document(place, _) | File::Dropped(place) | File::Archive(place) => Some(*place),
            File::Link(_) => None,
        }
    }

    pub(super) fn document(&self, path: &EntryPath) -> Option<&[u8]> {
        match self.files.get(path)? {
            File::Document(_, bytes) => Some(bytes),
            File::Dropped(_) | File::Archive(_) | File::Link(_) => None,
        }
    }

    /// The first character of a document that is no white space of JSON.
    pub(super) fn first_character(&self, name: &str) -> Option<u8> {
        let text = self.text(name).ok()?.iter();
        text.copied()
            .find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
    }

    /// A document, by its name or a link to it.
    pub(super) fn text(&self, name: &str) -> Result<&[u8], ManifestError> {
        let file = || name.to_owned();
        match self.find(name)?.1 {
            File::Document(_, bytes) => Ok(bytes),
            File::Archive(place) if place.size > DOCUMENT_MAX => Err(ManifestError::DocumentSize {
                file: file(),
                size: place.size,
                allowed: DOCUMENT_MAX,
            }),
            File::Archive(_) => Err(ManifestError::NotDocument(file())),
            File::Dropped(_) => Err(ManifestError::Documents {
                file: file(),
                allowed: DOCUMENTS_MAX,
            }),
            File::Link(_) => Err(ManifestError::Link(file())),
        }
    }

    /// A document that is named by its digest.
    pub(super) fn blob(&self, what: &str, digest: &Digest) -> Result<&[u8], ManifestError> {
        let bytes = self.text(&blob_path(digest))?;
        check(what, bytes, digest)?;
        Ok(bytes)
    }

    /// The name by which an archive was shown, by its name or a link to it.
    pub(super) fn archive(&self, name: &str) -> Result<EntryPath, ManifestError> {
        match self.find(name)? {
            (path, File::Archive(_)) => Ok(path.clone()),
            (_, File::Link(_)) => Err(ManifestError::Link(name.to_owned())),
            (_, File::Document(..) | File::Dropped(_)) => {
                Err(ManifestError::NotArchive(name.to_owned()))
            }
        }
    }

    fn find(&self, name: &str) -> Result<(&EntryPath, &File), ManifestError> {
        let missing = || ManifestError::Missing(name.to_owned());
        let path = EntryPath::parse(name.as_bytes()).map_err(|_| missing())?;
        let mut found = self.files.get_key_value(&path).ok_or_else(missing)?;
        for _ in 0..HOPS_MAX {
            let File::Link(target) = found.1 else {
                return Ok(found);
            };
            let target = target
                .as_ref()
                .and_then(|path| self.files.get_key_value(path));
            found = target.ok_or_else(|| ManifestError::Link(name.to_owned()))?;
        }
        Err(ManifestError::Link(name.to_owned()))
    }
}

/// Checks a document against the digest that another one has of it.
pub(super) fn check(what: &str, bytes: &[u8], digest: &Digest) -> Result<(), ManifestError> {
    let actual = Digest::of(digest.algorithm(), bytes);
    if actual == *digest {
        return Ok(());
    }
    Err(ManifestError::Mismatch {
        what: what.to_owned(),
        actual,
        expected: digest.clone(),
    })
}

/// Where a symbolic link leads, by its text alone. `None`: out of the package.
fn resolve(directory: &EntryPath, target: &[u8]) -> Option<EntryPath> {
    let mut parts: Vec<&[u8]> = Vec::new();
    if !target.starts_with(b"/") {
        let directory = directory.as_bytes().split(|byte| *byte == b'/');
        parts.extend(directory.filter(|part| !part.is_empty()));
    }
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    EntryPath::parse(&parts.join(&b'/')).ok()
}
