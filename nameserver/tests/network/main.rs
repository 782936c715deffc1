//! The server on a machine of its own: bridges, clients behind them, and other
//! name servers.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod client;
mod machine;
mod other;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use client::Client;
use machine::{address, names, on_own_machine};
use other::{Mood, Other};

const NOERROR: u8 = 0;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn names_are_answered_over_udp_and_tcp() {
    on_own_machine(|machine| {
        let client = machine.network("a", 1);
        machine.network("b", 2);
        machine.publish(&names("a", 1, &[("web", 2)]));
        machine.publish(&names("b", 2, &[("db", 7)]));
        let _server = machine.server();

        for (name, third, last) in [("web", 1, 2), ("WEB.a", 1, 2), ("db.b", 2, 7)] {
            let answer = client.ask(1, name, "A").unwrap();
            assert_eq!(answer.addresses, [address(third, last)], "{name}");
            let answer = client.ask_by_tcp(1, name, "A").unwrap();
            assert_eq!(answer.addresses, [address(third, last)], "{name}");
        }
        let answer = client.ask(1, "web", "AAAA").unwrap();
        assert_eq!((answer.code, answer.count), (NOERROR, 0));
        let answer = client.ask(1, "2.1.17.172.in-addr.arpa", "PTR").unwrap();
        assert_eq!((answer.code, answer.count), (NOERROR, 1));
        assert_eq!(client.ask(1, "db", "A").unwrap().code, NXDOMAIN);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn only_the_own_bridge_may_ask() {
    on_own_machine(|machine| {
        let own = machine.network("a", 1);
        let other = machine.network("b", 2);
        machine.publish(&names("a", 1, &[("web", 2)]));
        machine.publish(&names("b", 2, &[]));
        let _server = machine.server();
        assert!(own.ask(1, "web", "A").is_some());

        assert!(
            other.ask_once(1, "web.a", "A").is_none(),
            "gateway of the other network"
        );
        assert!(other.ask_by_tcp(1, "web.a", "A").is_none());
        assert!(other.ask(2, "web.a", "A").is_some());
        // One who pretends to be of another subnet.
        own.run("ip address add 172.17.9.9/32 dev eth0");
        machine.run("ip route add 172.17.9.9 dev br-a");
        assert!(own.ask_from([172, 17, 9, 9].into(), 1, "web").is_none());
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn bridge_that_is_made_anew_is_served_again() {
    on_own_machine(|machine| {
        let client = machine.network("a", 1);
        machine.publish(&names("a", 1, &[("web", 2)]));
        let _server = machine.server();
        assert!(client.ask(1, "web", "A").is_some());
        drop(client);

        machine.run("ip link delete br-a");
        let client = machine.network("a", 1);
        machine.publish(&names("a", 1, &[("web", 2)]));

        assert!(client.ask_until(1, "web", |answer| answer.count == 1));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn network_that_comes_after_its_file_is_served() {
    on_own_machine(|machine| {
        machine.publish(&names("a", 1, &[("web", 2)]));
        let _server = machine.server();

        let client = machine.network("a", 1);

        assert!(client.ask_until(1, "web", |answer| answer.count == 1));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn bad_files_change_nothing_and_good_ones_at_once() {
    on_own_machine(|machine| {
        let client = machine.network("a", 1);
        let file = machine.publish(&names("a", 1, &[("web", 2)]));
        let server = machine.server();
        assert_eq!(client.ask(1, "web", "A").unwrap().count, 1);

        let text = fs::read(&file).unwrap();
        fs::write(&file, &text[..text.len() / 2]).unwrap();
        fs::write(file.with_file_name("x.json"), "{").unwrap();
        server.wait_for("cannot use");
        assert_eq!(client.ask(1, "web", "A").unwrap().count, 1);

        machine.publish(&names("a", 1, &[("shop", 3)]));
        assert!(client.ask_until(1, "shop", |answer| answer.count == 1));
        assert_eq!(client.ask(1, "web", "A").unwrap().code, NXDOMAIN);

        fs::remove_file(&file).unwrap();
        assert!(client.ask_until_silent(1, "shop"));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn server_that_was_killed_goes_on_where_it_was_and_a_lost_directory_is_found_again() {
    on_own_machine(|machine| {
        let client = machine.network("a", 1);
        let file = machine.publish(&names("a", 1, &[("web", 2)]));
        let held = {
            let _server = machine.server();
            let stream = client.inside(|| TcpStream::connect((address(1, 1), 53)));
            client.ask(1, "web", "A").unwrap();
            stream
        };

        let server = machine.server();
        drop(held);
        assert_eq!(client.ask(1, "web", "A").unwrap().count, 1);
        assert_eq!(client.ask_by_tcp(1, "web", "A").unwrap().count, 1);

        // At once: of a directory that is emptied first the names go.
        let directory = file.parent().unwrap();
        fs::rename(directory, directory.with_extension("lost")).unwrap();
        server.wait_for("names stay as they are");
        assert_eq!(client.ask(1, "web", "A").unwrap().count, 1);
        fs::create_dir(directory).unwrap();
        machine.publish(&names("a", 1, &[("shop", 2)]));
        assert!(client.ask_until(1, "shop", |answer| answer.count == 1));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn the_rest_is_asked_of_others_once() {
    on_own_machine(|machine| {
        let client = machine.network("a", 1);
        let other = machine.other_server(Mood::Honest);
        machine.publish(&with_server(&other));
        let _server = machine.server();

        for _ in 0..3 {
            let answer = client.ask(1, "www.example.com", "A").unwrap();
            assert_eq!(answer.addresses, [Ipv4Addr::new(9, 9, 9, 9)]);
        }
        assert_eq!(other.asked(), 1, "the cache has it");
        // What belongs to the unit never leaves it.
        for name in ["nobody", "9.1.17.172.in-addr.arpa"] {
            assert_eq!(client.ask(1, name, "A").unwrap().code, NXDOMAIN);
        }
        assert_eq!(other.asked(), 1);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn long_answers_come_over_tcp() {
    on_own_machine(|machine| {
        let client = machine.network("a", 1);
        let other = machine.other_server(Mood::Long);
        machine.publish(&with_server(&other));
        let _server = machine.server();

        let datagram = client.ask(1, "long.example.com", "A").unwrap();
        assert!(datagram.is_truncated);
        let stream = client.ask_by_tcp(1, "long.example.com", "A").unwrap();
        assert_eq!(stream.count, 200);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn liars_and_the_dead_are_passed_over() {
    on_own_machine(|machine| {
        let client = machine.network("a", 1);
        let mut file = names("a", 1, &[("web", 2)]);
        for mood in [Mood::WrongId, Mood::WrongQuestion, Mood::Honest] {
            let other = machine.other_server(mood);
            file.dns_servers.push(other.address.into());
        }
        // Nobody is there: the kernel says so at once.
        file.dns_servers
            .insert(0, Ipv4Addr::new(127, 0, 0, 99).into());
        machine.publish(&file);
        let _server = machine.server();

        let answer = client.ask_patiently(1, "www.example.com").unwrap();

        assert_eq!(answer.addresses, [Ipv4Addr::new(9, 9, 9, 9)]);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn flood_is_bounded_and_own_names_are_still_answered() {
    on_own_machine(|machine| {
        let client = machine.network("a", 1);
        let other = machine.other_server(Mood::Silent);
        machine.publish(&with_server(&other));
        let server = machine.server();
        assert_eq!(client.ask(1, "web", "A").unwrap().count, 1);
        let before = server.memory();

        client.flood(1, 5000);

        assert_eq!(client.ask(1, "web", "A").unwrap().count, 1);
        let refused = client.ask_patiently(1, "n99999.example.com").unwrap();
        assert_eq!(refused.code, SERVFAIL);
        // The 32 that it may wait for, as often as they fail meanwhile.
        assert!(other.asked() < 500, "{}", other.asked());
        let grown = server.memory().saturating_sub(before);
        assert!(grown < 4096, "{grown} KiB more");
        connections_are_bounded(&client);
    });
}

fn connections_are_bounded(client: &Client) {
    let to = SocketAddr::from((address(1, 1), 53));
    let held: Vec<TcpStream> = client.inside(move || {
        (0..16)
            .map(|_| TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap())
            .collect()
    });

    let open = held
        .iter()
        .filter(|stream| {
            stream
                .set_read_timeout(Some(Duration::from_millis(300)))
                .unwrap();
            let outcome = stream.peek(&mut [0; 1]);
            // A closed one has its end, or a reset.
            outcome.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        })
        .count();

    assert_eq!(open, 4);
}

fn with_server(other: &Other) -> aos_names::NetworkNames {
    let mut file = names("a", 1, &[("web", 2)]);
    file.dns_servers.push(other.address.into());
    file
}
