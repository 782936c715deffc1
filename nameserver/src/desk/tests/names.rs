//! What the unit itself knows, and what it keeps to itself.

use super::*;

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
