//! What was found is mended, taken over or replaced.

use super::{kernel, name, network, settle, seven_on, updated, vlans};
use crate::networkmanager::book::Book;
use crate::networkmanager::book::fake_kernel::FakeKernel;
use crate::networkmanager::existing::Vlan;
use crate::networkmanager::store::Stored;

#[test]
fn port_that_was_taken_away_set_down_or_deleted_is_mended() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    updated(&mut book, vec![network("a", 1, 7)], &mut kernel);
    let name = name("a");
    let harms: [fn(&mut FakeKernel, &str); 4] = [
        |kernel, name| kernel.links.get_mut(name).unwrap().master = None,
        |kernel, name| kernel.links.get_mut(name).unwrap().up = false,
        |kernel, name| drop(kernel.links.remove(name)),
        |kernel, name| {
            kernel.links.remove("br-a");
            kernel.links.get_mut(name).unwrap().master = None;
        },
    ];
    for harm in harms {
        harm(&mut kernel, &name);

        settle(&mut book, &mut kernel);

        assert_eq!(vlans(&kernel, "a"), seven_on("eth0"));
    }
}

#[test]
fn port_that_is_down_because_its_uplink_is_needs_nothing() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    updated(&mut book, vec![network("a", 1, 7)], &mut kernel);
    kernel.links.get_mut("eth0").unwrap().up = false;
    kernel.links.get_mut(&name("a")).unwrap().up = false;
    kernel.uplinks.clear();

    assert_eq!(settle(&mut book, &mut kernel), Vec::<String>::new());
}

/// As release 7.2.3 leaves a network: no alias, and a name that it rolled.
fn inherited(kernel: &mut FakeKernel, vlan_id: u64, joined: bool) -> Book {
    kernel.add_interface("br-a");
    kernel.add_interface("vlan-0123abcd");
    let bridge = kernel.links.get_mut("br-a").unwrap();
    bridge.bridge = true;
    let index = bridge.index;
    let lower = kernel.links["eth0"].index;
    let vlan = kernel.links.get_mut("vlan-0123abcd").unwrap();
    vlan.vlan = Some(Vlan { id: 7, lower });
    vlan.master = joined.then_some(index);
    let stored = Stored {
        bridge: "br-a".into(),
        removed: false,
        inherited: true,
        parameters: network("a", 1, vlan_id),
    };
    Book::restored(vec![stored], &kernel.existing())
}

#[test]
fn vlan_of_the_old_release_is_taken_over() {
    for joined in [true, false] {
        let mut kernel = kernel();
        let mut book = inherited(&mut kernel, 7, joined);

        let done = settle(&mut book, &mut kernel);

        assert_eq!(done, ["repair VLAN link vlan-0123abcd of network a"]);
        assert_eq!(vlans(&kernel, "a"), seven_on("eth0"));
        assert_eq!(settle(&mut book, &mut kernel), Vec::<String>::new());
    }
}

#[test]
fn vlan_of_the_old_release_that_does_not_fit_is_replaced() {
    let mut kernel = kernel();
    let mut book = inherited(&mut kernel, 8, true);

    settle(&mut book, &mut kernel);

    assert!(!kernel.links.contains_key("vlan-0123abcd"));
    assert_eq!(vlans(&kernel, "a"), [(8, "eth0".into(), true)]);
}

#[test]
fn link_that_a_crash_left_without_alias_is_ours() {
    let (mut book, mut kernel) = (Book::default(), kernel());
    updated(&mut book, vec![network("a", 1, 7)], &mut kernel);
    let link = kernel.links.get_mut(&name("a")).unwrap();
    (link.alias, link.master, link.up) = (String::new(), None, false);

    settle(&mut book, &mut kernel);

    assert_eq!(vlans(&kernel, "a"), seven_on("eth0"));
}
