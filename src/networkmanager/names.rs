//! Names and aliases of links.
//!
//! A link's name has at most 15 bytes, and an id often more. So the name is
//! stable but short, and the link's alias says in full whose it is: an operator
//! sees it with `ip link`, and we recognise what is ours by it.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use uuid::Uuid;

use crate::model::{InstanceId, NetworkId};

/// Longest name of a link, in bytes (`IFNAMSIZ` without the final zero).
const LONGEST_NAME: usize = 15;

/// Longest id of a network, in bytes, so that its alias fits `IFALIASZ`.
pub(super) const LONGEST_ID: usize = 200;

const BRIDGE: &str = "br-";
const VLAN: &str = "vlan-";
/// Hexadecimal digits after [`VLAN`], here and in release 7.2.3.
const VLAN_DIGITS: usize = 8;
/// What the names of host ends begin with. They are as long as names can be:
/// the firewall recognises them by both.
pub(super) const HOST_END: &str = "veth";
const IFB: &str = "ifb-";
const NETWORK_ALIAS: &str = "aos network ";
const VLAN_ALIAS: &str = "aos vlan of network ";
const INSTANCE_ALIAS: &str = "aos instance ";

/// The alias of links that wait for their end.
pub(super) const RELEASED: &str = "aos released";

/// The name of a network's bridge: `br-<id>` where that is a name that links
/// can have, else `br-` and a hash. Names that are `in_use` by others are
/// passed over.
pub(super) fn bridge(network: &NetworkId, in_use: impl Fn(&str) -> bool) -> String {
    let plain = format!("{BRIDGE}{network}");
    let fits = plain.len() <= LONGEST_NAME
        && plain.len() > BRIDGE.len()
        && plain
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if fits && !in_use(&plain) {
        return plain;
    }

    hashed(BRIDGE, LONGEST_NAME, network, in_use)
}

/// The name of a network's 802.1q link. Names that are `in_use` by others are
/// passed over.
pub(super) fn vlan(network: &NetworkId, in_use: impl Fn(&str) -> bool) -> String {
    hashed(VLAN, VLAN.len() + VLAN_DIGITS, network, in_use)
}

