//! Operations on the kernel as values, each with its undo.
//!
//! A plan is a list of operations. [`carry_out`] performs them in order, those
//! for one place together, and when one fails it undoes all that came before.
//! An operation that takes something away has no undo and takes "not there" for
//! an answer, so undoing may name things that were never made.

use std::fmt;
use std::net::Ipv4Addr;

use super::addresses::{InterfaceAddress, Mac};
use super::bandwidth::{self, Shape, Shaping};
pub(super) use super::seat::Seat;
use crate::model::{InstanceId, NetworkId};

/// One change of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Makes a bridge, up and forwarding, that carries the network's alias.
    CreateBridge { bridge: String, network: NetworkId },
    /// Makes an existing bridge up, forwarding and ours.
    RepairBridge { bridge: String, network: NetworkId },
    /// Gives a bridge an address.
    AddAddress {
        bridge: String,
        address: InterfaceAddress,
    },
    /// Takes an address from a bridge.
    RemoveAddress {
        bridge: String,
        address: InterfaceAddress,
    },
    /// Makes a network namespace with a name in the file system.
    CreateNamespace { instance: InstanceId },
    /// Makes a veth pair: `eth0` in the namespace, the other end at the host.
    CreatePair {
        instance: InstanceId,
        host_end: String,
        mac: Mac,
    },
    /// Gives `eth0` its address and the namespace its default route.
    SetAddress {
        instance: InstanceId,
        address: InterfaceAddress,
        gateway: Ipv4Addr,
    },
    /// Changes a limit of an instance's rates.
    Shape(Shape),
    /// Makes the host's end a port of the bridge, up, in hairpin mode.
    JoinBridge {
        instance: InstanceId,
        host_end: String,
        bridge: String,
    },
    /// Makes an 802.1q link of the uplink a port of the bridge, up.
    CreateVlan {
        vlan: String,
        network: NetworkId,
        bridge: String,
        uplink: String,
        id: u16,
    },
    /// Makes an existing 802.1q link ours, a port of the bridge, and up.
    RepairVlan {
        vlan: String,
        network: NetworkId,
        bridge: String,
    },
    /// Deletes an 802.1q link.
    DeleteVlan { vlan: String },
    /// Has IPv4 packets forwarded that come in by a link. It stays so: others
    /// may need it by then.
    EnableForwarding { link: String },
    /// Makes the host's end of a veth pair nobody's. The kernel deletes the pair
    /// with the namespace of the other end.
    ReleasePair {
        instance: InstanceId,
        host_end: String,
    },
    /// Deletes the link that limits the upload of an instance, if it has one.
    DeleteIfb { instance: InstanceId },
    /// Deletes a bridge.
    DeleteBridge { bridge: String },
    /// Takes the name of a network namespace away. The kernel deletes the
    /// namespace when nothing uses it any more.
    DeleteNamespace { instance: InstanceId },
}

/// Where an operation works. Operations for one place go there together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// SM's own network namespace.
    Host,
    /// The network namespace of an instance.
    Inside(InstanceId),
    /// The name of an instance's namespace.
    Namespaces(InstanceId),
}

impl Operation {
    /// Where it works.
    pub(super) fn place(&self) -> Place {
        match self {
            Self::CreateBridge { .. }
            | Self::RepairBridge { .. }
            | Self::AddAddress { .. }
            | Self::RemoveAddress { .. }
            | Self::Shape(_)
            | Self::JoinBridge { .. }
            | Self::CreateVlan { .. }
            | Self::RepairVlan { .. }
            | Self::DeleteVlan { .. }
            | Self::EnableForwarding { .. }
            | Self::ReleasePair { .. }
            | Self::DeleteIfb { .. }
            | Self::DeleteBridge { .. } => Place::Host,
            Self::CreatePair { instance, .. } | Self::SetAddress { instance, .. } => {
                Place::Inside(*instance)
            }
            Self::CreateNamespace { instance } | Self::DeleteNamespace { instance } => {
                Place::Namespaces(*instance)
            }
        }
    }

