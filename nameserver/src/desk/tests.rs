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
    Some(records.next()?.unwrap().data().addr().into())
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

#[tokio::test]
async fn names_of_the_own_network_need_no_suffix_and_no_case() {
    for text in ["web", "WEB.", "wEb.A", "0.subject.web", "0.SUBJECT.Web.a"] {
        let packet = asked(text, Rtype::A);
        assert_eq!(
            address_of(&packet),
            Some(Ipv4Addr::new(172, 17, 1, 2)),
            "{text}"
        );
        assert!(Message::from_octets(packet).unwrap().header().aa());
    }
}

#[tokio::test]
async fn names_of_other_networks_need_the_suffix() {
    let packet = asked("db.b", Rtype::A);
    assert_eq!(address_of(&packet), Some(Ipv4Addr::new(172, 17, 2, 2)));
    assert_eq!(rcode(&asked("db", Rtype::A)), Rcode::NXDOMAIN);
    assert_eq!(rcode(&asked("db.a", Rtype::A)), Rcode::NXDOMAIN);
}

#[tokio::test]
async fn other_types_of_own_names_have_no_data() {
    for qtype in [Rtype::AAAA, Rtype::MX, Rtype::TXT, Rtype::HTTPS] {
        for text in ["web", "db.b", "_gateway", "a", "subject.web.a", "web.a"] {
            let packet = asked(text, qtype);
            assert_eq!(rcode(&packet), Rcode::NOERROR, "{text} {qtype}");
            assert_eq!(
                Message::from_octets(packet)
                    .unwrap()
                    .header_counts()
                    .ancount(),
                0
            );
        }
    }
}

#[tokio::test]
async fn addresses_of_the_unit_have_names_or_none() {
    for (text, expected) in [
        ("2.1.17.172.in-addr.arpa", Some("Web.a")),
        ("2.2.17.172.IN-ADDR.arpa", Some("db.b")),
        ("1.1.17.172.in-addr.arpa", Some("_gateway.a")),
        ("77.1.17.172.in-addr.arpa", None),
    ] {
        let packet = asked(text, Rtype::PTR);
        let message = Message::from_octets(packet.as_slice()).unwrap();
        let mut records = message.answer().unwrap().limit_to::<Ptr<_>>();
        let found = records
            .next()
            .map(|record| record.unwrap().data().ptrdname().to_string());
        assert_eq!(found.as_deref(), expected, "{text}");
        let code = if expected.is_some() {
            Rcode::NOERROR
        } else {
            Rcode::NXDOMAIN
        };
        assert_eq!(rcode(&packet), code);
    }
    assert_eq!(
        rcode(&asked("1.17.172.in-addr.arpa", Rtype::SOA)),
        Rcode::NOERROR
    );
}

#[tokio::test]
async fn only_what_is_not_of_the_unit_goes_to_others() {
    for text in ["x", "nobody.a", "5.2.17.172.in-addr.arpa"] {
        assert_eq!(rcode(&asked(text, Rtype::A)), Rcode::NXDOMAIN, "{text}");
    }
    // The end of somebody's host name is a name in the wide world.
    for text in [
        "example.com",
        "www.example.com",
        "1.1.18.172.in-addr.arpa",
        "17.172.in-addr.arpa",
    ] {
        let packet = packet(text, Rtype::A, None);
        let step = Desk::new("br-a").query(&zones(), &HOST, client(9), &packet, Instant::now());
        assert_eq!(question_to(step).servers, HOST, "{text}");
    }
}

#[tokio::test]
async fn own_servers_of_a_network_come_before_those_of_the_host_and_know_its_suffix() {
    let mut names = network("a", 1, &[]);
    let own = IpAddr::from([10, 0, 0, 53]);
    names.dns_servers = vec![own, names.gateway.into()];
    let zones = Zones::new([names]);

    for text in ["example.com", "elsewhere.a"] {
        let packet = packet(text, Rtype::A, None);
        let step = Desk::new("br-a").query(&zones, &HOST, client(9), &packet, Instant::now());
        assert_eq!(question_to(step).servers, [own], "never ourselves");
    }
}

#[tokio::test]
async fn strangers_and_what_is_no_query_get_nothing() {
    let good = packet("web", Rtype::A, None);
    let stranger = Client::Datagram(SocketAddrV4::new(Ipv4Addr::new(172, 17, 2, 2), 999));
    let mut response = good.clone();
    response[2] |= 0x80;

    for (client, packet) in [
        (stranger, good),
        (client(9), response),
        (client(9), vec![0; 11]),
    ] {
        let step = Desk::new("br-a").query(&zones(), &HOST, client, &packet, Instant::now());
        assert!(matches!(step, Step::Nothing), "{step:?}");
    }
}

