//! Bytes that are counted, and limits.

use super::lab::{A1, B1, HOST, OFFICE, WORLD, id, in_lab};
use crate::model::Flow;
use crate::networkmanager::firewall::Change;
use crate::networkmanager::handle::TrafficLimits;

/// Bytes of the headers of a packet.
const HEADERS: u64 = 28;

fn limits(download: impl Into<Option<u64>>, upload: impl Into<Option<u64>>) -> TrafficLimits {
    TrafficLimits {
        download: download.into(),
        upload: upload.into(),
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn each_byte_from_and_to_the_world_is_counted_once() {
    in_lab(|lab| {
        let mut firewall = lab.firewall();
        let mut rules = lab.rules();
        rules.instances.get_mut(&id(1)).unwrap().start = Flow {
            received: 1000,
            sent: 2000,
        };
        firewall.restore(rules).unwrap();
        let server = lab.udp("world", WORLD, 80);
        let client = lab.udp("a1", A1, 4000);

        let seen = lab.send(&client, &server, 100).unwrap();
        server.send_to(&[1; 50], seen).unwrap();
        client.recv(&mut [0; 100]).unwrap();
        // These are none of the world's.
        assert!(lab.reaches("a1", "world", OFFICE, 80));
        assert!(lab.reaches("a1", "a2", super::lab::A2, 80));
        assert!(!lab.reaches("a1", "b1", B1, 80));

        let counters = firewall.counters().unwrap();
        let flow = counters.instances[&id(1)];
        assert_eq!(flow.sent, 2000 + 100 + HEADERS);
        assert_eq!(flow.received, 1000 + 50 + HEADERS);
        assert_eq!(counters.instances[&id(2)], Flow::default());
        assert_eq!(counters.node, Flow::default());
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn the_host_is_counted_apart() {
    in_lab(|lab| {
        lab.name_host();
        let mut firewall = lab.firewall();
        let mut rules = lab.rules();
        rules.node.sent = 7;
        firewall.restore(rules).unwrap();

        assert!(lab.reaches("host", "world", WORLD, 80));
        assert!(lab.reaches("world", "host", HOST, 80));
        assert!(lab.reaches("host", "world", OFFICE, 80));
        assert!(lab.reaches("host", "host", HOST, 81));
        assert!(lab.reaches("host", "a1", A1, 80));

        let counters = firewall.counters().unwrap();
        assert_eq!(counters.node.sent, 7 + 10 + HEADERS);
        assert_eq!(counters.node.received, 10 + HEADERS);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn limit_cuts_off_at_the_packet_and_only_the_world() {
    in_lab(|lab| {
        let mut firewall = lab.firewall();
        let mut rules = lab.rules();
        let limited = rules.instances.get_mut(&id(1)).unwrap();
        // Room for three packets.
        limited.start.sent = 5000;
        limited.limits = limits(None, 5000 + 3 * 128);
        let mut limited = limited.clone();
        firewall.restore(rules).unwrap();
        let server = lab.udp("world", WORLD, 80);
        let client = lab.udp("a1", A1, 4000);

        let passed = (0..5)
            .filter(|_| lab.send(&client, &server, 100).is_some())
            .count();
        assert_eq!(passed, 3);
        let sent = firewall.counters().unwrap().instances[&id(1)].sent;
        assert_eq!(sent, 5000 + 3 * 128);
        assert!(lab.reaches("a1", "world", OFFICE, 80));

        // A larger limit counts at once. What has passed is not forgotten; what
        // was dropped was not used.
        limited.limits = limits(None, 5000 + 7 * 128);
        firewall
            .change(&[Change::SetInstance(id(1), limited.clone())])
            .unwrap();
        let passed = (0..5)
            .filter(|_| lab.send(&client, &server, 100).is_some())
            .count();
        assert_eq!(passed, 4);

        // Without a limit all passes, and a new one counts what has been.
        limited.limits = limits(None, None);
        firewall
            .change(&[Change::SetInstance(id(1), limited.clone())])
            .unwrap();
        assert!(lab.send(&client, &server, 100).is_some());
        limited.limits = limits(None, 5000 + 9 * 128);
        firewall
            .change(&[Change::SetInstance(id(1), limited)])
            .unwrap();
        assert!(lab.send(&client, &server, 100).is_some());
        assert_eq!(lab.send(&client, &server, 100), None);

        // A new day.
        let last = firewall.new_day().unwrap();
        assert_eq!(last.instances[&id(1)].sent, 5000 + 9 * 128);
        assert!(lab.send(&client, &server, 100).is_some());
        let sent = firewall.counters().unwrap().instances[&id(1)].sent;
        assert_eq!(sent, 128);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn used_up_limit_of_the_day_stays_used_up_after_a_reboot() {
    in_lab(|lab| {
        let mut rules = lab.rules();
        let limited = rules.instances.get_mut(&id(1)).unwrap();
        limited.start.received = 900;
        limited.limits = limits(800, None);
        lab.firewall().restore(rules).unwrap();
        let server = lab.udp("world", WORLD, 80);
        let client = lab.udp("a1", A1, 4000);

        let seen = lab.send(&client, &server, 100).unwrap();
        server.send_to(b"reply", seen).unwrap();

        assert!(client.recv(&mut [0; 10]).is_err());
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_that_goes_tells_its_last_bytes() {
    in_lab(|lab| {
        let mut firewall = lab.firewall();
        firewall.restore(lab.rules()).unwrap();
        assert!(lab.reaches("a1", "world", WORLD, 80));

        let last = firewall.change(&[Change::RemoveInstance(id(1))]).unwrap();

        assert_eq!(last.instances.len(), 1);
        assert_eq!(last.instances[&id(1)].sent, 10 + HEADERS);
        assert!(!firewall.counters().unwrap().instances.contains_key(&id(1)));
    });
}
