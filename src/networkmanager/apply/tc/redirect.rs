//! The filter that sends all that comes in at one link out at another.
//!
//! It is a `u32` filter: any kernel that the earlier releases could limit uploads
//! with has it, since they used it too, and newer kinds, such as `matchall`, are
//! often left out of kernels for devices.

use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption,
    TcActionType, TcAttribute, TcFilterU32, TcFilterU32Option, TcMessage, TcMirror,
    TcMirrorActionType, TcOption, TcU32Key, TcU32Selector, TcU32SelectorFlags,
};

use super::{INGRESS, message};

/// All kinds of packets.
const ETH_P_ALL: u16 = 0x0003;
/// The first filter that is asked.
const PRIORITY: u32 = 1;

/// The filter from one link to another.
pub(super) fn write(from: u32, to: u32) -> TcMessage {
    let mut redirect = TcMirror::default();
    redirect.generic.action = TcActionType::Stolen;
    redirect.eaction = TcMirrorActionType::EgressRedir;
    redirect.ifindex = to;
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.into()),
        TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(
            redirect,
        ))]),
    ];

    let mut filter = message(from, INGRESS, TcFilterU32::KIND);
    filter.header.info = info();
    filter.attributes.push(TcAttribute::Options(vec![
        TcOption::U32(TcFilterU32Option::Selector(everything())),
        TcOption::U32(TcFilterU32Option::Action(vec![action])),
    ]));
    filter
}

/// Asks for all filters of a link.
pub(super) fn list(link: u32) -> TcMessage {
    let mut filters = message(link, INGRESS, "");
    filters.attributes.clear();
    filters
}

/// The link to which a filter sends all packets. The outer `None`: it is no
/// filter but what kernels hang filters in; the inner one: it is not ours.
pub(super) fn read(filter: &TcMessage) -> Option<Option<u32>> {
    let mut options = None;
    for attribute in &filter.attributes {
        match attribute {
            TcAttribute::Kind(kind) if kind != TcFilterU32::KIND => return Some(None),
            TcAttribute::Options(list) => options = Some(list),
            _ => {}
        }
    }

    let mut selector = None;
    let mut actions: &[TcAction] = &[];
    for option in options? {
        match option {
            TcOption::U32(TcFilterU32Option::Selector(found)) => selector = Some(found),
            TcOption::U32(TcFilterU32Option::Action(found)) => actions = found,
            _ => {}
        }
    }
    let all = *selector? == everything() && filter.header.info == info();
    let [action] = actions else {
        return Some(None);
    };
    Some(target(action).filter(|_| all))
}

/// The link to which an action sends packets.
fn target(action: &TcAction) -> Option<u32> {
    let options = action.attributes.iter().find_map(|attribute| {
        if let TcActionAttribute::Options(options) = attribute {
            Some(options)
        } else {
            None
        }
    })?;

    options.iter().find_map(|option| match option {
        TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))
            if mirror.eaction == TcMirrorActionType::EgressRedir =>
        {
            Some(mirror.ifindex)
        }
        _ => None,
    })
}

/// Matches every packet: nothing of its first word counts.
fn everything() -> TcU32Selector {
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.nkeys = 1;
    selector.keys = vec![TcU32Key::default()];
    selector
}

/// Priority and kind of packets. The latter is in network byte order.
fn info() -> u32 {
    PRIORITY << 16 | u32::from(ETH_P_ALL.to_be())
}
