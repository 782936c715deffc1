//! What has been found in a package.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use aos_package::archive::{Compression, EntryPath};
use aos_package::contents::{Check, Contents, Format, OwnLayer};
use aos_package::{Digest, ImageConfig, JsonError, PackageSums, Platform, ServiceConfig, hex};
use serde::Deserialize;
use serde_json::{Value, json};

use super::layer::Layer;
use super::pass::own_layers;

/// The file as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Package {
    pub(super) size: u64,
    pub(super) sums: PackageSums,
}

/// What has been found.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) path: PathBuf,
    pub(super) package: Package,
    pub(super) format: Option<Format>,
    pub(super) compression: Compression,
    pub(super) image: Option<Image>,
    /// As it is written.
    pub(super) service_config: Option<Value>,
    /// Of the operating system that a layer is made for.
    pub(super) os_version: Option<String>,
    /// The top first.
    pub(super) layers: Vec<Examined>,
    /// The top first.
    pub(super) shared: Vec<Digest>,
    /// Archives that are not part of what would be installed.
    pub(super) unused: usize,
    /// Why SM would refuse it.
    pub(super) problems: Vec<String>,
}

/// How an image is run.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) config: ImageConfig,
    pub(super) user: String,
}

/// A layer, and by what it is checked.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) own: OwnLayer,
    pub(super) layer: Layer,
}

/// What of an image SM does not use.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Unused {
    config: Option<User>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct User {
    user: Option<String>,
}

impl Report {
    pub(super) fn new(path: &Path, package: Package) -> Self {
        Self {
            path: path.to_owned(),
            package,
            format: None,
            compression: Compression::None,
            image: None,
            service_config: None,
            os_version: None,
            layers: Vec::new(),
            shared: Vec::new(),
            unused: 0,
            problems: Vec::new(),
        }
    }

    /// Adds what a readable package has.
    pub(super) fn add(
        &mut self,
        contents: &Contents,
        platform: &Platform,
        layers: &mut HashMap<EntryPath, Layer>,
    ) {
        self.format = Some(contents.format());
        self.compression = contents.compression();
        match self.format {
            Some(Format::AosLayer) => {
                self.os_version = contents.layer().ok().and_then(|layer| layer.os_version);
            }
            _ => self.add_service(contents, platform),
        }

        match own_layers(contents, platform) {
            Ok(own) => own.into_iter().for_each(|own| self.add_layer(own, layers)),
            Err(error) => self.problem(error),
        }
        if let (Some(Format::Unknown), Err(error)) = (self.format, contents.layer()) {
            self.problem(error);
        }
        self.unused = layers.len();
    }

    fn add_service(&mut self, contents: &Contents, platform: &Platform) {
        // What is wrong is told with its layers.
        let Ok(parts) = contents.service(platform) else {
            return;
        };
        self.shared = parts.shared;
        self.image = self
            .parse("the image config", &parts.image_config.1)
            .map(|config| Image {
                config,
                user: user_of(&parts.image_config.1),
            });
        if let Some((_, bytes)) = &parts.service_config
            && self
                .parse::<ServiceConfig>("the service config", bytes)
                .is_some()
        {
            self.service_config = serde_json::from_slice(bytes).ok();
        }
    }

    fn add_layer(&mut self, own: OwnLayer, layers: &mut HashMap<EntryPath, Layer>) {
        let Some(layer) = layers.remove(&own.name) else {
            let name = own.name.as_path().display();
            self.problems
                .push(format!("layer {name:?} has not been read"));
            return;
        };
        let expected = own.check.digest();
        let actual = match &own.check {
            Check::Content(_) => Some(&layer.digest),
            Check::Decompressed(_) => layer.decompressed.as_ref(),
        };
        if let Some(refusal) = &layer.refusal {
            self.problems.push(format!("layer {expected}: {refusal}"));
        }
        if let Some(actual) = actual.filter(|actual| *actual != expected) {
            self.problems.push(format!(
                "layer {expected}: digest mismatch: content is {actual}, expected {expected}"
            ));
        }
        self.layers.push(Examined { own, layer });
    }

    fn parse<T: for<'de> Deserialize<'de>>(&mut self, what: &str, bytes: &[u8]) -> Option<T> {
        match serde_json::from_slice(bytes) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let cause = JsonError::from(error);
                self.problems.push(format!("{what} is not valid: {cause}"));
                None
            }
        }
    }

    fn problem(&mut self, error: impl std::error::Error + Send + Sync + 'static) {
        self.problems
            .push(format!("{:#}", anyhow::Error::from(error)));
    }

    /// As one object.
    pub(super) fn json(&self) -> Value {
        json!({
            "path": self.path.to_string_lossy(),
            "format": self.format.map(format_key),
            "compression": compression_name(self.compression),
            "size": self.package.size,
            "sha3_256": hex(&self.package.sums.sha3_256),
            "sha3_512": hex(&self.package.sums.sha3_512),
            "image": self.image.as_ref().map(Image::json),
            "service_config": self.service_config,
            "os_version": self.os_version,
            "layers": self.layers.iter().map(Examined::json).collect::<Vec<_>>(),
            "shared_layers": self.shared,
            "unused_archives": self.unused,
            "problems": self.problems,
            "whole": self.problems.is_empty(),
        })
    }
}

impl Image {
    fn json(&self) -> Value {
        json!({
            "os": self.config.os,
            "architecture": self.config.architecture,
            "entrypoint": self.config.config.entrypoint,
            "cmd": self.config.config.cmd,
            "working_dir": self.config.config.working_dir,
            "user": self.user,
            "env": self.env_names(),
            "exposed_ports": self.config.config.exposed_ports.keys().collect::<Vec<_>>(),
        })
    }

    /// Values of variables may be secret.
    pub(super) fn env_names(&self) -> Vec<&str> {
        let env = self.config.config.env.iter();
        env.map(|variable| variable.split('=').next().unwrap_or_default())
            .collect()
    }
}

impl Examined {
    fn json(&self) -> Value {
        let mut object = json!({
            "digest": self.own.check.digest(),
            "digest_of": match self.own.check {
                Check::Content(_) => "file",
                Check::Decompressed(_) => "tar",
            },
            "file": self.own.name.as_path().to_string_lossy(),
            "compression": compression_name(self.layer.compression),
            "size": self.layer.size,
            "unpacked": self.layer.unpacked,
            "refusal": self.layer.refusal,
        });
        let counts = serde_json::to_value(self.layer.counts).unwrap_or_default();
        if let (Value::Object(object), Value::Object(counts)) = (&mut object, counts) {
            object.extend(counts);
        }
        object
    }
}

fn user_of(config: &[u8]) -> String {
    let unused = serde_json::from_slice::<Unused>(config).unwrap_or_default();
    unused
        .config
        .and_then(|config| config.user)
        .unwrap_or_default()
}

fn format_key(format: Format) -> &'static str {
    match format {
        Format::AosService => "aos-service",
        Format::AosLayer => "aos-layer",
        Format::OciLayout => "oci-layout",
        Format::DockerArchive => "docker-archive",
        Format::Unknown => "unknown",
    }
}

pub(super) fn compression_name(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}
