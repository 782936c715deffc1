//! The desired state as people write it, and as it goes to SM.
//!
//! Paths are relative to the file. Sizes and digests come from the packages;
//! each can be given instead, also a wrong one, to see what SM does with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::package_source::{PackageSource, absolute};
use crate::package_file::{PackageFileError, layer_digest};
use crate::wire::sm::{
    FirewallRule, InstanceIdent, InstanceInfo, LayerInfo, NetworkParameters, RunInstances,
    ServiceInfo, UpdateNetworks, VersionInfo,
};

const DEFAULT_ID: u32 = 5000;

/// Why there is no desired state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It says something else than a state file can.
    #[error("{}", path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// A package cannot be used.
    #[error("{item}")]
    Package {
        item: String,
        #[source]
        source: PackageFileError,
    },
    /// Neither a package nor the value that it would give.
    #[error("{item} has no `package`; give `{key}`, or the package")]
    Missing { item: String, key: &'static str },
    /// Not a digest.
    #[error("{item}: `{key}` is not hexadecimal")]
    BadDigest { item: String, key: &'static str },
}

/// What CM would send.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DesiredState {
    pub(crate) networks: UpdateNetworks,
    pub(crate) run: RunInstances,
}

impl DesiredState {
    /// Reads a state file and the packages that it names.
    pub(crate) fn load(path: &Path) -> Result<Self, StateError> {
        let text = fs::read_to_string(path).map_err(|source| StateError::Read {
            path: path.to_owned(),
            source,
        })?;
        let file: StateFile = serde_json::from_str(&text).map_err(|source| StateError::Parse {
            path: path.to_owned(),
            source,
        })?;
        let base = path.parent().unwrap_or(Path::new(""));
        file.into_desired(base)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    #[serde(default)]
    services: Vec<Service>,
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    networks: Vec<Network>,
    #[serde(default)]
    instances: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    id: String,
    #[serde(default = "first_version")]
    version: u64,
    #[serde(default)]
    vendor_version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    provider: String,
    #[serde(default = "default_id")]
    gid: u32,
    package: Option<PathBuf>,
    url: Option<String>,
    size: Option<u64>,
    sha3_256: Option<String>,
    sha3_512: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    id: String,
    #[serde(default = "first_version")]
    version: u64,
    #[serde(default)]
    vendor_version: String,
    #[serde(default)]
    description: String,
    digest: Option<String>,
    package: Option<PathBuf>,
    url: Option<String>,
    size: Option<u64>,
    sha3_256: Option<String>,
    sha3_512: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    #[serde(default)]
    id: String,
    #[serde(default)]
    subnet: String,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    vlan: u64,
    #[serde(default)]
    dns: Vec<String>,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    src_ip: String,
    dst_ip: String,
    dst_port: String,
    proto: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Instance {
    service: String,
    subject: String,
    #[serde(default)]
    index: i64,
    #[serde(default = "default_id")]
    uid: u32,
    #[serde(default)]
    priority: u64,
    network: Option<Network>,
    #[serde(default)]
    storage: String,
    #[serde(default)]
    state: String,
}

fn first_version() -> u64 {
    1
}

fn default_id() -> u32 {
    DEFAULT_ID
}

impl StateFile {
    fn into_desired(self, base: &Path) -> Result<DesiredState, StateError> {
        let services = self
            .services
            .into_iter()
            .map(|service| service.resolve(base));
        let layers = self.layers.into_iter().map(|layer| layer.resolve(base));
        Ok(DesiredState {
            run: RunInstances {
                services: services.collect::<Result<_, _>>()?,
                layers: layers.collect::<Result<_, _>>()?,
                instances: self
                    .instances
                    .into_iter()
                    .map(Instance::into_wire)
                    .collect(),
                force_restart: false,
            },
            networks: UpdateNetworks {
                networks: self.networks.into_iter().map(Network::into_wire).collect(),
            },
        })
    }
}

impl Service {
    fn resolve(self, base: &Path) -> Result<ServiceInfo, StateError> {
        let source = PackageSource {
            item: format!("service {}", self.id),
            package: self.package.map(|package| absolute(base, &package)),
            url: self.url,
            size: self.size,
            sha3_256: self.sha3_256,
            sha3_512: self.sha3_512,
        }
        .resolve()?;
        Ok(ServiceInfo {
            version_info: Some(VersionInfo {
                aos_version: self.version,
                vendor_version: self.vendor_version,
                description: self.description,
            }),
            url: source.url,
            service_id: self.id,
            provider_id: self.provider,
            gid: self.gid,
            sha256: source.facts.sha3_256,
            sha512: source.facts.sha3_512,
            size: source.facts.size,
        })
    }
}

impl Layer {
    fn resolve(self, base: &Path) -> Result<LayerInfo, StateError> {
        let item = format!("layer {}", self.id);
        let package = self.package.map(|package| absolute(base, &package));
        let digest = match (self.digest, &package) {
            (Some(digest), _) => digest,
            (None, Some(package)) => {
                layer_digest(package).map_err(|source| StateError::Package {
                    item: item.clone(),
                    source,
                })?
            }
            (None, None) => {
                return Err(StateError::Missing {
                    item,
                    key: "digest",
                });
            }
        };
        let source = PackageSource {
            item,
            package,
            url: self.url,
            size: self.size,
            sha3_256: self.sha3_256,
            sha3_512: self.sha3_512,
        }
        .resolve()?;
        Ok(LayerInfo {
            version_info: Some(VersionInfo {
                aos_version: self.version,
                vendor_version: self.vendor_version,
                description: self.description,
            }),
            url: source.url,
            layer_id: self.id,
            digest,
            sha256: source.facts.sha3_256,
            sha512: source.facts.sha3_512,
            size: source.facts.size,
        })
    }
}

impl Network {
    fn into_wire(self) -> NetworkParameters {
        NetworkParameters {
            network_id: self.id,
            subnet: self.subnet,
            ip: self.ip,
            vlan_id: self.vlan,
            dns_servers: self.dns,
            rules: self
                .rules
                .into_iter()
                .map(|rule| FirewallRule {
                    dst_ip: rule.dst_ip,
                    dst_port: rule.dst_port,
                    proto: rule.proto,
                    src_ip: rule.src_ip,
                })
                .collect(),
        }
    }
}

impl Instance {
    fn into_wire(self) -> InstanceInfo {
        InstanceInfo {
            instance: Some(InstanceIdent {
                service_id: self.service,
                subject_id: self.subject,
                instance: self.index,
            }),
            uid: self.uid,
            priority: self.priority,
            storage_path: self.storage,
            state_path: self.state,
            network_parameters: self.network.map(Network::into_wire),
        }
    }
}

#[cfg(test)]
#[path = "state_file_tests.rs"]
mod tests;
