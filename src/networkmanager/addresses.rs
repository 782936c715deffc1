//! IPv4 subnets, and link-layer addresses that follow from IPv4 ones.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// Link-layer address.
pub(super) type Mac = [u8; 6];

/// An IPv4 subnet that has room for a gateway and an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    /// Host bits are zero.
    network: Ipv4Addr,
    prefix: u8,
}

/// The text is no subnet that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotASubnet;

impl FromStr for Subnet {
    type Err = NotASubnet;

    /// Reads `172.17.0.0/16`. Host bits may be set; they are ignored.
    fn from_str(text: &str) -> Result<Self, NotASubnet> {
        let (address, prefix) = text.split_once('/').ok_or(NotASubnet)?;
        let address: Ipv4Addr = address.parse().map_err(|_| NotASubnet)?;
        // `parse` would take `+8`.
        if !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotASubnet);
        }
        let prefix: u8 = prefix.parse().map_err(|_| NotASubnet)?;
        if !(1..=30).contains(&prefix) {
            return Err(NotASubnet);
        }

        let network = Ipv4Addr::from(u32::from(address) & mask(prefix));
        Ok(Self { network, prefix })
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl Subnet {
    /// Whether `address` can be that of a host: inside, and neither the
    /// subnet's own address nor its broadcast address.
    pub(super) fn has_host(self, address: Ipv4Addr) -> bool {
        let host = u32::from(address) & !mask(self.prefix);

        self.contains(address) && host != 0 && host != !mask(self.prefix)
    }

    /// Whether the two have an address in common.
    pub(super) fn overlaps(self, other: Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// Its first address, and the length of its prefix.
    pub(super) fn parts(self) -> (Ipv4Addr, u8) {
        (self.network, self.prefix)
    }

    /// `address` as an interface of this subnet has it.
    pub(super) fn interface(self, address: Ipv4Addr) -> InterfaceAddress {
        InterfaceAddress {
            address,
            prefix: self.prefix,
        }
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.network)
    }
}

/// An address of an interface, with the length of its subnet's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InterfaceAddress {
    pub(super) address: Ipv4Addr,
    pub(super) prefix: u8,
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The link-layer address of the instance that has `address`: a new instance
/// with an old address is reached at once, without waiting for neighbours to
/// forget.
pub(super) fn instance_mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();

    [0x02, 0x00, a, b, c, d]
}

fn mask(prefix: u8) -> u32 {
    u32::MAX << (32 - u32::from(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_of_a_subnet_are_ignored() {
        let subnet = subnet("172.17.3.4/16");

        assert_eq!(subnet.to_string(), "172.17.0.0/16");
    }

    #[test]
    fn what_is_not_a_subnet_with_room_for_two_hosts_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "/24",
            "10.0.0.0/33",
            "10.0.0.0/32",
            "10.0.0.0/31",
            "0.0.0.0/0",
            "10.0.0/24",
            "10.0.0.256/24",
            "10.0.0.0/+24",
            "10.0.0.0/-1",
            "10.0.0.0/24/1",
            " 10.0.0.0/24",
            "fd00::/64",
            "text",
        ] {
            assert_eq!(text.parse::<Subnet>(), Err(NotASubnet), "{text}");
        }
    }

    #[test]
    fn hosts_are_inside_without_the_first_and_last_address() {
        let subnet = subnet("10.1.2.0/30");

        let hosts: Vec<u8> = (0..=255)
            .filter(|last| subnet.has_host(Ipv4Addr::new(10, 1, 2, *last)))
            .collect();

        assert_eq!(hosts, [1, 2]);
        assert!(!subnet.has_host(Ipv4Addr::new(10, 1, 3, 1)));
    }

    #[test]
    fn overlap_is_seen_from_both_sides() {
        let wide = subnet("10.0.0.0/8");
        let narrow = subnet("10.20.30.0/24");
        let other = subnet("11.0.0.0/8");

        assert!(wide.overlaps(narrow) && narrow.overlaps(wide));
        assert!(wide.overlaps(wide));
        assert!(!wide.overlaps(other) && !other.overlaps(narrow));
    }

    #[test]
    fn macs_are_unicast_and_locally_administered() {
        let mac = instance_mac(Ipv4Addr::new(172, 17, 0, 2));

        assert_eq!(mac, [0x02, 0x00, 172, 17, 0, 2]);
        assert_eq!(mac[0] & 0b11, 0b10);
    }
}
