//! The packages that are installed: made by hand, the same each time.

use std::fs;
use std::path::Path;

use anyhow::Result;
use aos_package::{Algorithm, Digest, PackageSums, blob_path, hex};
use aos_servicemanager::model::{LayerInfo, ServiceInfo, Version};
use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::store::Key;
use crate::tree::{Listing, PACKAGED};

const GID: u32 = 5000;
const USER: u64 = 7;

/// A package, and what it has to become.
pub struct Package {
    /// Names it for people.
    pub name: &'static str,
    pub key: Key,
    /// As a row tells it.
    pub content: String,
    pub info: Info,
    /// What has to be in the root filesystem.
    pub root: Listing,
    bytes: Vec<u8>,
}

pub enum Info {
    Service(ServiceInfo),
    Layer(LayerInfo),
}

/// All packages, whose files are in `directory`.
pub struct Packages(Vec<Package>);

impl Packages {
    pub fn new(directory: &Path) -> Self {
        let base = Tar::default()
            .directory("usr", 0o755)
            .directory("usr/share", 0o755)
            .file("usr/share/text", 0o644, b"a layer\n")
            .file("usr/share/big", 0o600, &noise(1, 20_000))
            .hard_link("usr/share/same", "usr/share/text")
            .directory("hides", 0o750)
            .opaque("hides")
            .file("hides/new", 0o644, b"new\n");
        let extra = Tar::default()
            .directory("opt", 0o711)
            .whiteout("opt", "gone")
            .link("opt/link", "../usr/share/text")
            .file("opt/file", 0o640, &noise(2, 5000));
        let base = layer("base", directory, base);
        let extra = layer("extra", directory, extra);
        let mut all = vec![
            service("web-1a", directory, 1, &[&base], web(3, 12_000)),
            // Another content under the same version.
            service("web-1b", directory, 1, &[&base], web(4, 9000)),
            service("web-2", directory, 2, &[&base, &extra], web(5, 30_000)),
        ];
        let plain = Tar::default()
            .directory("bin", 0o755)
            .file("bin/service", 0o755, &noise(6, 3000))
            .file("empty", 0o600, b"");
        all.push(service("log-7", directory, 7, &[&extra], plain));
        all.extend([base, extra]);
        Self(all)
    }

    pub fn write(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        for package in &self.0 {
            fs::write(directory.join(package.name), &package.bytes)?;
        }
        Ok(())
    }

    pub fn named(&self, name: &str) -> &Package {
        let found = self.0.iter().find(|package| package.name == name);
        found.expect("there is such a package")
    }

    /// The package that a row says it is of.
    pub fn of(&self, key: &Key, content: &str) -> Option<&Package> {
        self.0
            .iter()
            .find(|package| package.key == *key && package.content == content)
    }
}

fn web(seed: u64, size: usize) -> Tar {
    Tar::default()
        .directory("web", 0o755)
        .file("web/server", 0o755, &noise(seed, size))
        .file("web/page", 0o644, format!("page {seed}\n").as_bytes())
        .link("web/index", "page")
        .directory("web/state", 0o770)
}

fn service(
    name: &'static str,
    directory: &Path,
    version: u64,
    layers: &[&Package],
    root: Tar,
) -> Package {
    let (root, listing) = root.finish(Some(GID));
    let image = json!({"os": "linux", "config": {"Entrypoint": [name]}}).to_string();
    let config = json!({"quotas": {"ramLimit": 1_048_576}}).to_string();
    let blobs = [image.into_bytes(), config.into_bytes(), root];
    let digests = blobs
        .each_ref()
        .map(|blob| Digest::of(Algorithm::Sha256, blob));
    let described = |index: usize| json!({"mediaType": "a", "digest": digests[index], "size": blobs[index].len()});
    let shared = layers
        .iter()
        .map(|layer| json!({"mediaType": "a", "digest": layer.content}));
    let manifest = json!({
        "schemaVersion": 2,
        "config": described(0),
        "aosService": described(1),
        "layers": std::iter::once(described(2)).chain(shared).collect::<Vec<_>>(),
    });
    let mut files = vec![(
        "manifest.json".to_owned(),
        manifest.to_string().into_bytes(),
    )];
    files.extend(digests.iter().map(blob_path).zip(blobs));
    let bytes = tar_of(&files);
    let sums = PackageSums::of(&bytes);
    let id = name.split('-').next().unwrap_or(name);
    let info = ServiceInfo {
        id: id.into(),
        version: Version {
            aos: version,
            ..Version::default()
        },
        provider_id: "provider".into(),
        url: format!("file://{}", directory.join(name).display()),
        gid: GID,
        sha256: sums.sha3_256.into(),
        sha512: sums.sha3_512.into(),
        size: bytes.len() as u64,
    };
    Package {
        name,
        key: Key::Service(id.to_owned(), version),
        content: hex(&info.sha512),
        info: Info::Service(info),
        root: listing,
        bytes,
    }
}

