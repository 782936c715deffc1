mod names;
mod others;
mod wire;

use std::collections::BTreeSet;
use std::time::Duration;

use aos_names::{InstanceNames, NetworkNames};
use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::{Message, MessageBuilder, Name, Ttl};
use domain::rdata::{A, Ptr, Soa};
use proptest::prelude::*;

use super::*;
use crate::pending::{MOST_OF_CLIENT, MOST_QUESTIONS};

const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 53));
const HOST: [IpAddr; 1] = [OTHER];

pub(crate) fn key(name: &str) -> Key {
    Key {
        name: name.into(),
        qtype: Rtype::A,
        dnssec_ok: false,
        checking_disabled: false,
    }
}

fn name(text: &str) -> Name<Vec<u8>> {
    Name::from_chars(text.chars()).unwrap()
}

/// A query of a resolver, with EDNS when a size is given.
pub(crate) fn packet(text: &str, qtype: Rtype, size: Option<u16>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(7);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((name(text), qtype)).unwrap();
    let mut builder = builder.additional();
    if let Some(size) = size {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(size);
                Ok(())
            })
            .unwrap();
    }
    builder.finish()
}

/// What another server says, and the question for it.
pub(crate) fn other(text: &str, ttl: u32, count: usize) -> (Vec<u8>, Vec<u8>) {
    let query = Query::read(&packet(text, Rtype::A, None)).unwrap();
    let request = packet(text, Rtype::A, None);
    let request = Message::from_octets(request.as_slice()).unwrap();
    let mut builder = MessageBuilder::new_vec()
        .start_answer(&request, Rcode::NOERROR)
        .unwrap();
    for _ in 0..count {
        let record = (name(text), Ttl::from_secs(ttl), A::from_octets(9, 9, 9, 9));
        builder.push(record).unwrap();
    }
    let mut builder = builder.additional();
    builder
        .push((
            name("more.x"),
            Ttl::from_secs(1),
            A::from_octets(6, 6, 6, 6),
        ))
        .unwrap();
    (builder.finish(), query.question())
}

pub(crate) fn answer(text: &str, ttl: u32, count: usize) -> Answer {
    let (packet, question) = other(text, ttl, count);
    Answer::read(&packet, 7, &question).unwrap()
}

pub(crate) fn network(id: &str, third: u8, instances: &[(&str, u8)]) -> NetworkNames {
    NetworkNames {
        network: id.into(),
        bridge: format!("br-{id}"),
        bridge_index: 1,
        gateway: Ipv4Addr::new(172, 17, third, 1),
        prefix: 24,
        dns_servers: Vec::new(),
        instances: instances
            .iter()
            .map(|(name, last)| InstanceNames {
                id: (*name).into(),
                address: Ipv4Addr::new(172, 17, third, *last),
                names: vec![(*name).into(), format!("0.subject.{name}")],
            })
            .collect(),
    }
}

fn zones() -> Zones {
    Zones::new([
        network("a", 1, &[("Web", 2), ("host.example.com", 3)]),
        network("b", 2, &[("db", 2)]),
    ])
}

fn client(last: u8) -> Client {
    Client::Datagram(SocketAddrV4::new(Ipv4Addr::new(172, 17, 1, last), 999))
}

/// What the client in network `a` is sent at once.
fn asked(text: &str, qtype: Rtype) -> Vec<u8> {
    let step = Desk::new("br-a").query(
        &zones(),
        &HOST,
        client(9),
        &packet(text, qtype, None),
        Instant::now(),
    );
    match step {
        Step::Send(_, packet) => packet,
        step => panic!("{step:?}"),
    }
}

fn address_of(packet: &[u8]) -> Option<Ipv4Addr> {
    let message = Message::from_octets(packet).unwrap();
    let mut records = message.answer().unwrap().limit_to::<A>();
    Some(records.next()?.unwrap().data().addr())
}

fn rcode(packet: &[u8]) -> Rcode {
    Message::from_octets(packet).unwrap().header().rcode()
}

fn question_to(step: Step) -> Ask {
    match step {
        Step::Ask(ask) => ask,
        step => panic!("{step:?}"),
    }
}
