//! Packages made by hand, good and bad, and a device to install them on.

use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use aos_package::{Algorithm, Digest, PackageSums, blob_path};
use flate2::Compression;
use flate2::write::GzEncoder;
use nix::unistd::{getegid, geteuid};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use crate::layermanager::{Content, ContentError, ContentSettings, Users};
use crate::model::{Chain, LayerInfo, ServiceInfo, Version};
use crate::storage::Database;

/// A tar whose entries may be anything. Owner is the process, so that unpacking
/// needs no root.
pub(super) struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub(super) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(super) fn directory(self, name: &str) -> Self {
        self.entry(name, EntryType::Directory, 0o755, "", b"")
    }

    pub(super) fn file(self, name: &str, content: &str) -> Self {
        self.entry(name, EntryType::Regular, 0o644, "", content.as_bytes())
    }

    pub(super) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Symlink, 0o777, target, b"")
    }

    pub(super) fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Link, 0o644, target, b"")
    }

    pub(super) fn entry(
        mut self,
        name: &str,
        kind: EntryType,
        mode: u32,
        link: &str,
        content: &[u8],
    ) -> Self {
        let mut header = header(kind, mode, content.len());
        // The builder's own way refuses what these tests are about.
        let fields = header.as_old_mut();
        self.0 = long(self.0, name, EntryType::GNULongName);
        self.0 = long(self.0, link, EntryType::GNULongLink);
        copy_into(&mut fields.name, name);
        copy_into(&mut fields.linkname, link);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    /// PAX records for the next entry.
    pub(super) fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0
            .append_pax_extensions(records.iter().copied())
            .unwrap();
        self
    }

    pub(super) fn build(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(geteuid().as_raw().into());
    header.set_gid(getegid().as_raw().into());
    header.set_mtime(1_600_000_000);
    header.set_size(size as u64);
    header
}

fn long(mut tar: Builder<Vec<u8>>, text: &str, kind: EntryType) -> Builder<Vec<u8>> {
    if text.len() > 100 {
        let mut header = header(kind, 0, text.len() + 1);
        header.set_cksum();
        let text = [text.as_bytes(), &[0]].concat();
        tar.append(&header, &text[..]).unwrap();
    }
    tar
}

fn copy_into(field: &mut [u8; 100], text: &str) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar of plain files.
pub(super) fn tar_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    files
        .iter()
        .fold(Tar::new(), |tar, (name, content)| {
            tar.entry(name, EntryType::Regular, 0o644, "", content)
        })
        .build()
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, bytes)
}

/// The parts of a service package. Each may be changed before it is built.
pub(super) struct ServiceParts {
    pub(super) manifest: Value,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

impl ServiceParts {
    pub(super) fn new(root: &[u8]) -> Self {
        let image = json!({"os": "linux", "config": {"Entrypoint": ["/bin/service"]}});
        let config = json!({"quotas": {"ramLimit": 1024}});
        let blobs = [
            image.to_string().into_bytes(),
            config.to_string().into_bytes(),
            root.to_vec(),
        ];
        let digests = blobs.each_ref().map(|blob| sha256(blob));
        let manifest = json!({
            "schemaVersion": 2,
            "config": {"mediaType": "a", "digest": digests[0], "size": blobs[0].len()},
            "aosService": {"mediaType": "b", "digest": digests[1], "size": blobs[1].len()},
            "layers": [{"mediaType": "c", "digest": digests[2], "size": blobs[2].len()}],
        });
        Self {
            manifest,
            files: digests.iter().map(blob_path).zip(blobs).collect(),
        }
    }

    pub(super) fn shared_layer(mut self, digest: &Digest) -> Self {
        let layers = self.manifest["layers"].as_array_mut().unwrap();
        layers.push(json!({"digest": digest}));
        self
    }

    pub(super) fn build(mut self) -> Vec<u8> {
        let manifest = self.manifest.to_string().into_bytes();
        self.files.insert(0, ("manifest.json".into(), manifest));
        tar_of(&self.files)
    }
}

/// A layer package with this tar.
pub(super) fn layer_package(tar: &[u8]) -> Vec<u8> {
    let digest = sha256(tar);
    let descriptor = json!({"digest": digest, "size": tar.len()}).to_string();
    tar_of(&[
        ("layer.json".into(), descriptor.into_bytes()),
        (digest.hex().to_owned(), tar.to_vec()),
    ])
}

/// Directories and database as a device has them.
pub(super) struct Device {
    pub(super) directory: TempDir,
    pub(super) database: Database,
    /// For the next start.
    pub(super) settings: ContentSettings,
    pub(super) content: Content,
}

impl Device {
    pub(super) async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let database = Database::in_memory().unwrap();
        let settings = settings(&directory);
        let started = Content::start(settings.clone(), database.clone()).await;
        Self {
            directory,
            database,
            settings,
            content: started.unwrap(),
        }
    }

    /// As after a restart of the service manager.
    pub(super) async fn restart(&mut self) {
        let (settings, database) = (self.settings.clone(), self.database.clone());
        self.content = Content::start(settings, database).await.unwrap();
    }

    pub(super) fn services(&self) -> PathBuf {
        self.directory.path().join("services")
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.directory.path().join("layers")
    }

    pub(super) fn service(&self, id: &str, version: u64, package: &[u8]) -> ServiceInfo {
        let name = format!("{id}-{version}.tar");
        fs::write(self.directory.path().join(&name), package).unwrap();
        let sums = PackageSums::of(package);
        ServiceInfo {
            id: id.into(),
            version: Version {
                aos: version,
                ..Version::default()
            },
            provider_id: "provider".into(),
            url: format!("file://{}/{name}", self.directory.path().display()),
            gid: 5000,
            sha256: sums.sha3_256.into(),
            sha512: sums.sha3_512.into(),
            size: package.len() as u64,
        }
    }

    pub(super) fn layer(&self, tar: &[u8], package: &[u8]) -> LayerInfo {
        let digest = sha256(tar);
        let service = self.service(digest.hex(), 0, package);
        LayerInfo {
            layer_id: "layer".into(),
            digest: digest.to_string(),
            version: Version::default(),
            url: service.url,
            sha256: service.sha256,
            sha512: service.sha512,
            size: service.size,
        }
    }

    /// Services on the disk, each with its record.
    pub(super) fn installed(&self) -> usize {
        let entries = fs::read_dir(self.services()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let (records, items): (Vec<_>, Vec<_>) = names.partition(|name| name.ends_with(".files"));
        assert_eq!(records.len(), items.len(), "{records:?} of {items:?}");
        items.len()
    }

    /// Nothing but what mkfs or a scan would find after a failed install.
    pub(super) fn is_empty(&self) -> bool {
        [self.services(), self.layers()]
            .iter()
            .all(|directory| fs::read_dir(directory).unwrap().count() == 0)
    }
}

fn settings(directory: &TempDir) -> ContentSettings {
    let path = directory.path();
    ContentSettings {
        services_dir: path.join("services"),
        services_part_limit: 0,
        layers_dir: path.join("layers"),
        layers_part_limit: 0,
        download_dir: path.join("download"),
        ca_cert: None,
        extract_dir: path.join("extract"),
        service_ttl: Duration::from_hours(1),
        layer_ttl: Duration::from_hours(2),
        users: Users::none(),
    }
}

/// The error as CM is told.
pub(super) fn told(error: &ContentError) -> String {
    Chain(error).to_string()
}

/// Endless zeros, compressed to almost nothing.
pub(super) fn gzip_zeros(size: u64) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    io::copy(&mut io::repeat(0).take(size), &mut encoder).unwrap();
    encoder.finish().unwrap()
}