    /// What takes it back. `None`: nothing to take back, or it goes with what
    /// an earlier operation made.
    pub(super) fn undo(&self) -> Option<Self> {
        match self {
            Self::CreateBridge { bridge, .. } => Some(Self::DeleteBridge {
                bridge: bridge.clone(),
            }),
            Self::AddAddress { bridge, address } => Some(Self::RemoveAddress {
                bridge: bridge.clone(),
                address: *address,
            }),
            Self::RemoveAddress { bridge, address } => Some(Self::AddAddress {
                bridge: bridge.clone(),
                address: *address,
            }),
            Self::CreateVlan { vlan, .. } => Some(Self::DeleteVlan { vlan: vlan.clone() }),
            Self::CreateNamespace { instance } => Some(Self::DeleteNamespace {
                instance: *instance,
            }),
            Self::Shape(shape) => Some(Self::Shape(shape.undo())),
            // The pair goes with the namespace.
            Self::CreatePair { .. }
            | Self::RepairBridge { .. }
            | Self::SetAddress { .. }
            | Self::JoinBridge { .. }
            | Self::RepairVlan { .. }
            | Self::DeleteVlan { .. }
            | Self::EnableForwarding { .. }
            | Self::ReleasePair { .. }
            | Self::DeleteIfb { .. }
            | Self::DeleteBridge { .. }
            | Self::DeleteNamespace { .. } => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateBridge { bridge, network } => {
                write!(f, "create bridge {bridge} of network {network}")
            }
            Self::RepairBridge { bridge, network } => {
                write!(f, "repair bridge {bridge} of network {network}")
            }
            Self::AddAddress { bridge, address } => {
                write!(f, "give address {address} to bridge {bridge}")
            }
            Self::RemoveAddress { bridge, address } => {
                write!(f, "take address {address} from bridge {bridge}")
            }
            Self::CreateNamespace { instance } => {
                write!(f, "create network namespace of instance {instance}")
            }
            Self::CreatePair { instance, .. } => {
                write!(f, "create network link of instance {instance}")
            }
            Self::SetAddress {
                instance, address, ..
            } => write!(f, "give address {address} to instance {instance}"),
            Self::Shape(shape) => shape.fmt(f),
            Self::JoinBridge {
                instance, bridge, ..
            } => write!(f, "connect instance {instance} to bridge {bridge}"),
            Self::CreateVlan {
                vlan,
                network,
                uplink,
                id,
                ..
            } => write!(
                f,
                "create VLAN link {vlan} of network {network}, id {id} on {uplink}"
            ),
            Self::RepairVlan { vlan, network, .. } => {
                write!(f, "repair VLAN link {vlan} of network {network}")
            }
            Self::DeleteVlan { vlan } => write!(f, "delete VLAN link {vlan}"),
            Self::EnableForwarding { link } => {
                write!(f, "switch on IPv4 forwarding of {link}")
            }
            Self::ReleasePair { instance, .. } => {
                write!(f, "release network link of instance {instance}")
            }
            Self::DeleteIfb { instance } => {
                write!(f, "delete upload limit of instance {instance}")
            }
            Self::DeleteBridge { bridge } => write!(f, "delete bridge {bridge}"),
            Self::DeleteNamespace { instance } => {
                write!(f, "delete network namespace of instance {instance}")
            }
        }
    }
}

/// Makes all of an instance's seat but the connection to the bridge.
pub(super) fn prepare(seat: &Seat) -> Vec<Operation> {
    let instance = seat.instance;

    let mut operations = vec![
        Operation::CreateNamespace { instance },
        Operation::CreatePair {
            instance,
            host_end: seat.host_end.clone(),
            mac: super::addresses::instance_mac(seat.address.address),
        },
        Operation::SetAddress {
            instance,
            address: seat.address,
            gateway: seat.gateway,
        },
    ];
    let limits = bandwidth::shape(instance, &seat.host_end, Shaping::default(), seat.speeds);
    operations.extend(limits.into_iter().map(Operation::Shape));
    operations
}

/// Connects an instance, whose seat is prepared, to its network.
pub(super) fn connect(seat: &Seat) -> Operation {
    Operation::JoinBridge {
        instance: seat.instance,
        host_end: seat.host_end.clone(),
        bridge: seat.bridge.clone(),
    }
}

