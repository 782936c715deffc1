//! Batches of operations, each sent to its place.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;

use super::netlink::{Request, Rtnetlink};
use super::{Kernel, messages, netns, tc, uplink};
use crate::model::InstanceId;
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::existing::Link;
use crate::networkmanager::names;
use crate::networkmanager::plan::{Operation, Place};

/// Which operation of a batch failed, and why.
pub(super) type Refusal = (usize, io::Error);

/// Sockets that stay open from one batch of a plan to the next.
pub(super) struct Session<'a> {
    kernel: &'a Kernel,
    host: Option<Rtnetlink>,
    inside: Option<(InstanceId, Rtnetlink)>,
}

impl<'a> Session<'a> {
    pub(super) fn new(kernel: &'a Kernel) -> Self {
        Self {
            kernel,
            host: None,
            inside: None,
        }
    }

    /// Performs operations for one place.
    pub(super) fn perform(&mut self, batch: &[Operation]) -> Result<(), NetworkError> {
        let Some(first) = batch.first() else {
            return Ok(());
        };
        let outcome = match first.place() {
            Place::Host => self.at_host(batch),
            Place::Inside(instance) => self.inside(instance, batch),
            Place::Namespaces(instance) => {
                batch.iter().enumerate().try_for_each(|(n, operation)| {
                    self.name(instance, operation).map_err(|error| (n, error))
                })
            }
        };

        outcome.map_err(|(n, source)| NetworkError::Operation {
            operation: batch.get(n).unwrap_or(first).to_string(),
            source,
        })
    }

    /// Performs all operations, also after one that failed, and returns the
    /// first error.
    pub(super) fn perform_each(&mut self, operations: &[Operation]) -> Result<(), NetworkError> {
        let mut outcome = Ok(());
        for operation in operations {
            let result = self.perform(std::slice::from_ref(operation));
            outcome = outcome.and(result);
        }

        outcome
    }

    fn at_host(&mut self, batch: &[Operation]) -> Result<(), Refusal> {
        let ipv6 = self.kernel.ipv6;
        let mut host = match self.host.take() {
            Some(host) => host,
            None => self.kernel.host().map_err(|error| (0, error))?,
        };

        let mut pending = Pending::default();
        let mut ifbs = Vec::new();
        for (n, operation) in batch.iter().enumerate() {
            match operation {
                Operation::CreateBridge { bridge, network } => {
                    pending.push(n, [messages::create_bridge(bridge)]);
                    pending.push(n, messages::set_up_bridge(bridge, network, ipv6));
                }
                Operation::RepairBridge { bridge, network } => {
                    pending.push(n, messages::set_up_bridge(bridge, network, ipv6));
                }
                Operation::DeleteBridge { bridge } => {
                    pending.push(n, [messages::delete_link(bridge)]);
                }
                Operation::ReleasePair { instance, host_end } => {
                    pending.push(n, [self.release(*instance, host_end)]);
                }
                Operation::DeleteIfb { instance } => {
                    ifbs.push(names::ifb(*instance));
                    // The last of a batch deletes them all.
                    let more = batch.iter().skip(n + 1);
                    if !more
                        .clone()
                        .any(|other| matches!(other, Operation::DeleteIfb { .. }))
                    {
                        pending.push(n, messages::delete_links(&std::mem::take(&mut ifbs)));
                    }
                }
                // These name the bridge by its index, which it has by now or
                // gets from an operation before them.
                Operation::AddAddress { bridge, address } => {
                    let index = pending.index_of(&mut host, n, bridge)?;
                    pending.push(n, [messages::add_address(index, *address)]);
                }
                Operation::RemoveAddress { bridge, address } => {
                    match pending.index_of(&mut host, n, bridge) {
                        Ok(index) => pending.push(n, [messages::remove_address(index, *address)]),
                        Err((_, error)) if is_absent(&error) => {}
                        Err(refusal) => return Err(refusal),
                    }
                }
                Operation::CreateVlan {
                    vlan,
                    network,
                    bridge,
                    uplink: lower,
                    id,
                } => {
                    let bridge = pending.index_of(&mut host, n, bridge)?;
                    let lower = pending.index_of(&mut host, n, lower)?;
                    pending.push(n, [uplink::create_vlan(vlan, lower, *id)]);
                    // Else another link of that name would become ours.
                    pending.send(&mut host)?;
                    pending.push(n, uplink::set_up_vlan(vlan, network, bridge, ipv6));
                }
                Operation::RepairVlan {
                    vlan,
                    network,
                    bridge,
                } => {
                    let bridge = pending.index_of(&mut host, n, bridge)?;
                    pending.push(n, uplink::set_up_vlan(vlan, network, bridge, ipv6));
                }
                Operation::DeleteVlan { vlan } => {
                    pending.push(n, [messages::delete_link(vlan)]);
                }
                Operation::EnableForwarding { link } => {
                    pending.send(&mut host)?;
                    netns::run_in(self.kernel.host.as_fd(), || {
                        uplink::enable_forwarding(&mut host, link)
                    })
                    .map_err(|error| (n, error))?;
                }
                Operation::Shape(shape) => tc::push(shape, n, &mut pending, &mut host, ipv6)?,
                Operation::JoinBridge {
                    instance,
                    host_end,
                    bridge,
                } => {
                    let index = pending.index_of(&mut host, n, bridge)?;
                    pending.push(n, messages::join_bridge(*instance, host_end, index, ipv6));
                }
                Operation::CreatePair { .. }
                | Operation::SetAddress { .. }
                | Operation::CreateNamespace { .. }
                | Operation::DeleteNamespace { .. } => {
                    unreachable!("an operation for another place")
                }
            }
        }
        pending.send(&mut host)?;

        self.host = Some(host);
        Ok(())
    }

