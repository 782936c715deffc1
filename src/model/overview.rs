//! What an operator is shown of the device.

use std::time::SystemTime;

use super::{ContentItem, ErrorInfo, InstanceId, InstanceIdent, NetworkId};

/// How we stand with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// Whether it answers.
    pub connected: bool,
    /// Since when that is so.
    pub since: SystemTime,
    /// What went wrong last, and when; also while all is well again.
    pub last_error: Option<(SystemTime, String)>,
    /// When the next try is due, if we wait for it.
    pub next_try: Option<SystemTime>,
}

/// What the launcher works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LauncherOverview {
    /// Number of the desired list: 0 for the stored one at start.
    pub generation: u64,
    /// Whether each of its instances is active or failed.
    pub settled: bool,
    /// Whether the list is in the database.
    pub stored: bool,
    /// Those of the list in its order, then what is still being stopped.
    pub instances: Vec<InstanceOverview>,
}

/// One instance, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceOverview {
    /// Names its unit and its runtime directory.
    pub id: InstanceId,
    /// Unknown of what an older run left behind.
    pub ident: Option<InstanceIdent>,
    /// The desired version, or of what is being stopped the one that runs.
    pub version: Option<u64>,
    /// What it does.
    pub state: InstanceState,
    /// Since when, as far as this run of SM knows.
    pub since: SystemTime,
    /// The version that runs, if it is not the desired one.
    pub running_version: Option<u64>,
    /// Its network and its address there.
    pub network: Option<(NetworkId, String)>,
    /// How often it ended by itself since SM was started, and the last time why.
    pub last_fault: Option<(u64, ErrorInfo)>,
}

/// What an instance does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It is being installed or started.
    Starting,
    /// It runs.
    Active,
    /// It does not run as it should, and why.
    Failed(ErrorInfo),
    /// It is no longer wanted and is being stopped.
    Stopping,
}

/// A provider network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkOverview {
    /// Its name.
    pub id: NetworkId,
    /// Name of its link.
    pub bridge: String,
    /// CIDR, as CM sent it.
    pub subnet: String,
    /// Address of the bridge, as CM sent it.
    pub gateway: String,
    /// 0: none.
    pub vlan_id: u64,
    /// Instances in it.
    pub instances: usize,
    /// It goes when its last instance has gone.
    pub removed: bool,
    /// Why it cannot be used.
    pub fault: Option<String>,
}

/// A service or layer on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentOverview {
    /// Which one.
    pub item: ContentItem,
    /// The layer's name for people; empty of a service.
    pub name: String,
    /// Aos version.
    pub version: u64,
    /// The vendor's own text.
    pub vendor_version: String,
    /// Bytes that it takes of the disk.
    pub size: u64,
    /// Since when it is only cached; `None`: it is in use.
    pub cached_since: Option<SystemTime>,
}
