//! Packages as a state file names them.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::state_file::StateError;
use crate::package_file::PackageFacts;
use crate::wire::from_hex;

/// Where a package is and what it must be: as told, else as found.
pub(crate) struct PackageSource {
    pub(crate) item: String,
    pub(crate) package: Option<PathBuf>,
    pub(crate) url: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) sha3_256: Option<String>,
    pub(crate) sha3_512: Option<String>,
}

pub(crate) struct Resolved {
    pub(crate) url: String,
    pub(crate) facts: PackageFacts,
}

impl PackageSource {
    /// Reads the package unless all is told.
    pub(crate) fn resolve(self) -> Result<Resolved, StateError> {
        let told = [&self.sha3_256, &self.sha3_512]
            .iter()
            .all(|sum| sum.is_some())
            && self.size.is_some();
        let found = match &self.package {
            Some(package) if !told => {
                Some(
                    PackageFacts::of(package).map_err(|source| StateError::Package {
                        item: self.item.clone(),
                        source,
                    })?,
                )
            }
            _ => None,
        };
        let url = match (&self.url, &self.package) {
            (Some(url), _) => url.clone(),
            (None, Some(package)) => file_url(package),
            (None, None) => return Err(self.missing("url")),
        };
        let size = self
            .size
            .or(found.as_ref().map(|facts| facts.size))
            .ok_or_else(|| self.missing("size"))?;
        let (short, long) = found.map(|facts| (facts.sha3_256, facts.sha3_512)).unzip();
        Ok(Resolved {
            url,
            facts: PackageFacts {
                size,
                sha3_256: self.digest("sha3_256", self.sha3_256.as_deref(), short)?,
                sha3_512: self.digest("sha3_512", self.sha3_512.as_deref(), long)?,
            },
        })
    }

    fn digest(
        &self,
        key: &'static str,
        told: Option<&str>,
        found: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, StateError> {
        match told {
            Some(told) => from_hex(told).ok_or_else(|| StateError::BadDigest {
                item: self.item.clone(),
                key,
            }),
            None => found.ok_or_else(|| self.missing(key)),
        }
    }

    fn missing(&self, key: &'static str) -> StateError {
        StateError::Missing {
            item: self.item.clone(),
            key,
        }
    }
}

/// A path of a state file whose directory is `base`.
pub(crate) fn absolute(base: &Path, path: &Path) -> PathBuf {
    let joined = base.join(path);
    std::path::absolute(&joined).unwrap_or(joined)
}

/// A `file:` URL; what a URL would take for something else is escaped.
pub(crate) fn file_url(path: &Path) -> String {
    let mut url = "file://".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => url.push(byte.into()),
            b'/' | b'-' | b'_' | b'.' | b'~' | b'+' | b'@' | b':' | b'=' | b',' => {
                url.push(byte.into());
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}
