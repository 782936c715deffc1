//! The layers of a package: unpacked one after the other as they come, checked
//! when it is known what each has to be.
//!
//! The thread that reads the package decompresses and hashes, another one writes.
//! What a layer is for is often known only at the end of the package, so each has
//! a directory of its own in staging. What turns out to be none, or is not needed,
//! goes with staging; so do its errors.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use aos_package::archive::{EntryPath, Limits, decode};
use aos_package::contents::{Check, Compression, Contents, OwnLayer};
use aos_package::{Algorithm, BlobHasher, Digest, MANIFEST_FILE, Manifest, blob_path};

use super::allowance::Allowance;
use super::piped::{PipeReader, PipeWriter, piped};
use super::pool::{BUFFER, Pool};
use super::record::Hashes;
use super::sums;
use super::tree::Ownership;
use super::unpack::{Target, UnpackError, Unpacked, unpack};

/// Buffers between decompression and the writer.
const BUFFERS: usize = 6;
/// Two installs at once shall need less than 32 MiB, of which decompression and
/// documents can take the most. The writer has a buffer of its own.
const _: () = assert!((BUFFERS + sums::BUFFERS + 1) * BUFFER <= 4 << 20);

/// Whether the service manager stops. Asked by each thread.
pub(super) type Stopped<'a> = &'a (dyn Fn() -> bool + Sync);

/// Which files of a package may be layers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    /// All that the manifest names, or may still name.
    Service,
    /// The one that is named by this digest.
    Layer(&'a Digest),
}

/// Unpacks the layers of one package.
pub(super) struct Layers<'a> {
    /// Where their directories are made.
    staging: &'a Path,
    wanted: Wanted<'a>,
    ownership: Ownership,
    /// Of all layers together, as far as they are not used up.
    limits: Limits,
    stopped: Stopped<'a>,
    pool: Pool,
    allowance: Allowance,
    hashes: Hashes,
    /// By their names in the package.
    found: HashMap<EntryPath, Found>,
    made: usize,
}

/// A file of the package that was taken for a layer.
struct Found {
    root: PathBuf,
    outcome: Result<(Unpacked, Digests), UnpackError>,
}

struct Digests {
    content: Digest,
    decompressed: Option<Digest>,
}

/// What is hashed.
#[derive(Clone, Copy)]
struct Hashed {
    content: Algorithm,
    decompressed: Option<Algorithm>,
}

impl<'a> Layers<'a> {
    /// None yet; they are made in the directory `staging`.
    pub(super) fn new(
        staging: &'a Path,
        wanted: Wanted<'a>,
        ownership: Ownership,
        allowance: Allowance,
        stopped: Stopped<'a>,
    ) -> Self {
        Self {
            staging,
            wanted,
            ownership,
            limits: Limits::default(),
            stopped,
            pool: Pool::new(BUFFERS),
            allowance,
            hashes: Hashes::default(),
            found: HashMap::new(),
            made: 0,
        }
    }

