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
    #[serde(default, deserialize_with = "null_is_default")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_that_are_null_or_absent_are_empty() {
        for text in [
            "{}",
            r#"{"config": null}"#,
            r#"{"config": {"Env": null, "Cmd": null, "Entrypoint": null, "ExposedPorts": null}}"#,
        ] {
            let image: ImageConfig = serde_json::from_str(text).unwrap();

            assert_eq!(image, ImageConfig::default(), "{text}");
        }
    }

    #[test]
    fn execution_parameters_have_the_names_of_oci() {
        let image: ImageConfig = serde_json::from_str(
            r#"{"os": "linux", "config": {"Env": ["A=b"], "Cmd": ["c"], "WorkingDir": "/d",
                "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGINT"}}"#,
        )
        .unwrap();

        assert_eq!(image.config.env, ["A=b"]);
        assert_eq!(image.config.cmd, ["c"]);
        assert_eq!(image.config.working_dir, "/d");
        assert!(image.config.exposed_ports.contains_key("80/tcp"));
        assert_eq!(image.config.stop_signal, "SIGINT");
    }

    #[test]
    fn wrong_types_are_refused() {
        for text in ["5", r#"{"os": 5}"#, r#"{"config": {"Env": "A=b"}}"#] {
            assert!(serde_json::from_str::<ImageConfig>(text).is_err(), "{text}");
        }
    }
}
