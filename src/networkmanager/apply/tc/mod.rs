//! Limits of rates: requests to the kernel's traffic control, and what it has.

mod bucket;
mod redirect;
mod survey;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use nix::errno::Errno;
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::messages;
use super::netlink::{Request, Rtnetlink};
use super::session::{Pending, Refusal, is_absent};
use crate::model::InstanceId;
use crate::networkmanager::bandwidth::{Act, Bucket, Port, Shape};
use crate::networkmanager::names;

const BUCKET: &str = "tbf";
const INGRESS_KIND: &str = "ingress";
/// What filters of incoming packets belong to.
const INGRESS: TcHandle = TcHandle {
    major: TcHandle::INGRESS.major,
    minor: 0,
};

/// Has a change of a limit wait, as operation `n`, to be sent. The kernel works on
/// all requests of a batch; what must not follow a refused one goes in the next.
pub(super) fn push(
    shape: &Shape,
    n: usize,
    pending: &mut Pending,
    host: &mut Rtnetlink,
    ipv6: bool,
) -> Result<(), Refusal> {
    let ifb = names::ifb(shape.instance);
    for act in shape.acts() {
        match act {
            Act::Unlimit(port) => {
                let link = name_of(port, shape, &ifb);
                if let Some(index) = present(pending.index_of(host, n, link))? {
                    pending.push(n, [unlimit(index)]);
                    pending.send(host)?;
                }
            }
            Act::Limit(port, bucket) => {
                let index = pending.index_of(host, n, name_of(port, shape, &ifb))?;
                pending.push(n, [limit(index, bucket)]);
            }
            Act::DeleteIfb => pending.push(n, [messages::delete_link(&ifb)]),
            Act::CreateIfb => pending.push(n, create_ifb(shape.instance, &ifb, ipv6)),
            Act::Unredirect => {
                if let Some(index) = present(pending.index_of(host, n, &shape.host_end))? {
                    pending.push(n, [unredirect(index)]);
                    pending.send(host)?;
                }
            }
            Act::Redirect => {
                let from = pending.index_of(host, n, &shape.host_end)?;
                let to = pending.index_of(host, n, &ifb)?;
                pending.push(n, redirect(from, to));
            }
        }
    }

    Ok(())
}

fn name_of<'a>(port: Port, shape: &'a Shape, ifb: &'a str) -> &'a str {
    match port {
        Port::HostEnd => &shape.host_end,
        Port::Ifb => ifb,
    }
}

/// The index of a link that may not be there.
fn present(index: Result<u32, Refusal>) -> Result<Option<u32>, Refusal> {
    match index {
        Ok(index) => Ok(Some(index)),
        Err((_, error)) if is_absent(&error) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Gives a link a bucket, or changes the one that it has.
fn limit(link: u32, bucket: Bucket) -> Request {
    let mut message = message(link, TcHandle::ROOT, BUCKET);
    message
        .attributes
        .push(TcAttribute::Options(bucket::write(bucket)));

    Request::replace(RouteNetlinkMessage::NewQueueDiscipline(message))
        .needs("token buckets (CONFIG_NET_SCH_TBF)")
}

/// Takes away what a link has instead of the kernel's own queue.
fn unlimit(link: u32) -> Request {
    let mut message = message(link, TcHandle::ROOT, "");
    message.attributes.clear();

    Request::delete(
        RouteNetlinkMessage::DelQueueDiscipline(message),
        Errno::ENOENT as i32,
    )
}

fn create_ifb(instance: InstanceId, name: &str, ipv6: bool) -> [Request; 3] {
    let ifb = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Ifb).name(name);
    let mut ours = LinkUnspec::new_with_name(name).alias(names::instance_alias(instance));
    if let Some(family) = messages::without_ipv6(ipv6) {
        ours = ours.append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![family]));
    }

    [
        Request::create(RouteNetlinkMessage::NewLink(ifb.build())).needs("ifb links (CONFIG_IFB)"),
        messages::set_link(ours),
        messages::set_link(LinkUnspec::new_with_name(name).up()),
    ]
}

/// Sends all that comes in at one link out at another.
fn redirect(from: u32, to: u32) -> [Request; 2] {
    let mut ingress = message(from, TcHandle::INGRESS, INGRESS_KIND);
    ingress.header.handle = INGRESS;

    [
        Request::create(RouteNetlinkMessage::NewQueueDiscipline(ingress))
            .needs("filters of incoming packets (CONFIG_NET_SCH_INGRESS)"),
        Request::create(RouteNetlinkMessage::NewTrafficFilter(redirect::write(
            from, to,
        )))
        .needs(
            "u32 filters with mirred actions (CONFIG_NET_CLS_U32, CONFIG_NET_CLS_ACT, \
             CONFIG_NET_ACT_MIRRED)",
        ),
    ]
}

fn unredirect(link: u32) -> Request {
    let mut message = message(link, TcHandle::INGRESS, "");
    message.attributes.clear();

    Request::delete(
        RouteNetlinkMessage::DelQueueDiscipline(message),
        Errno::ENOENT as i32,
    )
}

/// About something of this kind below `parent` at a link.
fn message(link: u32, parent: TcHandle, kind: &str) -> TcMessage {
    let mut message = TcMessage::with_index(link.cast_signed());
    message.header.parent = parent;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message
}
