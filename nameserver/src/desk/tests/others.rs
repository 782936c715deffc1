//! What others are asked.

use super::*;

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
