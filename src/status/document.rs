//! The document, as `docs/status.md` describes it. No secrets, no environment.
//!
//! New keys may come at any time. What a key means never changes, or `format`
//! becomes another.

use serde::Serialize;

use super::moment::time_text;
use crate::model::{
    ContentItem, ContentOverview, ErrorInfo, InstanceOverview, InstanceState, LauncherOverview,
    NetworkOverview, NodeInfo, NodeMonitoring, PeerState,
};

/// Everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Document {
    /// Version of the form of this document.
    pub format: u32,
    /// When it was made.
    pub time: String,
    /// Version of the service manager.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it was started.
    pub started: String,
    /// Whole seconds since then.
    pub uptime: u64,
    /// Parts that gave no answer in time; what they know is missing here.
    pub unanswered: Vec<&'static str>,
    /// `None` until IAM has told it for the first time.
    pub node: Option<NodeView>,
    /// Those that it talks to.
    pub peers: PeersView,
    /// The desired list.
    pub desired: Option<DesiredView>,
    /// What runs, or should.
    pub instances: Option<Vec<InstanceView>>,
    /// Provider networks.
    pub networks: Option<Vec<NetworkView>>,
    /// Services, layers and downloads.
    pub content: ContentView,
    /// Where state is kept.
    pub database: DatabaseView,
    /// What the whole node uses.
    pub usage: Option<UsageView>,
}

impl Document {
    /// The value of `format`.
    pub const FORMAT: u32 = 1;
}

/// Who the node is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeView {
    /// Unique in the unit.
    pub id: String,
    /// Kind of the node.
    #[serde(rename = "type")]
    pub kind: String,
}

impl From<NodeInfo> for NodeView {
    fn from(node: NodeInfo) -> Self {
        Self {
            id: node.node_id,
            kind: node.node_type,
        }
    }
}

/// The peers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeersView {
    /// Communication manager.
    pub cm: PeerView,
    /// Identity and access manager.
    pub iam: PeerView,
}

/// How it stands with one of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerView {
    /// Whether it answers.
    pub connected: bool,
    /// Since when that is so.
    pub since: String,
    /// What went wrong last.
    pub last_error: Option<FaultView>,
    /// When it is tried again.
    pub next_try: Option<String>,
}

impl From<&PeerState> for PeerView {
    fn from(state: &PeerState) -> Self {
        Self {
            connected: state.connected,
            since: time_text(state.since),
            last_error: state.last_error.as_ref().map(|(time, message)| FaultView {
                time: time_text(*time),
                message: message.clone(),
            }),
            next_try: state.next_try.map(time_text),
        }
    }
}

/// Something went wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultView {
    /// When.
    pub time: String,
    /// What, with all causes.
    pub message: String,
}

/// How far the desired list is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DesiredView {
    /// 0: the stored list at start; then one more with each from CM.
    pub generation: u64,
    /// Whether each of its instances is active or failed.
    pub settled: bool,
    /// Whether it is in the database; it is not on a full disk.
    pub stored: bool,
}

impl From<&LauncherOverview> for DesiredView {
    fn from(overview: &LauncherOverview) -> Self {
        Self {
            generation: overview.generation,
            settled: overview.settled,
            stored: overview.stored,
        }
    }
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InstanceView {
    /// Names its unit `aos-service@<id>.service`.
    pub id: String,
    /// Empty of what an older run left behind, as are the next two.
    pub service: String,
    /// For whom it runs.
    pub subject: String,
    /// Counts from 0.
    pub index: i64,
    /// The desired version.
    pub version: Option<u64>,
    /// `starting`, `active`, `failed` or `stopping`.
    pub state: &'static str,
    /// Since when; of an active one, when it was last started.
    pub since: String,
    /// Why it failed.
    pub error: Option<ErrorView>,
    /// The version that runs, if it is not the desired one.
    pub running_version: Option<u64>,
    /// Name of its network.
    pub network: Option<String>,
    /// Its address there.
    pub ip: Option<String>,
    /// How often it ended by itself since SM was started.
    pub faults: u64,
    /// Why it did so last.
    pub last_fault: Option<ErrorView>,
}

impl From<InstanceOverview> for InstanceView {
    fn from(overview: InstanceOverview) -> Self {
        let ident = overview.ident.unwrap_or_default();
        let (network, ip) = overview.network.unzip();
        let (faults, last_fault) = overview.last_fault.unzip();
        let (state, error) = match overview.state {
            InstanceState::Starting => ("starting", None),
            InstanceState::Active => ("active", None),
            InstanceState::Failed(error) => ("failed", Some(error)),
            InstanceState::Stopping => ("stopping", None),
        };

        Self {
            id: overview.id.to_string(),
            service: ident.service_id.to_string(),
            subject: ident.subject_id.to_string(),
            index: ident.index,
            version: overview.version,
            state,
            since: time_text(overview.since),
            error: error.map(ErrorView::from),
            running_version: overview.running_version,
            network: network.map(|id| id.to_string()),
            ip,
            faults: faults.unwrap_or_default(),
            last_fault: last_fault.map(ErrorView::from),
        }
    }
}

/// Why an instance failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorView {
    /// For people.
    pub message: String,
    /// Of the main process, 128 + n after signal n; 0 if it did not get so far.
    pub exit_code: i32,
}

