//! Facts about package files that exist already.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aos_package::archive::{Archive, ArchiveError, EntryPath, Kind, Limits, decode};
use aos_package::contents::DOCUMENT_MAX;
use aos_package::{LAYER_FILE, LayerDescriptor, ManifestError, Sha3Long, Sha3Short};

const BUFFER: usize = 256 * 1024;

/// Why a package tells nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageFileError {
    /// It cannot be read.
    #[error("cannot read package {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is no archive, or a damaged one.
    #[error("cannot read package {}", path.display())]
    Archive {
        path: PathBuf,
        #[source]
        source: Box<ArchiveError>,
    },
    /// It is something else.
    #[error("{} is not the package of a layer: it has no {LAYER_FILE}", .0.display())]
    NotALayer(PathBuf),
    /// Its descriptor is damaged.
    #[error("package {}", path.display())]
    Descriptor {
        path: PathBuf,
        #[source]
        source: Box<ManifestError>,
    },
}

/// What SM checks of a package before it trusts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackageFacts {
    pub(crate) size: u64,
    pub(crate) sha3_256: Vec<u8>,
    pub(crate) sha3_512: Vec<u8>,
}

impl PackageFacts {
    /// Reads the whole file.
    pub(crate) fn of(path: &Path) -> Result<Self, PackageFileError> {
        Self::read(path).map_err(|source| PackageFileError::Read {
            path: path.to_owned(),
            source,
        })
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let (mut short, mut long) = (Sha3Short::default(), Sha3Long::default());
        let mut buffer = vec![0; BUFFER];
        let mut size = 0;
        loop {
            let count = file.read(&mut buffer)?;
            let (bytes, _) = buffer.split_at(count);
            if bytes.is_empty() {
                break;
            }
            short.update(bytes);
            long.update(bytes);
            size += count as u64;
        }
        Ok(Self {
            size,
            sha3_256: short.finish().to_vec(),
            sha3_512: long.finish().to_vec(),
        })
    }
}

/// The digest by which services name the layer in this package.
pub(crate) fn layer_digest(path: &Path) -> Result<String, PackageFileError> {
    let descriptor = read_descriptor(path)
        .map_err(|source| PackageFileError::Archive {
            path: path.to_owned(),
            source: Box::new(source),
        })?
        .ok_or_else(|| PackageFileError::NotALayer(path.to_owned()))?;
    LayerDescriptor::parse(&descriptor)
        .map(|descriptor| descriptor.digest.to_string())
        .map_err(|source| PackageFileError::Descriptor {
            path: path.to_owned(),
            source: Box::new(source),
        })
}

fn read_descriptor(path: &Path) -> Result<Option<Vec<u8>>, ArchiveError> {
    let file = File::open(path).map_err(ArchiveError::Read)?;
    let decoded = decode(file).map_err(ArchiveError::Read)?;
    let mut archive = Archive::new(decoded, Limits::default());
    while let Some(entry) = archive.next_entry()? {
        let name = EntryPath::parse(&entry.name);
        if entry.kind == Kind::File && name.is_ok_and(|name| name.as_path() == LAYER_FILE) {
            let mut descriptor = Vec::new();
            archive
                .take(DOCUMENT_MAX)
                .read_to_end(&mut descriptor)
                .map_err(ArchiveError::Read)?;
            return Ok(Some(descriptor));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use aos_package::archive::Compression;
    use aos_package::pack::{LayerSource, ServiceSource, pack_layer, pack_service};
    use aos_package::{ImageConfig, hex};

    use super::*;

    #[test]
    fn facts_are_those_that_packing_gave() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("layer.tar");
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let source = LayerSource {
            root: &root,
            os_version: None,
            compression: Compression::Gzip,
        };
        let packed = pack_layer(&source, &output).unwrap();

        let facts = PackageFacts::of(&output).unwrap();

        assert_eq!(facts.size, packed.size);
        assert_eq!(hex(&facts.sha3_256), hex(&packed.sha3_256));
        assert_eq!(hex(&facts.sha3_512), hex(&packed.sha3_512));
        assert_eq!(Some(layer_digest(&output).unwrap()), packed.layer_digest);
    }

    #[test]
    fn package_of_a_service_is_not_taken_for_a_layer() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("service.tar");
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let source = ServiceSource {
            rootfs: &root,
            image: &ImageConfig::default(),
            config: None,
            layers: &[],
            compression: Compression::None,
        };
        pack_service(&source, &output).unwrap();

        let error = layer_digest(&output).unwrap_err();

        assert!(matches!(error, PackageFileError::NotALayer(path) if path == output));
    }

    #[test]
    fn missing_package_is_named() {
        let error = PackageFacts::of(Path::new("/nowhere/x.tar")).unwrap_err();

        assert_eq!(error.to_string(), "cannot read package /nowhere/x.tar");
    }
}
