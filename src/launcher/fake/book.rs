//! What the machine holds, what it did, and what it is to refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::clocks::FakeClocks;
use super::devices::FakeDevices;
use super::iam::FakeIam;
use super::network::FakeNetworks;
use crate::launcher::host::Resource;
use crate::launcher::probes::Probe;
use crate::model::{ContentItem, InUse, InstanceId, ServiceKey};

#[derive(Debug, Default)]
pub(in crate::launcher) struct Book {
    /// What the machine keeps for whom.
    pub(in crate::launcher) held: BTreeSet<(InstanceId, Resource)>,
    /// What was started with which version, most recent last.
    pub(in crate::launcher) starts: Vec<(String, u64)>,
    /// Whose unit was started last as which instance.
    pub(in crate::launcher) idents: BTreeMap<String, InstanceId>,
    /// Whose unit was stopped, most recent last.
    pub(in crate::launcher) stops: Vec<InstanceId>,
    /// Places in networks.
    pub(in crate::launcher) networks: FakeNetworks,
    /// Devices.
    pub(in crate::launcher) devices: FakeDevices,
    /// Who is being changed.
    pub(super) changing: BTreeSet<InstanceId>,
    /// Acquisitions that are refused, by service.
    pub(in crate::launcher) refuse: BTreeSet<(String, Resource)>,
    /// Releases that are refused so many times more.
    pub(in crate::launcher) refuse_releases: u32,
    /// Services and layers that cannot be installed.
    pub(in crate::launcher) broken: BTreeSet<String>,
    /// What services ask for, by their ids.
    pub(in crate::launcher) configs: BTreeMap<String, aos_package::ServiceConfig>,
    /// Probes of services, by `SERVICE version N`.
    pub(in crate::launcher) probes: BTreeMap<String, Vec<Probe>>,
    /// Services whose probes fail, by `SERVICE version N`.
    pub(in crate::launcher) unwell: BTreeSet<String>,
    /// How often the probes of a service were asked.
    pub(in crate::launcher) asked: BTreeMap<String, u32>,
    /// Restarts of services that were not well, by `SERVICE version N`.
    pub(in crate::launcher) restarts: Vec<String>,
    /// What runs as which instance.
    pub(super) running: BTreeMap<InstanceId, String>,
    /// Layers that services need.
    pub(in crate::launcher) needs: BTreeMap<String, Vec<String>>,
    /// What the content manager was told is in use.
    pub(in crate::launcher) retained: InUse,
    /// What became of content and instances, in order.
    pub(in crate::launcher) history: Vec<String>,
    /// How often an item was found damaged, installed anew, and so moved.
    pub(super) moved: BTreeMap<ContentItem, u32>,
    /// Items that are found damaged when they are looked at, so many times more.
    pub(in crate::launcher) rotten: BTreeMap<ContentItem, u32>,
    /// The variables that each instance was last started with.
    pub(in crate::launcher) variables: BTreeMap<String, Vec<String>>,
    /// What IAM knows, and who is gone without its knowing.
    pub(in crate::launcher) iam: FakeIam,
    /// What the clocks say.
    pub(in crate::launcher) clocks: FakeClocks,
    /// Things that went wrong in the test's own terms.
    pub(in crate::launcher) violations: Vec<String>,
}

impl Book {
    pub(super) fn step(&mut self, id: InstanceId) {
        if self.changing.contains(&id) {
            self.violations
                .push(format!("a step of {id} beside its change"));
        }
    }

    pub(super) fn directory(&self, item: &ContentItem) -> PathBuf {
        let moved = self.moved.get(item).copied().unwrap_or_default();
        PathBuf::from(format!("/content/{item}/{moved}"))
    }

    /// Roots of the service and of its layers.
    pub(super) fn roots(&self, service: &ServiceKey) -> (PathBuf, Vec<PathBuf>, Vec<String>) {
        let root = self.directory(&ContentItem::Service(service.clone()));
        let digests = self.needs.get(service.id.as_str());
        let digests = digests.cloned().unwrap_or_default();
        let layers = digests.iter().cloned().map(ContentItem::Layer);
        let layers = layers.map(|layer| self.directory(&layer)).collect();
        (root.join("rootfs"), layers, digests)
    }
}
