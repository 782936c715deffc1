//! Operations as netlink requests, and netlink answers as values.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoData, InfoKind,
    InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use nix::errno::Errno;
use rtnetlink::{
    AddressMessageBuilder, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth,
    RouteMessageBuilder,
};
use uuid::Uuid;

use super::netlink::Request;
use super::uplink;
use crate::model::{InstanceId, NetworkId};
use crate::networkmanager::addresses::{InterfaceAddress, Mac};
use crate::networkmanager::existing::Link;
use crate::networkmanager::names;

/// The loopback link of every network namespace.
const LOOPBACK: u32 = 1;
/// The link of an instance as the instance sees it.
pub(super) const INSIDE: &str = "eth0";
/// Its index. Chosen by us, so that its address can be set in the batch that
/// creates it; high, so that none of the kernel's own links has it.
const INSIDE_INDEX: u32 = 100;

/// Makes a bridge with an address of its own: the kernel would give it that of
/// the lowest port, and change it as ports come and go.
pub(super) fn create_bridge(name: &str) -> Request {
    let mut mac: Mac = [0; 6];
    mac.copy_from_slice(&Uuid::new_v4().as_bytes()[..6]);
    // Unicast, locally administered, and none that instances have.
    mac[0] = 0x0a;

    let bridge = LinkBridge::new(name).address(mac.to_vec());
    Request::create(RouteNetlinkMessage::NewLink(bridge.build()))
}

/// Makes a bridge ours, forwarding and up.
pub(super) fn set_up_bridge(name: &str, network: &NetworkId, ipv6: bool) -> [Request; 2] {
    let mut ipv4 = InetDevConf::default();
    ipv4.forwarding = 1;
    let mut families = vec![AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(ipv4)])];
    families.extend(without_ipv6(ipv6));

    let ours = LinkUnspec::new_with_name(name)
        .alias(names::network_alias(network))
        .append_extra_attribute(LinkAttribute::AfSpecUnspec(families));
    let up = LinkUnspec::new_with_name(name).up();
    [set_link(ours), set_link(up)]
}

/// Gives a bridge an address.
pub(super) fn add_address(index: u32, address: InterfaceAddress) -> Request {
    Request {
        accept: Some(Errno::EEXIST as i32),
        ..Request::create(RouteNetlinkMessage::NewAddress(address_of(index, address)))
    }
}

/// Takes an address from a bridge.
pub(super) fn remove_address(index: u32, address: InterfaceAddress) -> Request {
    Request::delete(
        RouteNetlinkMessage::DelAddress(address_of(index, address)),
        Errno::EADDRNOTAVAIL as i32,
    )
}

/// Makes the veth pair, from inside the instance's namespace, and its loopback
/// link up.
pub(super) fn create_pair(host_end: &str, mac: Mac, host: RawFd) -> [Request; 2] {
    // The host's end gets one too: else other programs would choose it.
    let mut host_mac = mac;
    host_mac[0] = 0x06;
    let peer = LinkUnspec::new_with_name(host_end)
        .address(host_mac.to_vec())
        .setns_by_fd(host)
        .build();
    let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(INSIDE)
        .index(INSIDE_INDEX)
        .address(mac.to_vec())
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .up();

    [
        set_link(LinkUnspec::new_with_index(LOOPBACK).up()),
        Request::create(RouteNetlinkMessage::NewLink(pair.build())),
    ]
}

/// Gives the instance's link its address, and the default route.
pub(super) fn set_address(address: InterfaceAddress, gateway: Ipv4Addr) -> [Request; 2] {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .gateway(gateway)
        .build();

    [
        Request::create(RouteNetlinkMessage::NewAddress(address_of(
            INSIDE_INDEX,
            address,
        ))),
        Request::create(RouteNetlinkMessage::NewRoute(route)),
    ]
}

/// Makes the host's end of a pair a port of the bridge.
pub(super) fn join_bridge(
    instance: InstanceId,
    host_end: &str,
    bridge: u32,
    ipv6: bool,
) -> [Request; 2] {
    let mut port = LinkUnspec::new_with_name(host_end)
        .alias(names::instance_alias(instance))
        .controller(bridge);
    if let Some(family) = without_ipv6(ipv6) {
        port = port.append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![family]));
    }
    // The kernel takes a port's options only when it is one already.
    let options = LinkBridgePort::new(0).name(host_end).hairpin(true).up();

    [
        set_link(port),
        Request::change(RouteNetlinkMessage::NewLink(options.build())),
    ]
}

