//! One pass over a package file: sums, documents, layers.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aos_package::archive::{EntryPath, Limits, Owners};
use aos_package::contents::{Check, Contents, Format, OwnLayer, ScanError, scan};
use aos_package::{Algorithm, ManifestError, PackageSums, Platform, Sha3Long, Sha3Short};

use super::layer::{Layer, Look, examine as examine_layer};
use super::report::{Package, Report};

/// All archives of a package, by their names.
type Layers = HashMap<EntryPath, Layer>;

/// Reads all of a package.
pub(super) fn examine(path: &Path, platform: &Platform) -> io::Result<Report> {
    let (mut package, mut contents, mut layers) = pass(path, &|name, _| guess(name))?;
    let wanted = contents.as_ref().map_or_else(
        |_| Vec::new(),
        |contents| unanswered(contents, platform, &layers),
    );
    if !wanted.is_empty() {
        // Digests of a kind that their names did not tell: once more.
        (package, contents, layers) = pass(path, &|name, look| {
            let layer = wanted.iter().find(|layer| layer.name == *name);
            layer.map_or(look, |layer| look_of(&layer.check, look))
        })?;
    }

    let mut report = Report::new(path, package);
    match contents {
        Err(problem) => report.problems.push(problem),
        Ok(contents) => report.add(&contents, platform, &mut layers),
    }
    Ok(report)
}

type Pass = (Package, Result<Contents, String>, Layers);

fn pass(path: &Path, look: &dyn Fn(&EntryPath, Look) -> Look) -> io::Result<Pass> {
    let mut file = Summed {
        file: File::open(path)?,
        size: 0,
        short: Sha3Short::default(),
        long: Sha3Long::default(),
    };
    let mut layers = Layers::new();

    let scanned = scan(&mut file, Limits::default(), &mut |name,
                                                           _,
                                                           content|
     -> io::Result<()> {
        let layer = examine_layer(content, owners(name), look(name, guess(name)))?;
        layers.insert(name.clone(), layer);
        Ok(())
    });
    io::copy(&mut file, &mut io::sink())?;

    let contents = scanned.map_err(|error| match error {
        ScanError::Archive(error) => {
            format!(
                "cannot read it as an archive: {:#}",
                anyhow::Error::from(error)
            )
        }
        ScanError::Blob(error) => format!("cannot read it as an archive: {error}"),
    });
    let package = Package {
        size: file.size,
        sums: PackageSums {
            sha3_256: file.short.finish(),
            sha3_512: file.long.finish(),
        },
    };
    Ok((package, contents, layers))
}

/// The files of a layer keep their owners; it is named by hex digits alone.
fn owners(name: &EntryPath) -> Owners {
    if name.as_bytes().iter().all(u8::is_ascii_hexdigit) {
        Owners::Archive
    } else {
        Owners::Given
    }
}

/// What a blob is checked by, told by its name.
fn guess(name: &EntryPath) -> Look {
    let last = name.parts().last().map_or(0, |part| part.len());
    Look {
        of_file: match last {
            96 => Algorithm::Sha384,
            128 => Algorithm::Sha512,
            _ => Algorithm::Sha256,
        },
        of_tar: Algorithm::Sha256,
    }
}

fn look_of(check: &Check, look: Look) -> Look {
    match check {
        Check::Content(digest) => Look {
            of_file: digest.algorithm(),
            ..look
        },
        Check::Decompressed(digest) => Look {
            of_tar: digest.algorithm(),
            ..look
        },
    }
}

/// Layers whose digests were not of the algorithm by which they are checked.
fn unanswered(contents: &Contents, platform: &Platform, layers: &Layers) -> Vec<OwnLayer> {
    let mut own = own_layers(contents, platform).unwrap_or_default();
    own.retain(|layer| {
        let look = guess(&layer.name);
        layers.contains_key(&layer.name) && look_of(&layer.check, look) != look
    });
    own
}

/// The layers in the package, whatever it is.
pub(super) fn own_layers(
    contents: &Contents,
    platform: &Platform,
) -> Result<Vec<OwnLayer>, ManifestError> {
    if contents.format() != Format::AosLayer {
        return Ok(contents.service(platform)?.own);
    }
    let layer = contents.layer()?;
    let name = EntryPath::parse(layer.digest.hex().as_bytes());
    let name = name.expect("hex digits are a name");
    Ok(vec![OwnLayer {
        name,
        check: Check::Content(layer.digest),
    }])
}

struct Summed {
    file: File,
    size: u64,
    short: Sha3Short,
    long: Sha3Long,
}

impl Read for Summed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let (bytes, _) = buffer.split_at(count);
        self.short.update(bytes);
        self.long.update(bytes);
        self.size += count as u64;
        Ok(count)
    }
}