/// All of a seat, in one plan.
#[cfg(test)]
pub(super) fn attach(seat: &Seat) -> Vec<Operation> {
    let mut operations = detach(seat.instance, None);
    operations.extend(prepare(seat));
    operations.push(connect(seat));
    operations
}

/// Takes from an instance all that [`prepare`] and [`connect`] gave it. Its host
/// end is not named when nobody knows of one.
///
/// The pair goes with the namespace, but only a while later, as the kernel takes
/// its time for both. Nobody waits for that.
pub(super) fn detach(instance: InstanceId, host_end: Option<&str>) -> Vec<Operation> {
    let release = host_end.map(|host_end| Operation::ReleasePair {
        instance,
        host_end: host_end.to_owned(),
    });

    release
        .into_iter()
        .chain([
            Operation::DeleteIfb { instance },
            Operation::DeleteNamespace { instance },
        ])
        .collect()
}

/// A plan failed.
#[derive(Debug)]
pub(super) struct Failure<E> {
    /// Why.
    pub(super) cause: E,
    /// Why something of it could not be undone.
    pub(super) left: Vec<E>,
}

/// Performs a plan, batch by batch. When a batch fails, all that was done is
/// undone, in reverse; of the failed batch anything may have been done.
pub(super) fn carry_out<E>(
    plan: &[Operation],
    mut perform: impl FnMut(&[Operation]) -> Result<(), E>,
) -> Result<(), Failure<E>> {
    let mut begun = 0;
    for batch in plan.chunk_by(|a, b| a.place() == b.place()) {
        begun += batch.len();
        if let Err(cause) = perform(batch) {
            let left = plan[..begun]
                .iter()
                .rev()
                .filter_map(Operation::undo)
                .filter_map(|undo| perform(&[undo]).err())
                .collect();
            return Err(Failure { cause, left });
        }
    }

    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat() -> Seat {
        Seat {
            instance: InstanceId::from_u128(1),
            network: "provider".into(),
            bridge: "br-provider".into(),
            host_end: "veth1".into(),
            address: InterfaceAddress {
                address: Ipv4Addr::new(10, 1, 0, 2),
                prefix: 24,
            },
            gateway: Ipv4Addr::new(10, 1, 0, 1),
            speeds: crate::networkmanager::Speeds::default(),
        }
    }

    /// What is performed when the n-th batch fails.
    fn performed(plan: &[Operation], failing: usize) -> Vec<Vec<String>> {
        let mut batches = Vec::new();
        drop(carry_out(plan, |batch| {
            batches.push(batch.iter().map(Operation::to_string).collect());
            if batches.len() == failing {
                Err("no luck")
            } else {
                Ok(())
            }
        }));
        batches
    }

    #[test]
    fn preparing_takes_one_batch_for_each_place() {
        let batches = performed(&prepare(&seat()), usize::MAX);

        let sizes: Vec<usize> = batches.iter().map(Vec::len).collect();
        // The namespace's name, its inside.
        assert_eq!(sizes, [1, 2]);
    }

    #[test]
    fn failed_plan_is_undone_in_reverse() {
        let bridge = "br-provider".to_owned();
        let address = seat().address;
        let mut plan = vec![
            Operation::CreateBridge {
                bridge: bridge.clone(),
                network: seat().network,
            },
            Operation::AddAddress { bridge, address },
        ];
        plan.extend(prepare(&seat()));

        let batches = performed(&plan, 3);

        assert_eq!(
            batches[3..],
            [
                [format!(
                    "delete network namespace of instance {}",
                    seat().instance
                )],
                ["take address 10.1.0.2/24 from bridge br-provider".to_owned()],
                ["delete bridge br-provider".to_owned()],
            ]
        );
    }

    #[test]
    fn what_cannot_be_undone_is_reported() {
        let mut calls = 0;

        let failure = carry_out(&prepare(&seat()), |_| {
            calls += 1;
            if calls < 2 { Ok(()) } else { Err(calls) }
        })
        .unwrap_err();

        assert_eq!(failure.cause, 2);
        assert_eq!(failure.left, [3]);
    }
}
