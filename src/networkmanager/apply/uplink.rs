//! Towards other nodes and the outside: default routes, 802.1q links and
//! forwarding.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecUnspec, InetDevConf, InfoData, InfoVlan, LinkAttribute, LinkInfo,
    LinkMessage, VlanProtocol,
};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use nix::errno::Errno;
use rtnetlink::{LinkUnspec, LinkVlan, RouteMessageBuilder};

use super::messages::{set_link, without_ipv6};
use super::netlink::{Request, Rtnetlink};
use crate::model::NetworkId;
use crate::networkmanager::existing::Vlan;
use crate::networkmanager::names;

/// What is known of all links for forwarding, by their names.
const SETTINGS: &str = "/proc/sys/net/ipv4/conf";

/// Makes an 802.1q link of the link with index `lower`.
pub(super) fn create_vlan(name: &str, lower: u32, id: u16) -> Request {
    Request::create(RouteNetlinkMessage::NewLink(
        LinkVlan::new(name, lower, id).build(),
    ))
}

/// Makes an 802.1q link ours, a port of the bridge, and up.
pub(super) fn set_up_vlan(
    name: &str,
    network: &NetworkId,
    bridge: u32,
    ipv6: bool,
) -> [Request; 2] {
    let mut ours = LinkUnspec::new_with_name(name)
        .alias(names::vlan_alias(network))
        .controller(bridge);
    if let Some(family) = without_ipv6(ipv6) {
        ours = ours.append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![family]));
    }

    [
        set_link(ours),
        set_link(LinkUnspec::new_with_name(name).up()),
    ]
}

/// Switches on forwarding of IPv4 packets that come in by a link.
///
/// The file does more than the request: it also has the interface stop putting
/// packets together that could then not be forwarded. But it may be read-only,
/// as in a container. To be called in the network namespace of the socket.
pub(super) fn enable_forwarding(socket: &mut Rtnetlink, name: &str) -> io::Result<()> {
    let file: PathBuf = [SETTINGS, name, "forwarding"].iter().collect();
    if fs::write(file, "1").is_ok() {
        return Ok(());
    }

    let mut ipv4 = InetDevConf::default();
    ipv4.forwarding = 1;
    let families = vec![AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(ipv4)])];
    let request = set_link(
        LinkUnspec::new_with_name(name)
            .append_extra_attribute(LinkAttribute::AfSpecUnspec(families)),
    );
    socket.execute(vec![request]).map_err(|(_, error)| error)
}

/// Asks for all IPv4 routes.
pub(super) fn get_routes() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetRoute(RouteMessageBuilder::<Ipv4Addr>::new().build())
}

/// Indices of the links of default routes, that with the lowest metric first.
pub(super) fn uplinks(routes: &[RouteNetlinkMessage]) -> Vec<u32> {
    let mut found: Vec<(u32, u32)> = routes
        .iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewRoute(route) => Some(route),
            _ => None,
        })
        .filter(|route| is_default(route))
        .flat_map(|route| {
            let metric = metric(route);
            links(route).map(move |link| (metric, link))
        })
        .collect();
    // Of the same metric, that which the kernel names first.
    found.sort_by_key(|(metric, _)| *metric);

    found.into_iter().map(|(_, link)| link).collect()
}

/// What an 802.1q link is; `None` for other links.
pub(super) fn read_vlan(message: &LinkMessage) -> Option<Vlan> {
    let mut id = None;
    let mut is_8021q = true;
    // 0: in another network namespace.
    let mut lower = 0;
    let mut is_here = true;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Link(index) => lower = *index,
            LinkAttribute::LinkNetNsId(_) => is_here = false,
            LinkAttribute::LinkInfo(infos) => {
                let data = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
                    _ => None,
                });
                for item in data.into_iter().flatten() {
                    match item {
                        InfoVlan::Id(number) => id = Some(*number),
                        InfoVlan::Protocol(protocol) => {
                            is_8021q = *protocol == VlanProtocol::Ieee8021Q;
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    id.filter(|_| is_8021q).map(|id| Vlan {
        id,
        lower: if is_here { lower } else { 0 },
    })
}

/// Whether the kernel says that it has no 802.1q, or not on this interface.
pub(in crate::networkmanager) fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32)
}

fn is_default(route: &RouteMessage) -> bool {
    let header = &route.header;
    let table = route.attributes.iter().find_map(|item| match item {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    header.destination_prefix_length == 0
        && header.tos == 0
        && header.kind == RouteType::Unicast
        && table.unwrap_or(header.table.into()) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

fn metric(route: &RouteMessage) -> u32 {
    route
        .attributes
        .iter()
        .find_map(|item| match item {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        })
        .unwrap_or_default()
}

fn links(route: &RouteMessage) -> impl Iterator<Item = u32> {
    route.attributes.iter().flat_map(|item| match item {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteNextHop;

    use super::*;

    fn route(metric: Option<u32>, link: u32) -> RouteMessage {
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
            .output_interface(link)
            .build();
        route
            .attributes
            .extend(metric.map(RouteAttribute::Priority));
        route
    }

    fn found(routes: Vec<RouteMessage>) -> Vec<u32> {
        let routes: Vec<_> = routes
            .into_iter()
            .map(RouteNetlinkMessage::NewRoute)
            .collect();
        uplinks(&routes)
    }

    #[test]
    fn lowest_metric_comes_first() {
        let routes = vec![route(Some(600), 3), route(Some(100), 2), route(None, 4)];

        assert_eq!(found(routes), [4, 2, 3]);
    }

    #[test]
    fn all_links_of_a_route_over_several_count() {
        let mut several = route(None, 0);
        several.attributes = vec![RouteAttribute::MultiPath(
            [5, 6]
                .map(|index| {
                    let mut hop = RouteNextHop::default();
                    hop.interface_index = index;
                    hop
                })
                .into(),
        )];

        assert_eq!(found(vec![several]), [5, 6]);
    }

    #[test]
    fn other_routes_do_not_count() {
        let mut subnet = route(None, 1);
        subnet.header.destination_prefix_length = 8;
        let mut refusing = route(None, 2);
        refusing.header.kind = RouteType::Unreachable;
        let mut other_table = route(None, 3);
        other_table.header.table = 100;
        let mut high_table = route(None, 4);
        high_table.attributes.push(RouteAttribute::Table(1000));
        let mut for_a_service = route(None, 5);
        for_a_service.header.tos = 16;

        let routes = vec![subnet, refusing, other_table, high_table, for_a_service];

        assert_eq!(found(routes), Vec::<u32>::new());
    }
}
