//! Answers of others, and packets of any kind.

use super::*;

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
