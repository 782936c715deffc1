//! Which packets get where.

use std::io::{Read, Write};

use super::lab::{A1, A2, B1, GATEWAY_A, GATEWAY_B, HOST, WORLD, id, in_lab, port};
use crate::model::FirewallRule;
use crate::networkmanager::firewall::{Allowed, Change, Exposed};

fn rule(proto: &str, ports: &str) -> Allowed {
    let rule = FirewallRule {
        dst_ip: B1.to_string(),
        dst_port: ports.into(),
        proto: proto.into(),
        src_ip: A1.to_string(),
    };
    Allowed::parse(&rule, A1).unwrap()
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn without_rules_all_that_is_tested_here_passes() {
    in_lab(|lab| {
        assert!(lab.reaches("a1", "a2", A2, 80));
        assert!(lab.reaches("a1", "b1", B1, 80));
        assert!(lab.reaches("world", "a1", A1, 80));
        assert!(lab.reaches("a1", "world", WORLD, 80));
        assert!(lab.connects("a1", "b1", B1, 81));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn one_network_is_open_and_others_are_closed() {
    in_lab(|lab| {
        lab.firewall().restore(lab.rules()).unwrap();

        assert!(lab.reaches("a1", "a2", A2, 80));
        assert!(!lab.reaches("a1", "b1", B1, 80));
        assert!(!lab.connects("a1", "b1", B1, 80));
        assert!(!lab.reaches("b1", "a1", A1, 80));
        assert!(!lab.reaches("world", "a1", A1, 80));
        assert!(!lab.pings("a1", B1));
        assert!(lab.pings("a1", A2));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn the_world_sees_the_host_instead_of_an_instance() {
    in_lab(|lab| {
        lab.firewall().restore(lab.rules()).unwrap();
        let server = lab.udp("world", WORLD, 80);
        let client = lab.udp("a1", A1, 4000);

        let seen = lab.send(&client, &server, 10).unwrap();

        assert_eq!(*seen.ip(), HOST);
        server.send_to(b"reply", seen).unwrap();
        assert_eq!(client.recv(&mut [0; 10]).unwrap(), 5);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn allowed_ports_are_open_one_way() {
    in_lab(|lab| {
        let mut rules = lab.rules();
        let caller = rules.instances.get_mut(&id(1)).unwrap();
        caller.allowed = vec![rule("tcp", "80,443"), rule("UDP", "8000:8010")];
        lab.firewall().restore(rules).unwrap();

        for port in [80, 443] {
            assert!(lab.connects("a1", "b1", B1, port));
            assert!(!lab.reaches("a1", "b1", B1, port));
        }
        for (port, open) in [(7999, false), (8000, true), (8010, true), (8011, false)] {
            assert_eq!(lab.reaches("a1", "b1", B1, port), open, "{port}");
        }
        assert!(!lab.connects("a1", "b1", B1, 81));
        assert!(!lab.connects("a2", "b1", B1, 80));
        assert!(!lab.connects("b1", "a1", A1, 80));
        assert!(!lab.pings("a1", B1));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn icmp_is_allowed_by_a_rule_of_its_own() {
    in_lab(|lab| {
        let mut rules = lab.rules();
        rules.instances.get_mut(&id(1)).unwrap().allowed = vec![rule("icmp", "")];
        lab.firewall().restore(rules).unwrap();

        assert!(lab.pings("a1", B1));
        assert!(!lab.pings("b1", A1));
        assert!(!lab.pings("a2", B1));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn rule_that_is_taken_back_ends_what_it_had_allowed() {
    in_lab(|lab| {
        let mut firewall = lab.firewall();
        let mut rules = lab.rules();
        rules.instances.get_mut(&id(1)).unwrap().allowed = vec![rule("tcp", "80")];
        firewall.restore(rules.clone()).unwrap();
        let (mut client, mut server) = lab.connect("a1", "b1", B1, 80).unwrap();
        client.write_all(b"?").unwrap();
        server.read_exact(&mut [0]).unwrap();
        server.write_all(b"!").unwrap();
        client.read_exact(&mut [0]).unwrap();

        let caller = rules.instances.get_mut(&id(1)).unwrap();
        caller.allowed = Vec::new();
        let change = Change::SetInstance(id(1), caller.clone());
        firewall.change(&[change]).unwrap();

        server
            .set_read_timeout(client.read_timeout().unwrap())
            .unwrap();
        client.write_all(b"?").unwrap();
        assert!(server.read_exact(&mut [0]).is_err());
        assert!(firewall.intact().unwrap());
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn exposed_ports_are_reached_from_outside_and_no_others() {
    in_lab(|lab| {
        let mut rules = lab.rules();
        rules.instances.get_mut(&id(1)).unwrap().exposed = vec![
            Exposed::parse("80").unwrap(),
            Exposed::parse("90/udp").unwrap(),
        ];
        lab.firewall().restore(rules).unwrap();

        assert!(lab.connects("world", "a1", A1, 80));
        assert!(lab.reaches("world", "a1", A1, 90));
        assert!(!lab.connects("world", "a1", A1, 90));
        assert!(!lab.reaches("world", "a1", A1, 80));
        assert!(!lab.connects("world", "a2", A2, 80));
        // Exposed to the world is not exposed to other networks.
        assert!(!lab.connects("b1", "a1", A1, 80));

        lab.ip("world", "addr add 172.18.0.77/32 dev lo\n");
        let server = lab.udp("a1", A1, 90);
        let spoofed = lab.udp("world", [172, 18, 0, 77].into(), 0);
        assert_eq!(lab.send(&spoofed, &server, 10), None);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_sends_only_with_its_own_addresses() {
    in_lab(|lab| {
        lab.firewall().restore(lab.rules()).unwrap();
        let server = lab.udp("a2", A2, 80);
        assert!(lab.send(&lab.udp("a1", A1, 0), &server, 10).is_some());

        // Another IP address; the neighbour is known, so it is no matter of ARP.
        lab.ip("a1", "addr add 172.17.0.9/24 dev eth0\n");
        let spoofed = lab.udp("a1", [172, 17, 0, 9].into(), 0);
        assert_eq!(lab.send(&spoofed, &server, 10), None);

        // Another link-layer address.
        lab.ip("a1", "link set eth0 address 02:00:ac:11:00:09\n");
        assert!(!lab.reaches("a1", "a2", A2, 81));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn arp_of_others_is_not_heard() {
    in_lab(|lab| {
        lab.firewall().restore(lab.rules()).unwrap();

        // It asks who has the gateway, as somebody else.
        lab.ip(
            "a1",
            "addr flush dev eth0\naddr add 172.17.0.3/24 dev eth0\n",
        );
        assert!(!lab.reaches("a1", "a2", A2, 80));
        drop(lab.udp("a1", A2, 0).send_to(b"?", (GATEWAY_A, 80)));

        let output = lab.run("ip", &["neigh", "show", "dev", "br-a"]);
        let neighbours = String::from_utf8(output.stdout).unwrap();
        assert!(!neighbours.contains("02:00:ac:11:00:02"), "{neighbours}");
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn port_without_a_seat_passes_nothing() {
    in_lab(|lab| {
        let mut rules = lab.rules();
        rules.instances.remove(&id(1));
        lab.firewall().restore(rules).unwrap();

        assert!(!lab.reaches("a1", "a2", A2, 80));
        assert!(lab.reaches("a2", "world", WORLD, 80));
        assert_eq!(port(A1).len(), 15);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn host_is_reached_unless_restricted() {
    in_lab(|lab| {
        lab.name_host();
        let mut firewall = lab.firewall();
        let mut rules = lab.rules();
        firewall.restore(rules.clone()).unwrap();

        assert!(lab.reaches("a1", "host", HOST, 80));
        assert!(lab.reaches("a1", "host", GATEWAY_A, 53));
        assert!(!lab.reaches("a1", "host", GATEWAY_B, 53));
        assert!(!lab.reaches("world", "host", GATEWAY_B, 53));
        assert!(lab.reaches("a1", "host", GATEWAY_B, 54));

        rules.restrict_host = true;
        firewall.restore(rules).unwrap();
        assert!(!lab.reaches("a1", "host", HOST, 80));
        assert!(lab.reaches("a1", "host", GATEWAY_A, 53));
        assert!(lab.connects("a1", "host", GATEWAY_A, 53));
        assert!(!lab.reaches("a1", "host", GATEWAY_B, 53));
        assert!(lab.pings("a1", GATEWAY_A));
        assert!(lab.reaches("host", "a1", A1, 80));
        assert!(lab.reaches("world", "host", HOST, 80));
    });
}
