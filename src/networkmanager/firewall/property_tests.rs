//! Whatever happens, the kernel has what the rules say.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::permissions::{PortRange, Protocol, Target, joined};
use super::{
    Allowed, BridgeRules, Change, Contents, Difference, Edge, Exposed, InstanceRules, Rules, SetId,
};
use crate::model::{Flow, InstanceId};
use crate::networkmanager::addresses::instance_mac;
use crate::networkmanager::handle::TrafficLimits;

/// What a transaction does, as the kernel does it: it refuses what is there
/// already, and what is not there.
fn carry_out(kernel: &mut Contents, difference: &Difference) -> Result<(), TestCaseError> {
    for element in &difference.remove {
        prop_assert!(kernel.elements.remove(element), "{element:?} is not there");
    }
    for id in &difference.remove_objects {
        let used = kernel.elements.iter().any(|(set, element)| {
            set.shape().objects == Some(id.kind) && element.object.as_ref() == Some(&id.name)
        });
        prop_assert!(!used, "{id} is in use");
        prop_assert!(kernel.objects.remove(id).is_some(), "{id} is not there");
    }
    for (id, object) in &difference.add_objects {
        // A new quota begins with what its counter has seen.
        let seen = kernel.objects.get(&id.counter()).map(|seen| seen.bytes());
        let object = seen.map_or(*object, |bytes| object.with_bytes(bytes));
        let old = kernel.objects.insert(id.clone(), object);
        prop_assert!(old.is_none(), "{id} is there already");
    }
    for (set, element) in &difference.add {
        let taken = kernel.elements.iter().any(|(other, there)| {
            other == set && there.key == element.key && there.edge == element.edge
        });
        prop_assert!(!taken, "{element:?} is there already");
        kernel.elements.insert((*set, element.clone()));
    }

    Ok(())
}

fn address() -> impl Strategy<Value = Ipv4Addr> {
    (0_u8..3, 2_u8..6).prop_map(|(network, host)| Ipv4Addr::new(172, 17, network, host))
}

fn allowed() -> impl Strategy<Value = Allowed> {
    let range = (1_u16..30, 0_u16..10).prop_map(|(first, more)| PortRange {
        first,
        last: first + more,
    });
    let ports = (any::<bool>(), vec(range, 1..4)).prop_map(|(tcp, ranges)| {
        let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
        Target::Ports(protocol, ranges)
    });
    (address(), prop_oneof![Just(Target::Icmp), ports]).prop_map(|(destination, target)| Allowed {
        destination,
        target,
    })
}

fn instance() -> impl Strategy<Value = InstanceRules> {
    (
        address(),
        vec(1_u16..4, 0..3),
        vec(allowed(), 0..4),
        (any::<Option<u32>>(), any::<Option<u32>>()),
        any::<u32>(),
    )
        .prop_map(|(address, ports, allowed, (download, upload), seen)| {
            let exposed = ports.into_iter().map(|port| Exposed {
                protocol: Protocol::Tcp,
                port,
            });
            InstanceRules {
                exposed: exposed.collect(),
                start: Flow {
                    received: seen.into(),
                    sent: 0,
                },
                limits: TrafficLimits {
                    download: download.map(u64::from),
                    upload: upload.map(u64::from),
                },
                ..seated(address, allowed)
            }
        })
}

fn seated(address: Ipv4Addr, allowed: Vec<Allowed>) -> InstanceRules {
    InstanceRules {
        bridge: "br".into(),
        host_end: format!("veth{:011x}", u32::from(address)),
        mac: instance_mac(address),
        address,
        exposed: Vec::new(),
        allowed,
        start: Flow::default(),
        limits: TrafficLimits::default(),
    }
}

fn change() -> impl Strategy<Value = Change> {
    let bridge = (0_u8..4, any::<bool>(), 1_u8..200).prop_map(|(n, vlan, gateway)| {
        let rules = BridgeRules {
            subnet: format!("172.17.{n}.0/24").parse().expect("a subnet"),
            gateway: Ipv4Addr::new(172, 17, n, gateway),
            vlan_port: vlan.then(|| format!("vlan{n}")),
        };
        Change::SetBridge(format!("br-{n}"), rules)
    });
    let id = || (0_u128..6).prop_map(InstanceId::from_u128);
    prop_oneof![
        bridge,
        (0_u8..4).prop_map(|n| Change::RemoveBridge(format!("br-{n}"))),
        (id(), instance()).prop_map(|(id, rules)| Change::SetInstance(id, rules)),
        id().prop_map(Change::RemoveInstance),
    ]
}

