//! The document, as far as it is shown. What a newer service manager adds is
//! ignored, and what is missing is empty.

use serde::Deserialize;

/// The form that is known here.
pub(crate) const FORMAT: u32 = 1;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Document {
    pub(crate) format: u32,
    pub(crate) error: Option<String>,
    pub(crate) time: String,
    pub(crate) version: String,
    pub(crate) uptime: u64,
    pub(crate) unanswered: Vec<String>,
    pub(crate) node: Option<Node>,
    pub(crate) peers: Peers,
    pub(crate) desired: Option<Desired>,
    pub(crate) instances: Option<Vec<Instance>>,
    pub(crate) networks: Option<Vec<Network>>,
    pub(crate) content: Content,
    pub(crate) usage: Option<Usage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Node {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Peers {
    pub(crate) cm: Peer,
    pub(crate) iam: Peer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Peer {
    pub(crate) connected: bool,
    pub(crate) since: String,
    pub(crate) last_error: Option<Fault>,
    pub(crate) next_try: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Fault {
    pub(crate) message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Desired {
    pub(crate) generation: u64,
    pub(crate) settled: bool,
    pub(crate) stored: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) subject: String,
    pub(crate) index: i64,
    pub(crate) version: Option<u64>,
    pub(crate) state: String,
    pub(crate) since: String,
    pub(crate) error: Option<Error>,
    pub(crate) running_version: Option<u64>,
    pub(crate) network: Option<String>,
    pub(crate) ip: Option<String>,
    pub(crate) faults: u64,
}

impl Instance {
    /// `SERVICE/SUBJECT/INDEX`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}/{}", self.service, self.subject, self.index)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Error {
    pub(crate) message: String,
    pub(crate) exit_code: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Network {
    pub(crate) id: String,
    pub(crate) bridge: String,
    pub(crate) subnet: String,
    pub(crate) gateway: String,
    pub(crate) vlan_id: u64,
    pub(crate) instances: u64,
    pub(crate) fault: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Content {
    pub(crate) services: Option<Vec<Item>>,
    pub(crate) layers: Option<Vec<Item>>,
    pub(crate) downloads: Vec<Download>,
}

/// A service or a layer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Item {
    pub(crate) id: String,
    pub(crate) version: u64,
    pub(crate) size: u64,
    pub(crate) cached_since: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Download {
    pub(crate) item: String,
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) rate: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    pub(crate) cpu: u64,
    pub(crate) ram: u64,
}
