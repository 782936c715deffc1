//! The OCI image configuration, as far as it matters here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `application/vnd.oci.image.config.v1+json`: how the image is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// CPU architecture, in Go's names. Not checked.
    #[serde(default)]
    pub architecture: String,
    /// Operating system; only `linux` can run here.
    #[serde(default)]
    pub os: String,
    /// Execution parameters.
    #[serde(default)]
    pub config: ExecutionConfig,
}

/// The `config` object of an image configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecutionConfig {
    /// `NAME=value`.
    #[serde(deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// First part of the command line.
    #[serde(deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// Second part of the command line.
    #[serde(deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// Working directory; empty: `/`.
    pub working_dir: String,
    /// `port[/proto]`, open to the outside of the unit.
    #[serde(deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    /// Signal that asks the service to stop; empty: SIGTERM.
    pub stop_signal: String,
}

/// Go writes an empty list as `null`.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
