//! The file of the unit configuration. All calls block.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::format::{FormatError, LONGEST, UnitConfig};

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// It is there, and cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// What is in it is no unit configuration.
    #[error("{} is no unit configuration", path.display())]
    Format {
        path: PathBuf,
        #[source]
        source: FormatError,
    },
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What is stored, if anything is.
pub(super) fn load(path: &Path) -> Result<Option<UnitConfig>, StoreError> {
    let refused = |source| StoreError::Read {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(refused)?,
    };
    let mut text = Vec::new();
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut text).map_err(refused)?;

    match UnitConfig::from_file(&text) {
        Ok(config) => Ok(Some(config)),
        Err(source) => Err(StoreError::Format {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Stores a configuration: after a power cut there is the old one or the new one.
pub(super) fn save(path: &Path, config: &UnitConfig) -> Result<(), StoreError> {
    let staged = staged(path);
    write(path, &staged, &config.to_file()).map_err(|source| {
        // What is left of it is overwritten next time.
        drop(fs::remove_file(&staged));
        StoreError::Write {
            path: path.to_owned(),
            source,
        }
    })
}

fn write(path: &Path, staged: &Path, text: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    match fs::remove_file(staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(staged)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(staged, path)?;

    File::open(directory)?.sync_all()
}

/// The name of a file that is being written.
pub(super) fn staged(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