/// Whether we, or release 7.2.3, could have named an 802.1q link so.
pub(super) fn is_vlan(name: &str) -> bool {
    name.strip_prefix(VLAN).is_some_and(|digits| {
        digits.len() == VLAN_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// A name for the host's end of a veth pair. It is new each time: the kernel
/// takes a while to delete a pair, and the instance may be back by then. Whose
/// it is, the alias says.
pub(super) fn host_end(random: Uuid) -> String {
    with_hex(HOST_END, random.as_bytes())
}

/// The name of the ifb that limits the upload of an instance.
pub(super) fn ifb(instance: InstanceId) -> String {
    with_hex(IFB, &Sha256::digest(instance.as_bytes()))
}

/// The alias of a network's bridge.
pub(super) fn network_alias(network: &NetworkId) -> String {
    format!("{NETWORK_ALIAS}{network}")
}

/// The network whose bridge has this alias.
pub(super) fn network_of(alias: &str) -> Option<NetworkId> {
    alias.strip_prefix(NETWORK_ALIAS).map(NetworkId::from)
}

/// The alias of a network's 802.1q link.
pub(super) fn vlan_alias(network: &NetworkId) -> String {
    format!("{VLAN_ALIAS}{network}")
}

/// The network whose 802.1q link has this alias.
pub(super) fn vlan_network_of(alias: &str) -> Option<NetworkId> {
    alias.strip_prefix(VLAN_ALIAS).map(NetworkId::from)
}

/// The alias of the links of an instance at the host: its end of the veth pair,
/// and the ifb.
pub(super) fn instance_alias(instance: InstanceId) -> String {
    format!("{INSTANCE_ALIAS}{instance}")
}

/// The instance whose link has this alias.
pub(super) fn instance_of(alias: &str) -> Option<InstanceId> {
    alias.strip_prefix(INSTANCE_ALIAS)?.parse().ok()
}

/// The first name of `length` bytes that is free, made of the network's id.
fn hashed(
    prefix: &str,
    length: usize,
    network: &NetworkId,
    in_use: impl Fn(&str) -> bool,
) -> String {
    let mut attempt: u32 = 0;
    loop {
        let mut hash = Sha256::new();
        hash.update(attempt.to_be_bytes());
        hash.update(network.as_str());
        let mut name = with_hex(prefix, &hash.finalize());
        name.truncate(length);
        if !in_use(&name) {
            return name;
        }
        attempt += 1;
    }
}

/// `prefix`, filled up with hexadecimal digits of `hash`.
fn with_hex(prefix: &str, hash: &[u8]) -> String {
    let mut name = prefix.to_owned();
    for byte in hash {
        write!(name, "{byte:02x}").expect("writing to a String cannot fail");
    }
    name.truncate(LONGEST_NAME);

    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn free(_: &str) -> bool {
        false
    }

    #[test]
    fn short_id_is_in_the_name_of_the_bridge() {
        let name = bridge(&"provider_1-b".into(), free);

        assert_eq!(name, "br-provider_1-b");
    }

    #[test]
    fn long_ids_that_begin_alike_get_different_names() {
        let one = bridge(&"provider-network-1".into(), free);
        let other = bridge(&"provider-network-2".into(), free);

        assert_ne!(one, other);
    }

    #[test]
    fn name_in_use_by_another_link_is_passed_over() {
        let network = NetworkId::from("lan");
        let hashed = bridge(&network, |name| name == "br-lan");

        let next = bridge(&network, |name| name == "br-lan" || name == hashed);

        assert_ne!(hashed, "br-lan");
        assert_ne!(next, hashed);
    }

    #[test]
    fn aliases_lead_back_to_their_owners() {
        let network = NetworkId::from("provider network");
        let instance = InstanceId::from_u128(7);

        assert_eq!(
            vlan_network_of(&vlan_alias(&network)),
            Some(network.clone())
        );
        assert_eq!(network_of(&vlan_alias(&network)), None);
        assert_eq!(vlan_network_of(&network_alias(&network)), None);
        assert_eq!(network_of(&network_alias(&network)), Some(network));
        assert_eq!(instance_of(&instance_alias(instance)), Some(instance));
    }

    #[test]
    fn aliases_of_others_are_not_ours() {
        for alias in [
            "",
            "uplink",
            "aos instance",
            "aos instance 12",
            "aos networks",
        ] {
            assert_eq!(network_of(alias), None, "{alias}");
            assert_eq!(instance_of(alias), None, "{alias}");
        }
    }

    #[test]
    fn vlan_name_in_use_by_another_link_is_passed_over() {
        let network = NetworkId::from("lan");
        let first = vlan(&network, free);

        let next = vlan(&network, |name| name == first);

        assert_ne!(next, first);
        assert!(is_vlan(&next));
    }

    #[test]
    fn names_of_others_are_not_taken_for_ours() {
        for name in [
            "vlan-",
            "vlan-1234567",
            "vlan-123456789",
            "vlan-1234567x",
            "eth0.1234567",
        ] {
            assert!(!is_vlan(name), "{name}");
        }
        assert!(is_vlan("vlan-12ab34CD"));
    }

    proptest! {
        #[test]
        fn every_id_gives_a_name_that_links_can_have(id in any::<String>(), bits in any::<u128>()) {
            let network = NetworkId::new(id);
            let bridge = bridge(&network, free);
            let vlan = vlan(&network, free);
            let host_end = host_end(Uuid::from_u128(bits));
            let ifb = ifb(InstanceId::from_u128(bits));

            prop_assert!(is_vlan(&vlan));
            for name in [bridge, vlan, host_end, ifb] {
                prop_assert!(name.len() > 3 && name.len() <= LONGEST_NAME);
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(!name.contains(['/', ':', '%', '.']));
            }
        }
    }
}
