//! Packages that try to do harm, or are damaged.
//!
//! [`all`] lists them; each is right in all but its fault: sizes, sums and
//! digests are those that CM would tell. What is expected of each is what an
//! install must come to, whoever carries it out.

mod bombs;
mod build;
mod documents;
mod entries;
mod images;
mod names;
mod raw;
mod sizes;
mod wholes;

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use crate::digest::Digest;
use crate::pack::Packed;
use crate::sums::PackageSums;

/// What CM calls a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A service.
    Service,
    /// A layer; its digest is told when it is written.
    Layer,
}

/// What an install must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It fails, and this is part of the reason that is told.
    Refused(&'static str),
    /// What there is to unpack is harmless.
    Installed,
}

/// A package that is not what it should be.
pub struct Hostile {
    /// Lower case words with hyphens; none is there twice.
    pub name: String,
    /// As what it is to be installed.
    pub kind: Kind,
    /// What must come of it.
    pub expected: Expected,
    build: Box<dyn Fn() -> Built + Send + Sync>,
}

/// A package, and of a layer the digest that CM names it by.
struct Built {
    package: Vec<u8>,
    layer: Option<Digest>,
}

impl Hostile {
    fn new(
        name: &str,
        kind: Kind,
        expected: Expected,
        build: impl Fn() -> Built + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            expected,
            build: Box::new(build),
        }
    }

    /// Writes the package, and tells what CM would tell of it.
    pub fn write(&self, output: &Path) -> io::Result<Packed> {
        let built = (self.build)();
        fs::write(output, &built.package)?;
        let sums = PackageSums::of(&built.package);
        Ok(Packed {
            size: built.package.len() as u64,
            sha3_256: sums.sha3_256,
            sha3_512: sums.sha3_512,
            layer_digest: built.layer.map(|digest| digest.to_string()),
        })
    }
}

impl fmt::Debug for Hostile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hostile")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Hostile> {
    [
        entries::all(),
        names::all(),
        sizes::all(),
        bombs::all(),
        documents::all(),
        wholes::all(),
        images::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests;
