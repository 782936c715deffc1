//! A partial download on disk: the bytes, and beside them whose they are.
//!
//! Nothing here is trusted: after a power cut the last bytes may be anything, and
//! only the package's sums, over all of it, tell. What is written in order is the
//! description before the first byte, so that no bytes are taken for those of
//! another file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aos_package::hex;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::PackageId;
use super::answer::Validators;
use super::error::FetchError;

/// Of what is written beside the bytes.
const FORMAT: u32 = 1;
/// No description is longer.
const META_MAX: u64 = 64 << 10;

pub(super) const PART: &str = "part";
pub(super) const META: &str = "json";

/// An open file of bytes.
pub(super) type Opened = Arc<File>;

/// Whose bytes a partial download has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    format: u32,
    /// Without what gives access.
    pub(super) url: String,
    #[serde(flatten)]
    pub(super) validators: Validators,
    pub(super) size: u64,
    #[serde(rename = "sha3_256")]
    sha3_256: String,
    #[serde(rename = "sha3_512")]
    sha3_512: String,
}

impl Meta {
    pub(super) fn new(id: &PackageId, url: String, validators: Validators) -> Self {
        Self {
            format: FORMAT,
            url,
            validators,
            size: id.size,
            sha3_256: hex(&id.sha3_256),
            sha3_512: hex(&id.sha3_512),
        }
    }

    /// Reads a description that this release can use for the file that is named.
    pub(super) fn read(path: &Path, name: &str) -> Option<Self> {
        let mut text = Vec::new();
        let file = open_options().open(path).ok()?;
        let plain = file.metadata().ok()?.is_file();
        file.take(META_MAX).read_to_end(&mut text).ok()?;
        let meta: Self = serde_json::from_slice(&text).ok()?;
        (plain && meta.format == FORMAT && meta.sha3_256 == name).then_some(meta)
    }

    fn is_of(&self, id: &PackageId) -> bool {
        *self == Self::new(id, self.url.clone(), self.validators.clone())
    }
}

/// What is there of a package.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing that can be used.
    Nothing,
    /// The first bytes, at least one.
    Partial { file: File, length: u64, meta: Meta },
    /// As many bytes as the package has.
    Complete(File),
}

/// The files of one package.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    name: String,
}

impl Spool {
    pub(super) fn new(directory: &Path, name: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
        }
    }

    /// What its files are called before their extensions.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Where the bytes are.
    pub(super) fn part(&self) -> PathBuf {
        self.directory.join(format!("{}.{PART}", self.name))
    }

    fn meta(&self) -> PathBuf {
        self.directory.join(format!("{}.{META}", self.name))
    }

    /// Looks what is there, and removes what cannot be used.
    pub(super) fn find(&self, id: &PackageId) -> Result<Found, FetchError> {
        let meta = Meta::read(&self.meta(), &self.name).filter(|meta| meta.is_of(id));
        let file = open_options()
            .write(true)
            .open(self.part())
            .and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        if let (Some(meta), Ok((file, metadata))) = (meta, file)
            && metadata.is_file()
        {
            let length = metadata.len();
            if length == id.size {
                return Ok(Found::Complete(file));
            }
            if (1..id.size).contains(&length) {
                return Ok(Found::Partial { file, length, meta });
            }
        }

        self.remove()?;
        Ok(Found::Nothing)
    }

    /// How many bytes are there, good or not.
    pub(super) fn length(&self) -> u64 {
        fs::symlink_metadata(self.part()).map_or(0, |metadata| metadata.len())
    }

    /// Makes an empty file for the bytes, described on the disk before it is there.
    pub(super) fn begin(&self, meta: &Meta) -> Result<File, FetchError> {
        prepare(&self.directory).map_err(refused(&self.directory))?;
        let part = self.part();
        absent(fs::remove_file(&part)).map_err(refused(&part))?;
        self.describe(meta)?;
        open_options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)
            .map_err(refused(&part))
    }

    /// Writes whose the bytes are, wholly or not at all.
    pub(super) fn describe(&self, meta: &Meta) -> Result<(), FetchError> {
        let path = self.meta();
        let temporary = path.with_extension("tmp");
        let write = || {
            let text = serde_json::to_vec(meta)?;
            absent(fs::remove_file(&temporary))?;
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(refused(&path))
    }

    /// Removes all of it. Tells how many bytes that gave back.
    pub(super) fn remove(&self) -> Result<u64, FetchError> {
        let (meta, part) = (self.meta(), self.part());
        // Bytes without a description are nothing, whenever we are cut off.
        absent(fs::remove_file(&meta)).map_err(refused(&meta))?;
        let freed = fs::symlink_metadata(&part).map_or(0, |metadata| metadata.blocks() * 512);
        absent(fs::remove_file(&part)).map_err(refused(&part))?;
        Ok(freed)
    }

    /// Whether `file` is still the one that has the bytes.
    pub(super) fn is(&self, file: &File) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let there = fs::symlink_metadata(self.part()).map(identity);
        let ours = file.metadata().map(identity);
        matches!((there, ours), (Ok(there), Ok(ours)) if there == ours)
    }
}

/// Whether a file may be called so before its extension.
pub(super) fn is_name(name: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.len() == 64 && name.bytes().all(digit)
}

/// Makes the directory if need be. What is in it is nobody's business yet.
pub(super) fn prepare(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(directory)
}

/// An error about a file.
pub(super) fn refused(path: &Path) -> impl FnOnce(io::Error) -> FetchError + use<> {
    let path = path.to_owned();
    move |source| FetchError::Spool { path, source }
}

/// Neither through a link nor a FIFO.
fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    options
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
