//! Elements of sets, and objects: what differs from one set of rules to another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use super::permissions::{PortRange, Protocol, Target, joined};
use super::rules::{BridgeRules, InstanceRules};
pub(in crate::networkmanager) use super::sets::ObjectKind;
use super::sets::SetId;
use crate::model::{Flow, InstanceId};

/// The node's own counters.
const NODE: &str = "node";
const IN: &str = "in-";
const OUT: &str = "out-";
/// The largest quota that the kernel has.
const LARGEST: u64 = i64::MAX as u64;

/// IPv4 addresses that are no public ones: this host, private networks, link
/// local, multicast and broadcast.
const PRIVATE: [([u8; 4], u8); 8] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 168, 0, 0], 16),
    ([224, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];
/// The first two bytes of IPv6 addresses that are no public ones, and of the
/// next that can be: `::`, unique local, link local and multicast.
const PRIVATE6: [([u8; 2], Option<[u8; 2]>); 4] = [
    ([0x00, 0x00], Some([0x00, 0x01])),
    ([0xfc, 0x00], Some([0xfe, 0x00])),
    ([0xfe, 0x80], Some([0xfe, 0xc0])),
    ([0xff, 0x00], None),
];

/// What the sets hold, and the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::networkmanager) struct Contents {
    pub(in crate::networkmanager) elements: BTreeSet<(SetId, Element)>,
    pub(in crate::networkmanager) objects: BTreeMap<ObjectId, Object>,
}

/// An element of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::networkmanager) struct Element {
    pub(in crate::networkmanager) key: Vec<u8>,
    pub(in crate::networkmanager) edge: Edge,
    /// Name of the object that it leads to.
    pub(in crate::networkmanager) object: Option<String>,
}

/// Which part of a range an element is. Where one range ends and the next
/// begins, the kernel wants the end first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::networkmanager) enum Edge {
    /// The first address behind it.
    Behind,
    /// No range, or the first address of one.
    Start,
    /// All of it: up to this one.
    To(Vec<u8>),
}

/// Names an object of the table of packets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::networkmanager) struct ObjectId {
    pub(in crate::networkmanager) kind: ObjectKind,
    pub(in crate::networkmanager) name: String,
}

/// An object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) enum Object {
    Counter { bytes: u64 },
    Quota { limit: u64, used: u64 },
}

impl Contents {
    /// What is there without any network.
    pub(super) fn fixed(node: Flow) -> Self {
        let mut contents = Self::default();
        for (first, prefix) in PRIVATE {
            contents.add_range(SetId::Private, first.into(), prefix);
        }
        for (first, behind) in PRIVATE6 {
            contents.add(SetId::Private6, address6(first), Edge::Start);
            if let Some(behind) = behind {
                contents.add(SetId::Private6, address6(behind), Edge::Behind);
            }
        }
        for (prefix, bytes) in [(IN, node.received), (OUT, node.sent)] {
            contents.objects.insert(
                ObjectId::new(ObjectKind::Counter, format!("{prefix}{NODE}")),
                Object::Counter { bytes },
            );
        }

        contents
    }

    pub(super) fn add_bridge(&mut self, name: &str, bridge: &BridgeRules, restrict_host: bool) {
        let gateway = bridge.gateway.octets();
        let (network, prefix) = bridge.subnet.parts();

        self.add(SetId::Bridges, interface(name), Edge::Start);
        self.add(
            SetId::SameBridge,
            [interface(name), interface(name)].concat(),
            Edge::Start,
        );
        if restrict_host {
            self.add(SetId::Restricted, interface(name), Edge::Start);
        }
        self.add(
            SetId::Gateways,
            [&*interface(name), &gateway].concat(),
            Edge::Start,
        );
        self.add(SetId::GatewayAddresses, gateway.to_vec(), Edge::Start);
        self.add_range(SetId::Subnets, network, prefix);
        if let Some(port) = &bridge.vlan_port {
            self.add(SetId::VlanPorts, interface(port), Edge::Start);
            self.add(
                SetId::VlanGateways,
                [&*interface(port), &gateway].concat(),
                Edge::Start,
            );
        }
    }

    pub(super) fn add_instance(&mut self, id: InstanceId, instance: &InstanceRules) {
        let address = instance.address.octets();
        let mac = padded(&instance.mac);

        self.add(
            SetId::Seats,
            [&*interface(&instance.host_end), &mac, &address].concat(),
            Edge::Start,
        );
        self.add(SetId::SeatAddresses, address.to_vec(), Edge::Start);
        self.add(SetId::SeatMacs, instance.mac.to_vec(), Edge::Start);
        for exposed in &instance.exposed {
            self.add(
                SetId::Exposed,
                [&address, &*service(exposed.protocol, exposed.port)].concat(),
                Edge::Start,
            );
        }
        self.add_allowed(instance);

        let Flow { received, sent } = instance.start;
        let limits = instance.limits;
        for (prefix, counters, quotas, bytes, limit) in [
            (
                IN,
                SetId::CountersIn,
                SetId::QuotasIn,
                received,
                limits.download,
            ),
            (
                OUT,
                SetId::CountersOut,
                SetId::QuotasOut,
                sent,
                limits.upload,
            ),
        ] {
            let name = format!("{prefix}{id}");
            self.add_object(counters, address, &name, Object::Counter { bytes });
            if let Some(limit) = limit {
                let quota = Object::Quota {
                    limit: limit.min(LARGEST),
                    used: bytes,
                };
                self.add_object(quotas, address, &name, quota);
            }
        }
    }