    pub(super) fn stopped(&self) -> Stopped<'a> {
        self.stopped
    }

    /// Unpacks the file `name`, if it may be a layer, for all that is known by
    /// what is `before` it in the package.
    pub(super) fn take(&mut self, before: &Contents, name: &EntryPath, content: &mut dyn Read) {
        // The later one of a name counts.
        self.found.remove(name);
        if self.may_be_wanted(before, name) {
            let hashed = self.hashed(name);
            let found = self.unpack(content, hashed);
            self.found.insert(name.clone(), found);
        }
    }

    /// Moves a layer, which has to be as it should, to `target`.
    pub(super) fn place(
        &mut self,
        layer: &OwnLayer,
        target: &Path,
        contents: &Contents,
        file: &File,
    ) -> Result<Unpacked, UnpackError> {
        let mut found = self.found.remove(&layer.name);
        let is_known = found
            .as_ref()
            .is_some_and(|found| match (&found.outcome, &layer.check) {
                (Err(_), _) => true,
                (Ok((_, digests)), check) => digests.of(check).is_some(),
            });
        if !is_known {
            found = Some(self.look_again(layer, contents, file)?);
        }
        let Some(Found { root, outcome }) = found else {
            return Err(UnpackError::Read(io::ErrorKind::NotFound.into()));
        };

        let (unpacked, digests) = outcome.map_err(|error| match error {
            // Those after it count too.
            UnpackError::NoSpace(refused) => self.allowance.refused().unwrap_or(refused).into(),
            error => error,
        })?;
        let expected = layer.check.digest();
        match digests.of(&layer.check) {
            Some(actual) if actual == expected => {}
            actual => {
                return Err(UnpackError::Digest {
                    actual: actual.unwrap_or(&digests.content).clone(),
                    expected: expected.clone(),
                });
            }
        }
        fs::rename(&root, target).map_err(|source| UnpackError::Root {
            path: target.to_owned(),
            source,
        })?;
        Ok(unpacked)
    }

    /// What was taken, and the hashes of all files: when the layers are in place.
    pub(super) fn into_parts(self) -> (Allowance, Hashes) {
        (self.allowance, self.hashes)
    }

    fn may_be_wanted(&self, before: &Contents, name: &EntryPath) -> bool {
        let is = |path: &str| name.as_bytes() == path.as_bytes();
        match self.wanted {
            Wanted::Layer(digest) => is(digest.hex()),
            Wanted::Service => EntryPath::parse(MANIFEST_FILE.as_bytes())
                .ok()
                .and_then(|path| Manifest::parse(before.document(&path)?).ok())
                .is_none_or(|manifest| is(&blob_path(&manifest.root))),
        }
    }

    /// What the file `name` is likely to be checked by.
    fn hashed(&self, name: &EntryPath) -> Hashed {
        if let Wanted::Layer(digest) = self.wanted {
            return Hashed {
                content: digest.algorithm(),
                decompressed: None,
            };
        }
        let named = Algorithm::ALL.into_iter().find(|algorithm| {
            let directory = format!("blobs/{}/", algorithm.name());
            name.as_bytes().starts_with(directory.as_bytes())
        });
        Hashed {
            content: named.unwrap_or(Algorithm::Sha256),
            decompressed: named.is_none().then_some(Algorithm::Sha256),
        }
    }

    fn look_again(
        &mut self,
        layer: &OwnLayer,
        contents: &Contents,
        file: &File,
    ) -> Result<Found, UnpackError> {
        let algorithm = layer.check.digest().algorithm();
        let hashed = Hashed {
            content: algorithm,
            decompressed: matches!(layer.check, Check::Decompressed(_)).then_some(algorithm),
        };
        let mut content = content_of(&layer.name, contents, file).map_err(UnpackError::Read)?;
        Ok(self.unpack(&mut *content, hashed))
    }

    fn unpack(&mut self, content: &mut dyn Read, hashed: Hashed) -> Found {
        let root = self.staging.join(format!("layer-{}", self.made));
        self.made += 1;
        let outcome = self.unpack_to(&root, content, hashed);
        Found { root, outcome }
    }

    fn unpack_to(
        &mut self,
        root: &Path,
        content: &mut dyn Read,
        hashed: Hashed,
    ) -> Result<(Unpacked, Digests), UnpackError> {
        let made = DirBuilder::new().mode(0o700).create(root);
        made.map_err(|source| UnpackError::Root {
            path: root.to_owned(),
            source,
        })?;

        let (limits, stopped) = (self.limits, self.stopped);
        let target = Target {
            root,
            ownership: self.ownership,
            allowance: &mut self.allowance,
            hashes: &mut self.hashes,
        };
        let mut size = 0;
        let piped = piped(
            &self.pool,
            |pipe| produce(pipe, content, hashed, &mut size),
            |pipe: &mut PipeReader| unpack(pipe, target, limits, stopped),
        );
        self.limits.bytes = self.limits.bytes.saturating_sub(size);

        let (produced, unpacked) = piped.map_err(UnpackError::Thread)?;
        let unpacked = unpacked?;
        self.limits.entries = self.limits.entries.saturating_sub(unpacked.entries);
        Ok((unpacked, produced.map_err(UnpackError::Read)?))
    }
}

impl Digests {
    /// The one that `check` asks for, if it was computed.
    fn of(&self, check: &Check) -> Option<&Digest> {
        let digest = match check {
            Check::Content(_) => Some(&self.content),
            Check::Decompressed(_) => self.decompressed.as_ref(),
        };
        digest.filter(|digest| digest.algorithm() == check.digest().algorithm())
    }
}

/// Decompresses `content` into the pipe, and counts its bytes. An error is told to
/// both ends.
fn produce(
    pipe: PipeWriter<'_>,
    content: &mut dyn Read,
    hashed: Hashed,
    size: &mut u64,
) -> io::Result<Digests> {
    let failed = |pipe: PipeWriter<'_>, error: io::Error| {
        let told = io::Error::new(error.kind(), error.to_string());
        pipe.fail(error);
        Err(told)
    };
    let content = Hashing {
        source: content,
        hasher: BlobHasher::new(hashed.content),
    };
    let mut decoded = match decode(content) {
        Ok(decoded) => decoded,
        Err(error) => return failed(pipe, error),
    };
    let is_plain = decoded.compression() == Compression::None;
    let mut hasher = hashed
        .decompressed
        .filter(|algorithm| !is_plain || *algorithm != hashed.content)
        .map(BlobHasher::new);

    loop {
        let buffer = match pipe.fill(&mut decoded) {
            Ok(buffer) => buffer,
            Err(error) => return failed(pipe, error),
        };
        if buffer.is_empty() {
            break;
        }
        *size += buffer.len() as u64;
        if let Some(hasher) = &mut hasher {
            hasher.update(&buffer);
        }
        if !pipe.send(buffer) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }

    drop(pipe);

    let mut content = decoded.into_source();
    io::copy(&mut content, &mut io::sink())?;
    let content = content.hasher.finish();
    let decompressed = match hasher {
        Some(hasher) => Some(hasher.finish()),
        None => is_plain.then(|| content.clone()),
    };
    Ok(Digests {
        content,
        decompressed,
    })
}

struct Hashing<R> {
    source: R,
    hasher: BlobHasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let (bytes, _) = buffer.split_at(count);
        self.hasher.update(bytes);
        Ok(count)
    }
}

/// The content of the file `name` of a package that was read before.
fn content_of<'f>(
    name: &EntryPath,
    contents: &Contents,
    file: &'f File,
) -> io::Result<Box<dyn Read + 'f>> {
    let place = contents.place(name).ok_or(io::ErrorKind::NotFound)?;
    let at = |offset| At { file, offset };
    if contents.compression() == Compression::None {
        return Ok(Box::new(at(place.offset).take(place.size)));
    }

    let mut package = decode(at(0))?;
    let before = io::copy(&mut (&mut package).take(place.offset), &mut io::sink())?;
    if before < place.offset {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Box::new(package.take(place.size)))
}

/// Reads a file from an offset of its own.
struct At<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}