/// No two instances have one address: the book sees to that.
fn clashes(rules: &Rules) -> bool {
    let addresses: BTreeSet<Ipv4Addr> = rules.instances.values().map(|i| i.address).collect();
    addresses.len() != rules.instances.len()
}

proptest! {
    #[test]
    fn kernel_has_what_rules_say_after_any_changes(
        batches in vec(vec(change(), 1..6), 0..12),
        restrict_host in any::<bool>(),
    ) {
        let mut rules = Rules { restrict_host, ..Rules::default() };
        let mut kernel = Contents::default();
        carry_out(&mut kernel, &Difference::between(&Contents::default(), &rules.contents()))?;

        for batch in batches {
            let mut next = rules.clone();
            for change in &batch {
                next.apply(change.clone());
            }
            if clashes(&next) {
                continue;
            }
            let part = Difference::between(&rules.contents_of(&batch), &next.contents_of(&batch));
            let whole = Difference::between(&rules.contents(), &next.contents());
            // Looking at what changes is as good as looking at all.
            prop_assert_eq!(&part, &whole);

            carry_out(&mut kernel, &part)?;
            rules = next;

            let left = Difference::between(&kernel, &rules.contents());
            prop_assert!(left.is_empty(), "{left:?}");
        }
    }

    #[test]
    fn whatever_is_there_becomes_what_rules_say(
        before in vec(change(), 0..10),
        after in vec(change(), 0..10),
    ) {
        let [found, wanted] = [before, after].map(|changes| {
            let mut rules = Rules::default();
            for change in changes {
                rules.apply(change);
            }
            rules
        });
        prop_assume!(!clashes(&found) && !clashes(&wanted));
        let mut kernel = found.contents();

        carry_out(&mut kernel, &Difference::between(&found.contents(), &wanted.contents()))?;

        prop_assert!(Difference::between(&kernel, &wanted.contents()).is_empty());
        for (id, object) in &kernel.objects {
            if let Some(old) = found.contents().objects.get(id) {
                prop_assert_eq!(old.bytes(), object.bytes(), "{} forgets", id);
            }
        }
    }

    #[test]
    fn ranges_that_are_joined_hold_the_same_ports_and_never_overlap(
        ranges in vec((any::<u16>(), any::<u16>()), 0..8),
    ) {
        let ranges: Vec<PortRange> = ranges
            .into_iter()
            .map(|(a, b)| PortRange { first: a.min(b), last: a.max(b) })
            .collect();

        let joined = joined(ranges.clone());

        let holds = |ranges: &[PortRange], port: u16| {
            ranges.iter().any(|range| (range.first..=range.last).contains(&port))
        };
        for port in 0..=u16::MAX {
            prop_assert_eq!(holds(&ranges, port), holds(&joined, port));
        }
        for pair in joined.windows(2) {
            prop_assert!(u32::from(pair[0].last) + 1 < u32::from(pair[1].first));
        }
    }

    #[test]
    fn elements_are_as_long_as_their_sets_say(changes in vec(change(), 0..10)) {
        let mut rules = Rules { restrict_host: true, ..Rules::default() };
        for change in changes {
            rules.apply(change);
        }

        for (set, element) in rules.contents().elements {
            let length = set.shape().length() as usize;
            prop_assert_eq!(element.key.len(), length, "{:?}", set);
            if let Edge::To(end) = element.edge {
                prop_assert_eq!(end.len(), length);
                prop_assert_eq!(set, SetId::Allowed);
            }
            prop_assert_eq!(element.object.is_some(), set.shape().objects.is_some());
        }
    }

    #[test]
    fn allowed_ranges_never_overlap(lists in vec(vec(allowed(), 0..6), 0..4)) {
        let mut rules = Rules::default();
        for (n, allowed) in (2_u8..).zip(lists) {
            let id = InstanceId::from_u128(n.into());
            rules.instances.insert(id, seated(Ipv4Addr::new(172, 17, 0, n), allowed));
        }

        let mut ends: Option<Vec<u8>> = None;
        for (set, element) in rules.contents().elements {
            let Edge::To(end) = element.edge else { continue };
            prop_assert_eq!(set, SetId::Allowed);
            // Sorted by all but the ports first.
            if let Some(last) = &ends {
                prop_assert!(*last < element.key, "{last:?} {:?}", element.key);
            }
            ends = Some(end);
        }
    }
}