#[tokio::test]
async fn what_is_not_served_is_told_so_in_few_bytes() {
    let mut update = packet("web", Rtype::A, None);
    update[2] |= Opcode::UPDATE.to_int() << 3;
    let mut two = packet("web", Rtype::A, None);
    two[5] = 2;
    let mut chaos = packet("web", Rtype::A, None);
    let last = chaos.len() - 1;
    chaos[last] = u8::try_from(Class::CH.to_int()).unwrap();

    for (packet, expected) in [
        (packet("web", Rtype::ANY, None), Rcode::NOTIMP),
        (packet("a", Rtype::AXFR, None), Rcode::REFUSED),
        (update, Rcode::NOTIMP),
        (two, Rcode::FORMERR),
        (chaos, Rcode::REFUSED),
    ] {
        let step = Desk::new("br-a").query(&zones(), &HOST, client(9), &packet, Instant::now());
        let Step::Send(_, answer) = step else {
            panic!("{step:?}");
        };
        assert_eq!(rcode(&answer), expected);
        assert!(answer.len() <= packet.len());
    }
}

#[tokio::test]
async fn one_question_serves_all_who_ask_it_and_then_those_who_come_later() {
    let mut desk = Desk::new("br-a");
    let now = Instant::now();
    let mut upper = packet("WWW.x", Rtype::A, Some(4000));
    upper[1] = 8;
    let ask = desk.query(
        &zones(),
        &HOST,
        client(9),
        &packet("www.x", Rtype::A, None),
        now,
    );
    let ask = question_to(ask);
    let step = desk.query(&zones(), &HOST, client(8), &upper, now);
    assert!(matches!(step, Step::Nothing));

    let sent = desk.answered(ask, Some(answer("www.x", 30, 1)), now);

    assert_eq!(sent.len(), 2);
    for (_, packet) in &sent {
        assert_eq!(address_of(packet), Some(Ipv4Addr::new(9, 9, 9, 9)));
    }
    let second = Message::from_octets(sent[1].1.as_slice()).unwrap();
    assert_eq!(second.header().id(), 8);
    assert_eq!(&sent[1].1[13..16], b"WWW");
    assert_eq!(second.opt().unwrap().udp_payload_size(), 1232);
    assert_eq!(
        Message::from_octets(sent[0].1.as_slice())
            .unwrap()
            .header_counts()
            .arcount(),
        0
    );
    let later = desk.query(
        &zones(),
        &HOST,
        client(7),
        &upper,
        now + Duration::from_secs(10),
    );
    assert!(matches!(later, Step::Send(..)));
}

#[tokio::test]
async fn answer_that_is_too_long_for_a_datagram_is_cut_off() {
    let query = Query::read(&packet("www.x", Rtype::A, None)).unwrap();
    let long = answer("www.x", 30, 40);

    let datagram = query.adopt(long.message(Duration::ZERO), true);
    let stream = query.adopt(long.message(Duration::ZERO), false);

    let message = Message::from_octets(datagram.as_slice()).unwrap();
    assert!(message.header().tc() && datagram.len() < 100);
    let message = Message::from_octets(stream.as_slice()).unwrap();
    assert!(!message.header().tc());
    assert_eq!(message.header_counts().ancount(), 40);
}

#[tokio::test]
async fn flood_of_one_client_leaves_room_for_others_and_is_told() {
    let mut desk = Desk::new("br-a");
    let now = Instant::now();
    let mut asks = 0;
    for n in 0..1000 {
        let packet = packet(&format!("n{n}.x"), Rtype::A, None);
        let last = if n < 500 {
            9
        } else {
            u8::try_from(n % 200 + 10).unwrap()
        };
        match desk.query(&zones(), &HOST, client(last), &packet, now) {
            Step::Ask(_) => asks += 1,
            Step::Send(_, packet) => assert_eq!(rcode(&packet), Rcode::SERVFAIL),
            Step::Nothing => panic!("nobody is left without an answer"),
        }
        if n < 500 {
            assert!(asks <= MOST_OF_CLIENT);
        }
    }

    assert_eq!(asks, MOST_QUESTIONS);
    let local = desk.query(
        &zones(),
        &HOST,
        client(9),
        &packet("web", Rtype::A, None),
        now,
    );
    assert!(matches!(local, Step::Send(_, packet) if address_of(&packet).is_some()));
}

#[tokio::test]
async fn nobody_who_could_be_asked_is_a_failure_and_makes_room_again() {
    let mut desk = Desk::new("br-a");
    let now = Instant::now();
    for _ in 0..2 * MOST_QUESTIONS {
        let packet = packet("www.x", Rtype::A, None);
        let ask = question_to(desk.query(&zones(), &HOST, client(9), &packet, now));
        let sent = desk.answered(ask, None, now);
        assert_eq!(rcode(&sent[0].1), Rcode::SERVFAIL);
    }
    let step = desk.query(
        &zones(),
        &[],
        client(9),
        &packet("www.x", Rtype::A, None),
        now,
    );
    assert!(matches!(step, Step::Send(_, packet) if rcode(&packet) == Rcode::SERVFAIL));
}

