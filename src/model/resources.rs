//! What the unit configuration lends to instances.

use std::net::IpAddr;
use std::path::PathBuf;

/// What the unit configuration has of that which a service asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provision {
    /// Devices, in the order in which they were asked for.
    pub devices: Vec<Device>,
    /// Resources, in the order in which they were asked for.
    pub resources: Vec<NodeResource>,
    /// What of it cannot be had now.
    pub lacks: Vec<Lack>,
}

/// Something that cannot be had now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The device, if it is one.
    pub device: Option<String>,
    /// What it is and why, for a human.
    pub reason: String,
}

/// A device of the unit configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// As services name it.
    pub name: String,
    /// How many instances may use it at the same time; 0: any number.
    pub shared_count: u64,
    /// Ids of groups that get the instance to it.
    pub gids: Vec<u32>,
    /// What it is on the host.
    pub host_devices: Vec<HostDevice>,
}

/// A device node of the host, or a directory of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDevice {
    /// Where it is on the host.
    pub host: PathBuf,
    /// Where the instance finds it.
    pub inside: PathBuf,
}

/// A resource of the unit configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeResource {
    /// As services name it.
    pub name: String,
    /// Ids of groups that the instance is in.
    pub gids: Vec<u32>,
    /// What is mounted into the instance.
    pub mounts: Vec<ResourceMount>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Lines of its `/etc/hosts`.
    pub hosts: Vec<(IpAddr, String)>,
}

/// Something that a resource mounts into an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceMount {
    /// Absolute, inside.
    pub destination: String,
    /// Filesystem type, or `bind`.
    pub kind: String,
    /// What.
    pub source: PathBuf,
    /// As of mount(8), without the permissions of the mount point.
    pub options: Vec<String>,
    /// Permissions of the mount point.
    pub mode: Option<u32>,
}