    /// A pair whose namespace has lost its name, but is in use, would stay.
    fn release(&self, instance: InstanceId, host_end: &str) -> Request {
        match netns::open(&self.kernel.namespace(instance)) {
            Ok(Some(_)) => messages::release_link(host_end),
            Ok(None) | Err(_) => messages::delete_link(host_end),
        }
    }

    fn inside(&mut self, instance: InstanceId, batch: &[Operation]) -> Result<(), Refusal> {
        let host = self.kernel.host.as_raw_fd();
        let mut pending = Pending::default();
        for (n, operation) in batch.iter().enumerate() {
            match operation {
                Operation::CreatePair { host_end, mac, .. } => {
                    pending.push(n, messages::create_pair(host_end, *mac, host));
                }
                Operation::SetAddress {
                    address, gateway, ..
                } => pending.push(n, messages::set_address(*address, *gateway)),
                _ => unreachable!("an operation for another place"),
            }
        }

        let mut socket = match self.inside.take() {
            Some((inside, socket)) if inside == instance => socket,
            _ => self.enter(instance).map_err(|error| (0, error))?,
        };
        pending.send(&mut socket)?;
        self.inside = Some((instance, socket));
        Ok(())
    }

    fn enter(&self, instance: InstanceId) -> io::Result<Rtnetlink> {
        let namespace = netns::open(&self.kernel.namespace(instance))?
            .ok_or_else(|| io::Error::from(Errno::ENOENT))?;
        netns::run_in(namespace.as_fd(), Rtnetlink::open)
    }

    fn name(&mut self, instance: InstanceId, operation: &Operation) -> io::Result<()> {
        let name = self.kernel.namespace(instance);
        // A socket inside would keep the namespace alive.
        self.inside = None;
        if let Operation::CreateNamespace { .. } = operation {
            let socket = netns::create(&name, Rtnetlink::open)?;
            self.inside = Some((instance, socket));
            Ok(())
        } else {
            netns::delete(&name)
        }
    }
}

/// Requests that wait to be sent together, each with its operation's place in
/// the batch.
#[derive(Default)]
pub(super) struct Pending {
    requests: Vec<Request>,
    operations: Vec<usize>,
}

impl Pending {
    pub(super) fn push(&mut self, operation: usize, requests: impl IntoIterator<Item = Request>) {
        self.requests.extend(requests);
        self.operations.resize(self.requests.len(), operation);
    }

    pub(super) fn send(&mut self, socket: &mut Rtnetlink) -> Result<(), Refusal> {
        if self.requests.is_empty() {
            return Ok(());
        }

        let operations = std::mem::take(&mut self.operations);
        socket
            .execute(std::mem::take(&mut self.requests))
            .map_err(|(n, error)| (operations.get(n).copied().unwrap_or_default(), error))
    }

    /// Index of a link, when all that waits has been done.
    pub(super) fn index_of(
        &mut self,
        socket: &mut Rtnetlink,
        operation: usize,
        link: &str,
    ) -> Result<u32, Refusal> {
        self.send(socket)?;

        match find(socket, link) {
            Ok(Some(link)) => Ok(link.index),
            Ok(None) => Err((operation, Errno::ENODEV.into())),
            Err(error) => Err((operation, error)),
        }
    }
}

/// The link with this name, without its addresses.
fn find(socket: &mut Rtnetlink, name: &str) -> io::Result<Option<Link>> {
    match socket.get(messages::get_link(name)) {
        Ok(RouteNetlinkMessage::NewLink(message)) => {
            Ok(messages::read_link(message).map(|(_, link)| link))
        }
        Ok(_) => Ok(None),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENODEV as i32)
}
