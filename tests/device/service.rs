//! Packages made for a test, by `aosctl pack`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::lab::{Device, UNIT_DIR, aosctl, succeed};
use super::state::{GID, PROVIDER, State};

const SLEEPER: &str = include_str!("../fixtures/sleeper.sh");
const PROBE: &str = include_str!("../fixtures/probe.py");

/// A service to be packed.
#[derive(Debug)]
pub(crate) struct Service {
    id: String,
    version: u64,
    root: TempDir,
    options: Vec<String>,
    config: Value,
}

/// A service that can be desired.
#[derive(Clone, Debug)]
pub(crate) struct PackedService {
    pub(crate) id: String,
    /// As a state file has it.
    pub(crate) entry: Value,
}

impl Service {
    /// A service that runs a command and has no file of its own.
    pub(crate) fn new(id: &str, command: &[&str]) -> Self {
        let mut service = Self {
            id: id.to_owned(),
            version: 1,
            root: tempfile::tempdir().expect("there is a temporary directory"),
            options: Vec::new(),
            config: json!({}),
        };
        for word in command {
            service.options.push(format!("--entrypoint={word}"));
        }
        service
    }

    /// Does nothing, and stops when it is asked to.
    pub(crate) fn sleeper(id: &str) -> Self {
        Self::new(id, &["/bin/sh", "/service.sh"]).file("service.sh", SLEEPER)
    }

    /// Serves HTTP on port 8080 and answers questions about what it sees.
    pub(crate) fn probe(id: &str) -> Self {
        Self::new(id, &["/usr/bin/python3", "-u", "/probe.py"]).file("probe.py", PROBE)
    }

    /// Runs a shell command.
    pub(crate) fn shell(id: &str, command: &str) -> Self {
        Self::new(id, &["/bin/sh", "-c", command])
    }

    pub(crate) fn version(mut self, version: u64) -> Self {
        self.version = version;
        self
    }

    /// What the service asks of the service manager.
    pub(crate) fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// More options of `aosctl pack service`.
    pub(crate) fn option(mut self, option: impl Into<String>) -> Self {
        self.options.push(option.into());
        self
    }

    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("it is below the root")).expect("it is ours");
        fs::write(path, content).expect("it is ours");
        self
    }

    /// A file of this size that takes no room before it is packed.
    pub(crate) fn big_file(self, path: &str, size: u64) -> Self {
        let file = fs::File::create(self.root.path().join(path)).expect("it is ours");
        file.set_len(size).expect("it takes no room");
        self
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        symlink(target, self.root.path().join(path)).expect("it is ours");
        self
    }

    pub(crate) fn layer(self, layer: &PackedLayer) -> Self {
        let digest = &layer.digest;
        self.option(format!("--layer={digest}"))
    }

    /// Puts the package on the device.
    pub(crate) fn pack(&self, device: &Device) -> PackedService {
        let file = format!("{}-{}.tar", self.id, self.version);
        let config = self.root.path().with_extension("json");
        fs::write(&config, self.config.to_string()).expect("it is ours");
        fs::set_permissions(self.root.path(), PermissionsExt::from_mode(0o755)).expect("ours");
        succeed(
            aosctl()
                .args(["pack", "service"])
                .arg(self.root.path())
                .args(&self.options)
                .arg("--service-config")
                .arg(&config)
                .arg("--output")
                .arg(device.path(UNIT_DIR).join(&file)),
        );
        fs::remove_file(&config).expect("it is ours");
        PackedService::new(&self.id, self.version, &file)
    }
}

impl PackedService {
    /// A service whose package is in the unit's directory already.
    pub(crate) fn new(id: &str, version: u64, file: &str) -> Self {
        Self {
            id: id.to_owned(),
            entry: json!({
                "id": id,
                "version": version,
                "provider": PROVIDER,
                "gid": GID,
                "package": file,
            }),
        }
    }

    /// Name of the package in the unit's directory.
    pub(crate) fn file(&self) -> &str {
        self.entry["package"].as_str().expect("each has a package")
    }

    /// The same, with one value of the entry told otherwise.
    pub(crate) fn told(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.entry[key] = value.into();
        self
    }
}

/// A layer to be packed.
#[derive(Debug)]
pub(crate) struct Layer {
    id: String,
    root: TempDir,
}

/// A layer that can be desired.
#[derive(Clone, Debug)]
pub(crate) struct PackedLayer {
    pub(crate) digest: String,
    pub(crate) entry: Value,
}

impl Layer {
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            root: tempfile::tempdir().expect("there is a temporary directory"),
        }
    }

    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("it is below the root")).expect("it is ours");
        fs::write(path, content).expect("it is ours");
        self
    }

    /// Puts the package on the device.
    pub(crate) fn pack(&self, device: &Device) -> PackedLayer {
        let file = format!("layer-{}.tar", self.id);
        fs::set_permissions(self.root.path(), PermissionsExt::from_mode(0o755)).expect("ours");
        let output = succeed(
            aosctl()
                .args(["-o", "json", "pack", "layer"])
                .arg(self.root.path())
                .arg("--output")
                .arg(device.path(UNIT_DIR).join(&file)),
        );
        let facts: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
        let digest = facts["layer_digest"]
            .as_str()
            .expect("a layer has a digest")
            .to_owned();
        let entry = json!({"id": self.id, "digest": digest, "package": file});
        PackedLayer { digest, entry }
    }
}

/// One good service and these, each with an instance.
pub(crate) fn beside_a_good_one(device: &Device, services: &[PackedService]) -> State {
    let good = Service::sleeper("good").pack(device);
    let numbered = services.iter().zip(20..);
    numbered.fold(State::new().with(&good, 10), |state, (service, host)| {
        state.with(service, host)
    })
}
