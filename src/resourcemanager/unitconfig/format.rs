//! The unit configuration as it is written. Pure.
//!
//! The file is that of release 7.2.3, and so is the text on the wire, which lacks
//! the version: the message has it. Keys that are not known are left out.

use serde::{Deserialize, Deserializer, Serialize};

/// Bytes of a text at the most.
pub(super) const LONGEST: usize = 1 << 20;

/// The text is no unit configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormatError {
    /// Nobody writes so long a one.
    #[error("it has {0} bytes, more than the {LONGEST} that are allowed")]
    Long(usize),
    /// A list, a number, nothing.
    #[error("it is no JSON object")]
    NoObject,
    /// Not JSON, or of another form.
    #[error("it cannot be read")]
    Json(#[from] serde_json::Error),
}

/// A unit configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct UnitConfig {
    /// The kind of node that it is for.
    #[serde(deserialize_with = "null_is_default")]
    pub(super) node_type: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) devices: Vec<DeviceEntry>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) resources: Vec<ResourceEntry>,
    /// CM's affair.
    #[serde(deserialize_with = "null_is_default")]
    pub(super) labels: Vec<String>,
    /// CM's affair.
    #[serde(deserialize_with = "null_is_default")]
    pub(super) priority: u64,
    /// In the file alone.
    #[serde(deserialize_with = "null_is_default")]
    pub(super) vendor_version: String,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DeviceEntry {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) name: String,
    /// 0: any number.
    #[serde(deserialize_with = "null_is_default")]
    pub(super) shared_count: u64,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) groups: Vec<String>,
    /// `host[:inside]`.
    #[serde(deserialize_with = "null_is_default")]
    pub(super) host_devices: Vec<String>,
}

/// A resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ResourceEntry {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) groups: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) mounts: Vec<MountEntry>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) env: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) hosts: Vec<HostEntry>,
}

/// A mount of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct MountEntry {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) destination: String,
    #[serde(rename = "type", deserialize_with = "null_is_default")]
    pub(super) kind: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) source: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) options: Vec<String>,
}

/// A host that a resource names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct HostEntry {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) ip: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) hostname: String,
}

impl UnitConfig {
    /// From the file, which has the version in it.
    pub(super) fn from_file(text: &[u8]) -> Result<Self, FormatError> {
        if text.len() > LONGEST {
            return Err(FormatError::Long(text.len()));
        }
        // A list would be taken for the values in their order.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(FormatError::NoObject);
        }
        Ok(serde_json::from_slice(text)?)
    }

    /// From a message, which has the version beside it.
    pub(super) fn from_message(text: &str, vendor_version: &str) -> Result<Self, FormatError> {
        Ok(Self {
            vendor_version: vendor_version.to_owned(),
            ..Self::from_file(text.as_bytes())?
        })
    }

    /// As it is stored.
    pub(super) fn to_file(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("texts and numbers can be written as JSON")
    }
}

/// Go writes an empty list as `null`.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
