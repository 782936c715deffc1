//! The limits that the kernel has.

use std::collections::BTreeMap;
use std::io;
use std::slice::from_ref;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use tracing::info;

use super::{BUCKET, INGRESS_KIND, bucket, redirect};
use crate::model::InstanceId;
use crate::networkmanager::apply::netlink::Rtnetlink;
use crate::networkmanager::apply::{Kernel, messages};
use crate::networkmanager::bandwidth::{self, End, Found, Root, Shaping};
use crate::networkmanager::error::NetworkError;
use crate::networkmanager::names;
use crate::networkmanager::plan::{Operation, Seat};

impl Kernel {
    /// Checks that running instances have their seats, and mends their limits where
    /// they are not those of the seat. One outcome for each; the host is looked at
    /// once for all.
    pub(in crate::networkmanager) fn adopt(&self, seats: &[Seat]) -> Vec<Result<(), NetworkError>> {
        let host_ends: Vec<_> = seats
            .iter()
            .map(|seat| (seat.instance, seat.host_end.as_str()))
            .collect();
        let look = || Ok((self.survey()?.links, self.shaping(&host_ends)?));
        let (links, found) = match look() {
            Ok(seen) => seen,
            Err(error) if seats.len() == 1 => return vec![Err(error)],
            // Each gets the reason.
            Err(_) => {
                return seats
                    .iter()
                    .flat_map(|seat| self.adopt(from_ref(seat)))
                    .collect();
            }
        };

        let adopt = |seat: &Seat| {
            self.check(seat, &links)?;
            match found.get(&seat.instance) {
                Some(found) => self.reshape(seat, *found),
                None => Ok(()),
            }
        };
        seats.iter().map(adopt).collect()
    }

    /// Gives an attached instance, which has the limits `old`, those of its seat.
    /// On an error it has those that it had before.
    pub(in crate::networkmanager) fn reshape(
        &self,
        seat: &Seat,
        old: impl Into<Shaping>,
    ) -> Result<(), NetworkError> {
        let changes = bandwidth::shape(seat.instance, &seat.host_end, old, seat.speeds);
        for change in &changes {
            info!(instance_id = %seat.instance, "{change}");
        }
        let operations: Vec<Operation> = changes.into_iter().map(Operation::Shape).collect();

        self.apply(&operations)
    }

    /// The limits of instances, named with their host ends. Those whose host end
    /// is not there are left out.
    ///
    /// The kernel lists links and queues all at once, filters for one link at a
    /// time: they are asked for only where there can be some.
    pub(in crate::networkmanager) fn shaping(
        &self,
        host_ends: &[(InstanceId, &str)],
    ) -> Result<BTreeMap<InstanceId, Shaping>, NetworkError> {
        let list = || {
            let mut host = self.host()?;
            let mut ends = ends(&mut host)?;
            add_queues(&mut host, &mut ends)?;

            let mut shaping = BTreeMap::new();
            for &(instance, host_end) in host_ends {
                let Some(mut host_end) = ends.remove(host_end) else {
                    continue;
                };
                if host_end.ingress {
                    host_end.filters.extend(filters(&mut host, host_end.index)?);
                }
                let ifb = ends.remove(&names::ifb(instance));
                shaping.insert(instance, Found { host_end, ifb }.shaping());
            }
            Ok(shaping)
        };

        list().map_err(NetworkError::Survey)
    }
}

/// All links, by name.
fn ends(host: &mut Rtnetlink) -> io::Result<BTreeMap<String, End>> {
    let list = host.dump(&messages::get_links())?;

    Ok(list
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(message) => messages::read_link(message),
            _ => None,
        })
        .map(|(name, link)| {
            let end = End {
                index: link.index,
                up: link.up,
                ..End::default()
            };
            (name, end)
        })
        .collect())
}

fn add_queues(host: &mut Rtnetlink, ends: &mut BTreeMap<String, End>) -> io::Result<()> {
    let mut by_index: BTreeMap<u32, &mut End> =
        ends.values_mut().map(|end| (end.index, end)).collect();
    let all = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    for message in host.dump(&all)? {
        if let RouteNetlinkMessage::NewQueueDiscipline(queue) = message
            && let Some(end) = by_index.get_mut(&queue.header.index.cast_unsigned())
        {
            add_queue(&queue, end);
        }
    }

    Ok(())
}

fn add_queue(queue: &TcMessage, end: &mut End) {
    let mut kind = "";
    let mut options = None;
    for attribute in &queue.attributes {
        match attribute {
            TcAttribute::Kind(name) => kind = name,
            TcAttribute::Options(list) => options = Some(list),
            _ => {}
        }
    }

    if queue.header.parent == TcHandle::INGRESS {
        // `clsact` is there too, of somebody else.
        end.ingress = true;
        if kind != INGRESS_KIND {
            end.filters.push(None);
        }
    } else if queue.header.parent == TcHandle::ROOT && queue.header.handle.major != 0 {
        let rate = options
            .filter(|_| kind == BUCKET)
            .and_then(|options| bucket::read(options));
        end.root = rate.map_or(Root::Other, Root::Bucket);
    }
}

fn filters(host: &mut Rtnetlink, link: u32) -> io::Result<Vec<Option<u32>>> {
    let all = RouteNetlinkMessage::GetTrafficFilter(redirect::list(link));
    let list = host.dump(&all)?;

    Ok(list
        .iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewTrafficFilter(filter) => redirect::read(filter),
            _ => None,
        })
        .collect())
}
