//! The port that leads to the same network on other nodes.

use std::net::Ipv4Addr;

use super::lab::{A1, A2, GATEWAY_A, Lab, id, in_lab};
use crate::networkmanager::firewall::{Change, Rules};

/// An instance on another node.
const FAR: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 50);

/// Somebody on the VLAN, with the address of an instance there.
fn another_node(lab: &Lab) {
    lab.run("ip", &["netns", "add", "node"]);
    lab.ip_batch(
        None,
        "link add vlan0 type veth peer name eth0 netns node\n\
         link set vlan0 master br-a\nlink set vlan0 up\n",
    );
    lab.ip(
        "node",
        &format!("link set lo up\naddr add {FAR}/24 dev eth0\nlink set eth0 up\n"),
    );
}

fn rules(lab: &Lab) -> Rules {
    let mut rules = lab.rules();
    rules.bridges.get_mut("br-a").unwrap().vlan_port = Some("vlan0".into());
    rules
}

fn neighbours(lab: &Lab, namespace: &str) -> String {
    let output = lab.run("ip", &["-n", namespace, "neigh"]);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instances_of_both_nodes_reach_each_other_and_not_the_other_gateway() {
    in_lab(|lab| {
        another_node(&lab);
        lab.firewall().restore(rules(&lab)).unwrap();

        assert!(lab.reaches("a1", "node", FAR, 80));
        assert!(lab.reaches("node", "a1", A1, 80));

        // Neither asks for the gateway there, nor tells of its own.
        assert!(!lab.pings("node", GATEWAY_A));
        assert!(!neighbours(&lab, "node").contains("0a:00:00:00:00:01"));
        lab.ip(
            "node",
            &format!("addr add {GATEWAY_A}/24 dev eth0\nneigh flush all\n"),
        );
        assert!(!lab.reaches_from("node", GATEWAY_A, "a1", A1, 81));
        assert!(lab.pings("a1", GATEWAY_A));
        let known = neighbours(&lab, "a1");
        assert!(known.contains("0a:00:00:00:00:01"), "{known}");
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn address_of_an_instance_is_claimed_elsewhere_only_when_it_has_gone() {
    in_lab(|lab| {
        another_node(&lab);
        let mut firewall = lab.firewall();
        firewall.restore(rules(&lab)).unwrap();
        lab.ip("node", &format!("addr add {A2}/24 dev eth0\n"));

        assert!(!lab.reaches_from("node", A2, "a1", A1, 80));

        // It moves to the other node, where nobody waits for an answer any more.
        lab.ip("node", "neigh flush all\n");
        lab.run("ip", &["netns", "del", "a2"]);
        firewall.change(&[Change::RemoveInstance(id(2))]).unwrap();
        assert!(lab.reaches_from("node", A2, "a1", A1, 80));
    });
}