fn layer(name: &'static str, directory: &Path, root: Tar) -> Package {
    let (root, listing) = root.finish(None);
    let digest = Digest::of(Algorithm::Sha256, &root);
    let descriptor = json!({"digest": digest, "size": root.len()}).to_string();
    let bytes = tar_of(&[
        ("layer.json".into(), descriptor.into_bytes()),
        (digest.hex().to_owned(), root),
    ]);
    let sums = PackageSums::of(&bytes);
    Package {
        name,
        key: Key::Layer(digest.to_string()),
        content: digest.to_string(),
        info: Info::Layer(LayerInfo {
            layer_id: name.to_owned(),
            digest: digest.to_string(),
            version: Version::default(),
            url: format!("file://{}", directory.join(name).display()),
            sha256: sums.sha3_256.into(),
            sha512: sums.sha3_512.into(),
            size: bytes.len() as u64,
        }),
        root: listing,
        bytes,
    }
}

fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..))
        .take(size)
        .collect()
}

fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = header(EntryType::Regular, 0o644, content.len());
        builder
            .append_data(&mut header, name, &content[..])
            .expect("writing to memory cannot fail");
    }
    builder.into_inner().expect("writing to memory cannot fail")
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(USER);
    header.set_gid(USER);
    header.set_mtime(PACKAGED.unsigned_abs());
    header.set_size(size as u64);
    header
}

/// The archive of a root filesystem, together with what it has to become.
struct Tar {
    builder: Builder<Vec<u8>>,
    made: Vec<(String, Made)>,
}

enum Made {
    Directory { mode: u32, opaque: bool },
    File { mode: u32, content: Vec<u8> },
    Same(String),
    Link(String),
    Whiteout,
}

impl Default for Tar {
    fn default() -> Self {
        Self {
            builder: Builder::new(Vec::new()),
            made: Vec::new(),
        }
    }
}

impl Tar {
    fn directory(self, name: &str, mode: u32) -> Self {
        let made = Made::Directory {
            mode,
            opaque: false,
        };
        self.entry(name, EntryType::Directory, mode, None, b"", Some(made))
    }

    fn file(self, name: &str, mode: u32, content: &[u8]) -> Self {
        let made = Made::File {
            mode,
            content: content.to_owned(),
        };
        self.entry(name, EntryType::Regular, mode, None, content, Some(made))
    }

    fn link(self, name: &str, target: &str) -> Self {
        let made = Made::Link(target.to_owned());
        self.entry(
            name,
            EntryType::Symlink,
            0o777,
            Some(target),
            b"",
            Some(made),
        )
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        let made = Made::Same(target.to_owned());
        self.entry(name, EntryType::Link, 0o644, Some(target), b"", Some(made))
    }

    fn whiteout(mut self, directory: &str, name: &str) -> Self {
        self.made
            .push((format!("{directory}/{name}"), Made::Whiteout));
        let name = format!("{directory}/.wh.{name}");
        self.entry(&name, EntryType::Regular, 0o644, None, b"", None)
    }

    fn opaque(mut self, directory: &str) -> Self {
        for (name, made) in &mut self.made {
            if let Made::Directory { opaque, .. } = made {
                *opaque |= name == directory;
            }
        }
        let name = format!("{directory}/.wh..wh..opq");
        self.entry(&name, EntryType::Regular, 0o644, None, b"", None)
    }

    fn entry(
        mut self,
        name: &str,
        kind: EntryType,
        mode: u32,
        link: Option<&str>,
        content: &[u8],
        made: Option<Made>,
    ) -> Self {
        let mut header = header(kind, mode, content.len());
        match link {
            Some(target) => self.builder.append_link(&mut header, name, target),
            None => self.builder.append_data(&mut header, name, content),
        }
        .expect("writing to memory cannot fail");
        self.made.extend(made.map(|made| (name.to_owned(), made)));
        self
    }

    /// The bytes, and the listing of what they are unpacked to: all of root and
    /// `group`, or whom the archive says.
    fn finish(self, group: Option<u32>) -> (Vec<u8>, Listing) {
        let owner = group.map_or(format!("{USER}:{USER}"), |group| format!("0:{group}"));
        let links = |name: &str| {
            let same = |made: &Made| matches!(made, Made::Same(target) if target == name);
            1 + self.made.iter().filter(|(_, made)| same(made)).count()
        };
        let file = |name: &str, mode: u32, content: &[u8]| {
            format!(
                "{mode:o} {owner} file {} {} links {} packaged",
                content.len(),
                Digest::of(Algorithm::Sha256, content),
                links(name)
            )
        };
        let mut listing = Listing::new();
        for (name, made) in &self.made {
            let line = match made {
                Made::Directory { mode, opaque } => {
                    let opaque = if *opaque { " opaque" } else { "" };
                    format!("{mode:o} {owner} directory{opaque}")
                }
                Made::File { mode, content } => file(name, *mode, content),
                Made::Link(target) => format!("777 {owner} link {target} packaged"),
                Made::Same(target) => listing[target].clone(),
                // An archive says nothing of its owner.
                Made::Whiteout => {
                    let group = group.unwrap_or_default();
                    format!("0 0:{group} device 0")
                }
            };
            listing.insert(name.clone(), line);
        }
        let bytes = self.builder.into_inner();
        (bytes.expect("writing to memory cannot fail"), listing)
    }
}