#[tokio::test]
async fn other_servers_have_other_answers() {
    let mut desk = Desk::new("br-a");
    let now = Instant::now();
    let packet = packet("www.x", Rtype::A, None);
    let ask = question_to(desk.query(&zones(), &HOST, client(9), &packet, now));
    desk.answered(ask, Some(answer("www.x", 30, 1)), now);

    let other = [IpAddr::from([1, 1, 1, 1])];
    let step = desk.query(&zones(), &other, client(9), &packet, now);

    assert_eq!(question_to(step).servers, other);
}

#[test]
fn that_there_is_nothing_is_kept_as_long_as_the_zone_says() {
    let request = packet("www.x", Rtype::A, None);
    let question = Query::read(&request).unwrap().question();
    let request = Message::from_octets(request.as_slice()).unwrap();
    let reply = |soa: Option<u32>| {
        let builder = MessageBuilder::new_vec().start_answer(&request, Rcode::NXDOMAIN);
        let mut builder = builder.unwrap().authority();
        if let Some(minimum) = soa {
            let zero = Ttl::ZERO;
            let soa = Soa::new(
                name("m.x"),
                name("r.x"),
                1.into(),
                zero,
                zero,
                zero,
                Ttl::from_secs(minimum),
            );
            builder
                .push((name("x"), Ttl::from_secs(4000), soa))
                .unwrap();
        }
        Answer::read(&builder.finish(), 7, &question)
            .unwrap()
            .lifetime()
    };

    assert_eq!(reply(Some(60)), Duration::from_secs(60));
    assert_eq!(reply(Some(86_400)), Duration::from_secs(300));
    assert_eq!(reply(None), Duration::ZERO);
}

#[test]
fn lies_are_not_taken_for_the_answer() {
    use crate::answer::Fault;
    let (good, question) = other("www.x", 30, 1);
    let changed = |at: usize, to: u8| {
        let mut packet = good.clone();
        packet[at] ^= to;
        Answer::read(&packet, 7, &question)
    };

    assert!(Answer::read(&good, 7, &question).is_ok());
    assert!(
        changed(13, 0x20).is_ok(),
        "the case is the other server's choice"
    );
    for at in [1, 13, question.len() + 11, question.len() + 9] {
        assert_eq!(changed(at, 1), Err(Fault::NotOurs), "{at}");
    }
    assert_eq!(changed(2, 0x80), Err(Fault::NotOurs));
    assert_eq!(changed(2, 0x02), Err(Fault::Truncated));
    assert_eq!(changed(3, 0x02), Err(Fault::Refused));
    assert_eq!(
        changed(7, 0x7f),
        Err(Fault::Refused),
        "more answers than there are"
    );
}

proptest! {
    #[test]
    fn no_packet_makes_the_desk_panic_or_talk_much(
        packets in prop::collection::vec(mutated(), 1..20)
    ) {
        let mut desk = Desk::new("br-a");
        let mut names = BTreeSet::new();
        for packet in packets {
            let step = desk.query(&zones(), &HOST, client(9), &packet, Instant::now());
            if let Step::Send(_, answer) = step {
                prop_assert!(Message::from_octets(answer.as_slice()).is_ok());
                prop_assert!(answer.len() <= packet.len() + 80, "{} {}", answer.len(), packet.len());
            } else if let Step::Ask(ask) = step {
                prop_assert!(names.insert(ask.key.name.clone()) || names.len() < 20);
                drop(Answer::read(&packet, 7, &ask.question));
            }
        }
    }

    #[test]
    fn no_answer_makes_the_reader_panic(at in 0_usize..200, to: u8, cut in 0_usize..200) {
        let (mut packet, question) = other("www.x", 30, 4);
        if let Some(byte) = packet.get_mut(at) {
            *byte = to;
        }
        packet.truncate(cut);
        let query = Query::read(&self::packet("www.x", Rtype::A, Some(600))).unwrap();
        if let Ok(answer) = Answer::read(&packet, 7, &question) {
            let packet = query.adopt(answer.message(Duration::from_secs(9)), true);
            prop_assert!(packet.len() <= 600);
        }
    }
}

/// A query with some of its bytes changed, or no query at all.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let names = prop::sample::select(vec![
        "web",
        "db.b",
        "www.example.com",
        "2.1.17.172.in-addr.arpa",
        ".",
    ]);
    let changes = prop::collection::vec((0_usize..60, any::<u8>()), 0..4);
    let from_query = (names, any::<u16>(), any::<Option<u16>>(), changes).prop_map(
        |(text, qtype, size, changes)| {
            let mut packet = packet(text, Rtype::from_int(qtype), size);
            for (at, to) in changes {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = to;
                }
            }
            packet
        },
    );
    prop_oneof![4 => from_query, 1 => prop::collection::vec(any::<u8>(), 0..80)]
}
