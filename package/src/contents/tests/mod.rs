use std::io;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::*;
use crate::Algorithm;
use crate::archive::Limits;

mod choosing;
mod docker;
mod oci;
mod scanning;
mod service;

/// A package in the making.
struct Package(Builder<Vec<u8>>);

impl Package {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn entry(mut self, name: &str, kind: EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        let appended = if link.is_empty() {
            self.0.append_data(&mut header, name, content)
        } else {
            self.0.append_link(&mut header, name, link)
        };
        appended.unwrap();
        self
    }

    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(name, EntryType::Regular, "", content.as_ref())
    }

    fn json(self, name: &str, document: &Value) -> Self {
        self.file(name, document.to_string())
    }

    /// Adds a blob by its digest.
    fn blob(self, content: impl AsRef<[u8]>) -> Self {
        let name = blob(content.as_ref());
        self.file(&name, content)
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Symlink, target, b"")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    fn scan(self) -> Contents {
        scan_bytes(&self.bytes()).unwrap().0
    }

    fn service(self) -> Result<ServiceParts, ManifestError> {
        self.scan().service(&platform("arm64"))
    }

    fn refusal(self) -> String {
        let error = self.service().unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", cause.unwrap_or_default())
    }
}

type Shown = Vec<(String, Vec<u8>)>;

fn scan_bytes(bytes: &[u8]) -> Result<(Contents, Shown), ScanError<io::Error>> {
    let mut shown = Vec::new();
    let contents = scan(bytes, Limits::default(), &mut |name, size, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        assert_eq!(bytes.len() as u64, size);
        shown.push((name.as_path().display().to_string(), bytes));
        Ok(())
    })?;
    Ok((contents, shown))
}

/// A layer: a tar with one file of this name.
fn layer(name: &str) -> Vec<u8> {
    Package::new().file(name, "content").bytes()
}

fn digest(content: impl AsRef<[u8]>) -> Digest {
    Digest::of(Algorithm::Sha256, content.as_ref())
}

fn blob(content: impl AsRef<[u8]>) -> String {
    crate::blob_path(&digest(content))
}

fn path(name: &str) -> EntryPath {
    EntryPath::parse(name.as_bytes()).unwrap()
}

fn platform(architecture: &str) -> Platform {
    Platform {
        architecture: architecture.into(),
        os: "linux".into(),
        os_version: None,
    }
}

fn descriptor(media_type: &str, content: impl AsRef<[u8]>) -> Value {
    let size = content.as_ref().len();
    json!({"mediaType": media_type, "digest": digest(content), "size": size})
}

fn names(parts: &ServiceParts) -> Vec<String> {
    let names = parts.own.iter();
    names
        .map(|layer| layer.name.as_path().display().to_string())
        .collect()
}
