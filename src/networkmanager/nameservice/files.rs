//! The files that the name server reads.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aos_names::{EXTENSION, NetworkNames};
use tracing::warn;

use crate::model::Chain;
use crate::networkmanager::error::NetworkError;

/// Writes the files. All calls block, though not for long.
#[derive(Debug)]
pub(in crate::networkmanager) struct NameFiles {
    directory: PathBuf,
    /// What is there, by the file's name. `None`: it is not known what.
    written: BTreeMap<String, Option<Vec<u8>>>,
}

impl NameFiles {
    /// Makes the directory if need be, and reads what an earlier SM wrote. The
    /// server, which is another user, can read in it.
    pub(in crate::networkmanager) fn open(
        directory: &Path,
    ) -> Result<(Self, Vec<NetworkNames>), NetworkError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o755)))
            .map_err(failed("make", directory))?;

        let mut written = BTreeMap::new();
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed("read", directory))? {
            let path = entry.map_err(failed("read", directory))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if path.extension().is_none_or(|end| end != EXTENSION) {
                continue;
            }
            // One that cannot be read has names of nobody: it is replaced.
            let text = match fs::read(&path) {
                Ok(text) => Some(text),
                Err(error) => {
                    warn!(path = %path.display(), %error, "cannot read names of an earlier run");
                    None
                }
            };
            match text.as_deref().map(NetworkNames::read) {
                Some(Ok(names)) if file_name(&names) == name => found.push(names),
                Some(Err(error)) => {
                    warn!(path = %path.display(), error = %Chain(&error), "names of an earlier run are damaged");
                }
                _ => {}
            }
            written.insert(name.to_owned(), text);
        }

        let files = Self {
            directory: directory.to_owned(),
            written,
        };
        Ok((files, found))
    }

    /// Makes these the files. Those that are so already are not touched. After
    /// an error the rest is as it should be, and the next call tries again.
    pub(in crate::networkmanager) fn publish(
        &mut self,
        networks: &[NetworkNames],
    ) -> Result<(), NetworkError> {
        let wanted: BTreeMap<String, Vec<u8>> = networks
            .iter()
            .map(|names| (file_name(names), names.text()))
            .collect();
        let surplus: Vec<String> = self
            .written
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .cloned()
            .collect();

        let mut outcome = Ok(());
        for name in surplus {
            outcome = outcome.and(self.remove(&name));
        }
        for (name, text) in wanted {
            let known = self.written.get(&name).and_then(Option::as_ref);
            if known != Some(&text) || !self.directory.join(&name).exists() {
                outcome = outcome.and(self.write(name, text));
            }
        }

        outcome
    }

    fn write(&mut self, name: String, text: Vec<u8>) -> Result<(), NetworkError> {
        let path = self.directory.join(&name);
        // The server passes it over: its name ends otherwise.
        let new = self.directory.join(format!("{name}.new"));
        let outcome = fs::write(&new, &text)
            .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(0o644)))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(failed("write", &path));
        let is_written = outcome.is_ok();
        self.written.insert(name, is_written.then_some(text));

        outcome
    }

    fn remove(&mut self, name: &str) -> Result<(), NetworkError> {
        let path = self.directory.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }

        self.written.remove(name);
        Ok(())
    }
}

/// Names of bridges are as good as names of files, and no two networks of a
/// node have the same.
fn file_name(names: &NetworkNames) -> String {
    format!("{}.{EXTENSION}", names.bridge)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::NameFiles {
        what,
        path: path.to_owned(),
        source,
    }
}