    fn add_allowed(&mut self, instance: &InstanceRules) {
        let source = instance.address.octets();
        let mut ports: BTreeMap<(Ipv4Addr, Protocol), Vec<PortRange>> = BTreeMap::new();
        for allowed in &instance.allowed {
            let destination = allowed.destination;
            match &allowed.target {
                Target::Icmp => self.add(
                    SetId::AllowedIcmp,
                    [source, destination.octets()].concat(),
                    Edge::Start,
                ),
                Target::Ports(protocol, ranges) => ports
                    .entry((destination, *protocol))
                    .or_default()
                    .extend(ranges),
            }
        }

        for ((destination, protocol), ranges) in ports {
            for range in joined(ranges) {
                let key =
                    |port| [&source, &destination.octets(), &*service(protocol, port)].concat();
                self.add(SetId::Allowed, key(range.first), Edge::To(key(range.last)));
            }
        }
    }

    fn add_object(&mut self, set: SetId, key: [u8; 4], name: &str, object: Object) {
        self.elements.insert((
            set,
            Element {
                key: key.to_vec(),
                edge: Edge::Start,
                object: Some(name.to_owned()),
            },
        ));
        self.objects
            .insert(ObjectId::new(object.kind(), name.to_owned()), object);
    }

    fn add_range(&mut self, set: SetId, first: Ipv4Addr, prefix: u8) {
        self.add(set, first.octets().to_vec(), Edge::Start);
        let behind = u64::from(u32::from(first)) + (1 << (32 - u32::from(prefix)));
        // Nothing is behind the last address.
        if let Ok(behind) = u32::try_from(behind) {
            self.add(set, behind.to_be_bytes().to_vec(), Edge::Behind);
        }
    }

    fn add(&mut self, set: SetId, key: Vec<u8>, edge: Edge) {
        let object = None;
        self.elements.insert((set, Element { key, edge, object }));
    }
}

impl Object {
    pub(in crate::networkmanager) fn kind(self) -> ObjectKind {
        match self {
            Self::Counter { .. } => ObjectKind::Counter,
            Self::Quota { .. } => ObjectKind::Quota,
        }
    }

    /// Bytes that it has seen.
    pub(in crate::networkmanager) fn bytes(self) -> u64 {
        match self {
            Self::Counter { bytes } => bytes,
            Self::Quota { used, .. } => used,
        }
    }

    /// The same, beginning with these bytes.
    pub(in crate::networkmanager) fn with_bytes(self, bytes: u64) -> Self {
        match self {
            Self::Counter { .. } => Self::Counter { bytes },
            Self::Quota { limit, .. } => Self::Quota { limit, used: bytes },
        }
    }
}

impl ObjectId {
    pub(in crate::networkmanager) fn new(kind: ObjectKind, name: String) -> Self {
        Self { kind, name }
    }

    /// The counter beside a quota.
    pub(in crate::networkmanager) fn counter(&self) -> Self {
        Self::new(ObjectKind::Counter, self.name.clone())
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ObjectKind::Counter => "counter",
            ObjectKind::Quota => "quota",
        };
        write!(f, "{kind} {}", self.name)
    }
}

/// One direction of a flow.
type Direction = fn(&mut Flow) -> &mut u64;

/// Whose traffic a counter of this name counts (`None`: the node's), and which
/// part of the flow it is.
pub(in crate::networkmanager) fn in_flow(name: &str) -> Option<(Option<InstanceId>, Direction)> {
    let (owner, part): (_, Direction) = match name.strip_prefix(IN) {
        Some(owner) => (owner, |flow| &mut flow.received),
        None => (name.strip_prefix(OUT)?, |flow| &mut flow.sent),
    };
    let instance = match owner {
        NODE => None,
        id => Some(id.parse().ok()?),
    };

    Some((instance, part))
}

/// A link's name as the kernel compares it.
fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn address6([first, second]: [u8; 2]) -> Vec<u8> {
    let mut bytes = vec![first, second];
    bytes.resize(16, 0);
    bytes
}

fn service(protocol: Protocol, port: u16) -> Vec<u8> {
    [padded(&[protocol.number()]), padded(&port.to_be_bytes())].concat()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
