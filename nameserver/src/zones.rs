//! The names of all networks, as they are looked up.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use aos_names::{NetworkNames, is_name};
use domain::base::iana::Rtype;

/// The gateway's own name.
const GATEWAY: &str = "_gateway";
const REVERSE: &str = "in-addr.arpa";

/// What is known about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// It has this address.
    Address(Ipv4Addr),
    /// It is the name of an address that has this name.
    Pointer(&'a str),
    /// It exists, but has nothing of this type.
    NoData,
    /// It does not exist, and nobody else would know it.
    NoName,
    /// It belongs to a network that others may know more of: only that
    /// network's own servers are asked.
    Unit,
    /// It is nothing of the unit.
    Elsewhere,
}

/// All networks of the node.
#[derive(Debug, Default)]
pub(crate) struct Zones {
    zones: Vec<Zone>,
}

#[derive(Debug)]
struct Zone {
    names: NetworkNames,
    suffix: String,
    addresses: HashMap<String, Ipv4Addr>,
    /// Names that only exist as the end of others.
    ends: HashSet<String>,
    pointers: HashMap<Ipv4Addr, String>,
}

impl Zones {
    pub(crate) fn new(networks: impl IntoIterator<Item = NetworkNames>) -> Self {
        let mut zones: Vec<Zone> = networks.into_iter().map(Zone::new).collect();
        // Of two suffixes that fit a name the longer one counts.
        zones.sort_by_key(|zone| std::cmp::Reverse(zone.suffix.len()));

        Self { zones }
    }

    /// The network on this bridge.
    pub(crate) fn network(&self, bridge: &str) -> Option<&NetworkNames> {
        Some(&self.own(bridge)?.names)
    }

    /// The servers that the network on this bridge names.
    pub(crate) fn servers(&self, bridge: &str) -> &[IpAddr] {
        self.network(bridge)
            .map_or(&[], |names| names.dns_servers.as_slice())
    }

    /// Whether an address is one where this server listens: to ask it would be
    /// to ask ourselves.
    pub(crate) fn is_ours(&self, address: IpAddr) -> bool {
        self.zones.iter().any(|zone| zone.names.gateway == address)
    }

    /// What the network on this bridge is told about a name in lower case.
    pub(crate) fn look_up(&self, bridge: &str, name: &str, qtype: Rtype) -> Verdict<'_> {
        let own = self.own(bridge);
        let plain = own.and_then(|zone| zone.address(name, qtype));
        if let Some(verdict) = plain {
            return verdict;
        }
        if let Some(verdict) = self.reverse(name, qtype) {
            return verdict;
        }
        let mut is_of_unit = false;
        for zone in self.zones.iter().filter(|zone| !zone.suffix.is_empty()) {
            if name == zone.suffix {
                return Verdict::NoData;
            }
            let inner = name
                .strip_suffix(&zone.suffix)
                .and_then(|rest| rest.strip_suffix('.'));
            if let Some(inner) = inner {
                is_of_unit = true;
                if let Some(verdict) = zone.find(inner, qtype) {
                    return verdict;
                }
            }
        }

        if is_of_unit {
            Verdict::Unit
        } else if name.contains('.') {
            // The end of a host name may be somebody's in the wide world.
            Verdict::Elsewhere
        } else if own.is_some_and(|zone| zone.ends.contains(name)) {
            Verdict::NoData
        } else {
            // One word is the name of a neighbour, or of nobody.
            Verdict::NoName
        }
    }

    fn own(&self, bridge: &str) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.names.bridge == bridge)
    }

    /// About `4.3.2.1.in-addr.arpa`. `None`: it is not about our networks.
    fn reverse(&self, name: &str, qtype: Rtype) -> Option<Verdict<'_>> {
        let digits = name.strip_suffix(REVERSE)?.strip_suffix('.')?;
        let parts: Vec<u8> = digits
            .split('.')
            .map(|part| part.parse().ok())
            .collect::<Option<_>>()?;
        let mut octets = [0; 4];
        for (octet, part) in octets.iter_mut().zip(parts.iter().rev()) {
            *octet = *part;
        }
        let address = Ipv4Addr::from(octets);
        let is_whole = parts.len() == octets.len();
        let zone = self.zones.iter().find(|zone| {
            let is_inside = parts.len() * 8 >= usize::from(zone.names.prefix);
            is_inside && parts.len() <= octets.len() && zone.names.contains(address)
        })?;

        Some(match zone.pointers.get(&address) {
            Some(name) if is_whole && qtype == Rtype::PTR => Verdict::Pointer(name),
            Some(_) if is_whole => Verdict::NoData,
            _ if is_whole => Verdict::NoName,
            _ => Verdict::NoData,
        })
    }
}

impl Zone {
    fn new(names: NetworkNames) -> Self {
        let suffix = if is_name(&names.network) {
            names.network.to_ascii_lowercase()
        } else {
            String::new()
        };
        let mut zone = Self {
            suffix,
            addresses: HashMap::new(),
            ends: HashSet::new(),
            pointers: HashMap::new(),
            names,
        };
        for instance in std::mem::take(&mut zone.names.instances) {
            for name in &instance.names {
                zone.add(name, instance.address);
            }
        }
        zone.add(GATEWAY, zone.names.gateway);

        zone
    }

    /// The first who has a name or an address keeps it.
    fn add(&mut self, name: &str, address: Ipv4Addr) {
        let full = format!("{name}.{}", self.names.network);
        let shown = if is_name(&full) { &full } else { name };
        self.pointers
            .entry(address)
            .or_insert_with(|| shown.to_owned());
        let name = name.to_ascii_lowercase();
        let mut rest = name.as_str();
        while let Some((_, end)) = rest.split_once('.') {
            self.ends.insert(end.to_owned());
            rest = end;
        }
        self.addresses.entry(name).or_insert(address);
    }

    fn address(&self, name: &str, qtype: Rtype) -> Option<Verdict<'_>> {
        let address = *self.addresses.get(name)?;
        Some(if qtype == Rtype::A {
            Verdict::Address(address)
        } else {
            Verdict::NoData
        })
    }

    fn find(&self, name: &str, qtype: Rtype) -> Option<Verdict<'_>> {
        let is_end = || self.ends.contains(name).then_some(Verdict::NoData);
        self.address(name, qtype).or_else(is_end)
    }
}
