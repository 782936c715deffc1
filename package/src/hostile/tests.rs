//! What is expected of each is what the readers of this crate come to.

use std::collections::HashSet;
use std::error::Error;
use std::fs::File;
use std::io;

use tempfile::TempDir;

use super::*;
use crate::archive::{Archive, ArchiveError, Limits, Owners, Rehearsal, Step, decode};
use crate::contents::{Check, Contents, OwnLayer, ScanError, scan};
use crate::{ImageConfig, Platform, ServiceConfig};

type Refusal = Box<dyn Error + Send + Sync>;

/// Small enough that no bomb takes long, and large enough for all others.
const LIMITS: Limits = Limits {
    bytes: 1 << 30,
    entries: 1_000_000,
    names: 64 << 20,
};

/// Reads a package as an install would.
fn install(path: &Path, kind: Kind, told: &Packed) -> Result<(), Refusal> {
    let contents = scan(File::open(path)?, LIMITS, &mut |_, _, content| {
        io::copy(content, &mut io::sink()).map(drop)
    })?;
    let own = match kind {
        Kind::Service => service(&contents)?,
        Kind::Layer => layer(&contents, told)?,
    };

    let owners = match kind {
        Kind::Service => Owners::Given,
        Kind::Layer => Owners::Archive,
    };
    let mut outcomes = Vec::new();
    scan(File::open(path)?, LIMITS, &mut |name, _, content| {
        if let Some(layer) = own.iter().find(|layer| layer.name == *name) {
            outcomes.push(unpack(content, &layer.check, owners));
        }
        Ok::<_, io::Error>(())
    })?;
    assert_eq!(outcomes.len(), own.len(), "every layer is shown");
    outcomes.into_iter().collect()
}

fn service(contents: &Contents) -> Result<Vec<OwnLayer>, Refusal> {
    let parts = contents.service(&Platform::host())?;
    crate::Manifest::parse(&parts.manifest)?;
    serde_json::from_slice::<ImageConfig>(&parts.image_config.1)
        .map_err(|error| format!("the image config is not valid: {error}"))?;
    if let Some((_, config)) = &parts.service_config {
        serde_json::from_slice::<ServiceConfig>(config)
            .map_err(|error| format!("the service config is not valid: {error}"))?;
    }
    Ok(parts.own)
}

fn layer(contents: &Contents, told: &Packed) -> Result<Vec<OwnLayer>, Refusal> {
    let digest = contents.layer()?.digest;
    if told.layer_digest.as_ref() != Some(&digest.to_string()) {
        return Err(format!("it holds layer {digest}").into());
    }
    let name = crate::archive::EntryPath::parse(digest.hex().as_bytes())?;
    let check = Check::Content(digest);
    Ok(vec![OwnLayer { name, check }])
}

fn unpack(content: &mut dyn io::Read, check: &Check, owners: Owners) -> Result<(), Refusal> {
    let mut bytes = Vec::new();
    content.read_to_end(&mut bytes)?;
    let decoded = decode(&bytes[..]).map_err(ArchiveError::Read)?;
    let mut archive = Archive::new(decoded, LIMITS);
    let mut rehearsal = Rehearsal::new(owners);
    while let Some(entry) = archive.next_entry()? {
        rehearsal.take(&Step::plan(&entry)?.step)?;
    }
    archive.finish()?;

    let right = match check {
        Check::Content(digest) => digest.matches(&bytes),
        Check::Decompressed(digest) => {
            let mut tar = Vec::new();
            io::Read::read_to_end(&mut decode(&bytes[..])?, &mut tar)?;
            digest.matches(&tar)
        }
    };
    if right {
        Ok(())
    } else {
        Err("digest mismatch".into())
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    let causes = causes.map(ToString::to_string).collect::<Vec<_>>();
    causes.join(": ")
}

#[test]
fn each_comes_to_what_is_expected_of_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("package");
    let mut wrong = Vec::new();

    for hostile in all() {
        let told = hostile.write(&path).unwrap();
        let outcome = install(&path, hostile.kind, &told);
        let told = outcome.map_err(|error| chain(&*error));
        let right = match (&told, hostile.expected) {
            (Ok(()), Expected::Installed) => true,
            (Err(reason), Expected::Refused(part)) => reason.contains(part),
            _ => false,
        };
        if !right {
            wrong.push(format!("{hostile:?}: {told:?}"));
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_read_beyond_the_limits() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("package");
    let limits = Limits {
        bytes: 100_000,
        entries: 50,
        names: 5000,
    };

    for hostile in all() {
        hostile.write(&path).unwrap();
        let (mut shown, mut read) = (0, 0);
        let scanned = scan(
            File::open(&path).unwrap(),
            limits,
            &mut |_, size, content| {
                shown += 1;
                let count = io::copy(content, &mut io::sink())?;
                assert!(count <= size, "{hostile:?}");
                read += count;
                Ok::<_, io::Error>(())
            },
        );
        assert!(
            shown <= limits.entries && read <= limits.bytes,
            "{hostile:?}"
        );
        drop::<Result<_, ScanError<_>>>(scanned);
    }
}

#[test]
fn there_are_many_and_each_has_a_name_of_its_own() {
    let all = all();
    let names = all
        .iter()
        .map(|hostile| &hostile.name)
        .collect::<HashSet<_>>();

    assert_eq!(names.len(), all.len());
    assert!(all.len() >= 65, "{}", all.len());
    let installed = all
        .iter()
        .filter(|hostile| hostile.expected == Expected::Installed);
    assert!(installed.count() >= 20);
}

#[test]
fn what_cm_is_told_is_right() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("package");

    for name in ["whiteout-of-everything", "symlink-loop"] {
        let hostile = all()
            .into_iter()
            .find(|hostile| hostile.name == name)
            .unwrap();
        let told = hostile.write(&path).unwrap();

        let bytes = fs::read(&path).unwrap();
        let sums = PackageSums::of(&bytes);
        assert_eq!(told.size, bytes.len() as u64);
        assert_eq!(
            (told.sha3_256, told.sha3_512),
            (sums.sha3_256, sums.sha3_512)
        );
        assert_eq!(told.layer_digest.is_some(), hostile.kind == Kind::Layer);
    }
}