/// Makes the host's end of a pair nobody's.
pub(super) fn release_link(name: &str) -> Request {
    Request {
        accept: Some(Errno::ENODEV as i32),
        ..set_link(LinkUnspec::new_with_name(name).alias(names::RELEASED.to_owned()))
    }
}

/// Deletes links, in one go: the kernel waits for all its processors when it
/// deletes links, once for all links of a group.
pub(super) fn delete_links(names: &[String]) -> Vec<Request> {
    if let [name] = names {
        return vec![delete_link(name)];
    }

    // Random, so that no other link is in it, and never 0: that is the group of
    // all links that have none.
    let (_, group) = Uuid::new_v4().as_u64_pair();
    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits will do")]
    let group = group as u32 | 1 << 31;
    let absent = Some(Errno::ENODEV as i32);
    let mut requests: Vec<Request> = names
        .iter()
        .map(|name| Request {
            accept: absent,
            ..set_link(LinkUnspec::new_with_name(name).link_group(group))
        })
        .collect();
    requests.push(Request {
        accept: absent,
        ..Request::change(RouteNetlinkMessage::DelLink(
            LinkUnspec::new_with_index(0).link_group(group).build(),
        ))
    });

    requests
}

/// Deletes a link.
pub(super) fn delete_link(name: &str) -> Request {
    Request::delete(
        RouteNetlinkMessage::DelLink(LinkUnspec::new_with_name(name).build()),
        Errno::ENODEV as i32,
    )
}

/// Asks for one link.
pub(super) fn get_link(name: &str) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(LinkUnspec::new_with_name(name).build())
}

/// Asks for all links, without their statistics: they are most of the answer.
pub(super) fn get_links() -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));

    RouteNetlinkMessage::GetLink(message)
}

/// Asks for all IPv4 addresses.
pub(super) fn get_addresses() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessageBuilder::<Ipv4Addr>::new().build())
}

/// Name of a link, and the link without its addresses.
pub(super) fn read_link(message: LinkMessage) -> Option<(String, Link)> {
    let mut name = None;
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        vlan: uplink::read_vlan(&message),
        ..Link::default()
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text),
            LinkAttribute::IfAlias(text) => link.alias = text,
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::LinkInfo(infos) => {
                link.bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge));
            }
            LinkAttribute::AfSpecUnspec(families) => link.forwarding = forwards(&families),
            _ => {}
        }
    }

    Some((name?, link))
}

/// Index of a link, and its address.
pub(super) fn read_address(message: &AddressMessage) -> Option<(u32, InterfaceAddress)> {
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
            _ => None,
        })?;
    let prefix = message.header.prefix_len;

    Some((message.header.index, InterfaceAddress { address, prefix }))
}

/// The addresses of the link with this index.
pub(super) fn addresses_of(
    addresses: &[(u32, InterfaceAddress)],
    index: u32,
) -> BTreeSet<InterfaceAddress> {
    addresses
        .iter()
        .filter(|(owner, _)| *owner == index)
        .map(|(_, address)| *address)
        .collect()
}

fn forwards(families: &[AfSpecUnspec]) -> bool {
    families.iter().any(|family| match family {
        AfSpecUnspec::Inet(inet) => inet
            .iter()
            .any(|item| matches!(item, AfSpecInet::DevConf(conf) if conf.forwarding != 0)),
        _ => false,
    })
}

/// Keeps the kernel from making up IPv6 addresses, where it has IPv6 at all.
pub(super) fn without_ipv6(ipv6: bool) -> Option<AfSpecUnspec> {
    ipv6.then(|| AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]))
}

pub(super) fn set_link(link: LinkMessageBuilder<LinkUnspec>) -> Request {
    Request::change(RouteNetlinkMessage::SetLink(link.build()))
}

fn address_of(index: u32, address: InterfaceAddress) -> AddressMessage {
    AddressMessageBuilder::<Ipv4Addr>::new()
        .index(index)
        .address(address.address, address.prefix)
        .build()
}