impl From<ErrorInfo> for ErrorView {
    fn from(error: ErrorInfo) -> Self {
        Self {
            message: error.message,
            exit_code: error.exit_code,
        }
    }
}

/// One provider network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkView {
    /// Its name.
    pub id: String,
    /// Name of its link.
    pub bridge: String,
    /// CIDR.
    pub subnet: String,
    /// Address of the bridge.
    pub gateway: String,
    /// 0: none.
    pub vlan_id: u64,
    /// Number of instances in it.
    pub instances: usize,
    /// It goes with its last instance.
    pub removed: bool,
    /// Why it cannot be used.
    pub fault: Option<String>,
}

impl From<NetworkOverview> for NetworkView {
    fn from(overview: NetworkOverview) -> Self {
        Self {
            id: overview.id.to_string(),
            bridge: overview.bridge,
            subnet: overview.subnet,
            gateway: overview.gateway,
            vlan_id: overview.vlan_id,
            instances: overview.instances,
            removed: overview.removed,
            fault: overview.fault,
        }
    }
}

/// What is on the disk, or on its way there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ContentView {
    /// Installed services.
    pub services: Option<Vec<ServiceView>>,
    /// Installed layers.
    pub layers: Option<Vec<LayerView>>,
    /// Packages that are being downloaded.
    pub downloads: Vec<DownloadView>,
}

impl ContentView {
    /// Takes what is installed.
    pub fn take(&mut self, installed: Vec<ContentOverview>) {
        let (mut services, mut layers) = (Vec::new(), Vec::new());
        for each in installed {
            let cached_since = each.cached_since.map(time_text);
            match each.item {
                ContentItem::Service(key) => services.push(ServiceView {
                    id: key.id.to_string(),
                    version: each.version,
                    vendor_version: each.vendor_version,
                    size: each.size,
                    cached_since,
                }),
                ContentItem::Layer(digest) => layers.push(LayerView {
                    id: each.name,
                    digest,
                    version: each.version,
                    vendor_version: each.vendor_version,
                    size: each.size,
                    cached_since,
                }),
            }
        }
        self.services = Some(services);
        self.layers = Some(layers);
    }
}

/// An installed service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServiceView {
    /// Its name.
    pub id: String,
    /// Aos version.
    pub version: u64,
    /// The vendor's own text.
    pub vendor_version: String,
    /// Bytes on the disk.
    pub size: u64,
    /// Since when it is not in use.
    pub cached_since: Option<String>,
}

/// An installed layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerView {
    /// Its name for people.
    pub id: String,
    /// Identifies it.
    pub digest: String,
    /// Aos version.
    pub version: u64,
    /// The vendor's own text.
    pub vendor_version: String,
    /// Bytes on the disk.
    pub size: u64,
    /// Since when it is not in use.
    pub cached_since: Option<String>,
}

/// A download that is under way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DownloadView {
    /// What is downloaded, for people.
    pub item: String,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes of the package.
    pub total: u64,
    /// Bytes a second.
    pub rate: u64,
}

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatabaseView {
    /// The file.
    pub path: String,
    /// Its size, without what is not yet merged into it.
    pub bytes: u64,
}

/// What the whole node uses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UsageView {
    /// Percent of all processors.
    pub cpu: u64,
    /// Bytes of memory.
    pub ram: u64,
    /// Bytes from public networks today (UTC).
    pub in_traffic: u64,
    /// Bytes to public networks today (UTC).
    pub out_traffic: u64,
    /// Partitions of the configuration.
    pub partitions: Vec<PartitionView>,
}

impl From<NodeMonitoring> for UsageView {
    fn from(monitoring: NodeMonitoring) -> Self {
        let node = monitoring.node;
        let partitions = node.disks.into_iter().map(|disk| PartitionView {
            name: disk.name,
            used: disk.used_size,
        });

        Self {
            cpu: node.cpu,
            ram: node.ram,
            in_traffic: node.in_traffic,
            out_traffic: node.out_traffic,
            partitions: partitions.collect(),
        }
    }
}

/// What is used of a partition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartitionView {
    /// As the configuration names it.
    pub name: String,
    /// Bytes.
    pub used: u64,
}
