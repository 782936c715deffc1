//! The sets of both tables: their names, and what their elements are made of.

/// A table of ours. Both are called `aos`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::networkmanager) enum Family {
    /// Frames between ports of bridges.
    Bridge,
    /// IPv4 and IPv6 packets of the host.
    Inet,
}

/// One part of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) enum Field {
    Interface,
    Ether,
    Address,
    Address6,
    Protocol,
    Port,
}

/// What is looked up in a set of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::networkmanager) enum ObjectKind {
    Counter,
    Quota,
}

/// What the elements of a set look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) struct Shape {
    pub(in crate::networkmanager) fields: &'static [Field],
    /// Elements are ranges.
    pub(in crate::networkmanager) ranges: bool,
    /// Elements lead to objects of this kind.
    pub(in crate::networkmanager) objects: Option<ObjectKind>,
}

/// A set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::networkmanager) enum SetId {
    /// Port, link-layer and IP address of each instance.
    Seats,
    /// IP address of each instance.
    SeatAddresses,
    /// Link-layer address of each instance.
    SeatMacs,
    /// Ports that lead to other nodes.
    VlanPorts,
    /// The same with the address of the network's gateway.
    VlanGateways,

    /// Our bridges.
    Bridges,
    /// Each bridge with itself.
    SameBridge,
    /// Bridges whose instances may not reach the host.
    Restricted,
    /// Bridges with their gateways.
    Gateways,
    /// Gateways of all networks.
    GatewayAddresses,
    /// Subnets of all networks.
    Subnets,
    /// IPv4 addresses that are no public ones.
    Private,
    /// IPv6 addresses that are no public ones.
    Private6,
    /// Address, protocol and port that may be reached from outside.
    Exposed,
    /// Source, destination, protocol and ports.
    Allowed,
    /// Source and destination.
    AllowedIcmp,
    /// Counter of what an address receives.
    CountersIn,
    /// Counter of what an address sends.
    CountersOut,
    /// Quota of what an address receives.
    QuotasIn,
    /// Quota of what an address sends.
    QuotasOut,
}

impl SetId {
    /// All of them.
    pub(in crate::networkmanager) const ALL: [Self; 20] = [
        Self::Seats,
        Self::SeatAddresses,
        Self::SeatMacs,
        Self::VlanPorts,
        Self::VlanGateways,
        Self::Bridges,
        Self::SameBridge,
        Self::Restricted,
        Self::Gateways,
        Self::GatewayAddresses,
        Self::Subnets,
        Self::Private,
        Self::Private6,
        Self::Exposed,
        Self::Allowed,
        Self::AllowedIcmp,
        Self::CountersIn,
        Self::CountersOut,
        Self::QuotasIn,
        Self::QuotasOut,
    ];

    /// The table that it is in.
    pub(in crate::networkmanager) fn family(self) -> Family {
        match self {
            Self::Seats
            | Self::SeatAddresses
            | Self::SeatMacs
            | Self::VlanPorts
            | Self::VlanGateways => Family::Bridge,
            _ => Family::Inet,
        }
    }

    /// Its name in the table.
    pub(in crate::networkmanager) fn name(self) -> &'static str {
        match self {
            Self::Seats => "seats",
            Self::SeatAddresses => "seat_addresses",
            Self::SeatMacs => "seat_macs",
            Self::VlanPorts => "vlan_ports",
            Self::VlanGateways => "vlan_gateways",
            Self::Bridges => "bridges",
            Self::SameBridge => "same_bridge",
            Self::Restricted => "restricted",
            Self::Gateways => "gateways",
            Self::GatewayAddresses => "gateway_addresses",
            Self::Subnets => "subnets",
            Self::Private => "private",
            Self::Private6 => "private6",
            Self::Exposed => "exposed",
            Self::Allowed => "allowed",
            Self::AllowedIcmp => "allowed_icmp",
            Self::CountersIn => "counters_in",
            Self::CountersOut => "counters_out",
            Self::QuotasIn => "quotas_in",
            Self::QuotasOut => "quotas_out",
        }
    }

    /// The set of a table that has this name.
    pub(in crate::networkmanager) fn of(family: Family, name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|set| set.family() == family && set.name() == name)
    }

    /// What its elements look like.
    pub(in crate::networkmanager) fn shape(self) -> Shape {
        use Field::{Address, Address6, Ether, Interface, Port, Protocol};

        let fields: &[Field] = match self {
            Self::Seats => &[Interface, Ether, Address],
            Self::SeatMacs => &[Ether],
            Self::VlanPorts | Self::Bridges | Self::Restricted => &[Interface],
            Self::VlanGateways | Self::Gateways => &[Interface, Address],
            Self::SameBridge => &[Interface, Interface],
            Self::SeatAddresses
            | Self::GatewayAddresses
            | Self::Subnets
            | Self::Private
            | Self::CountersIn
            | Self::CountersOut
            | Self::QuotasIn
            | Self::QuotasOut => &[Address],
            Self::Private6 => &[Address6],
            Self::Exposed => &[Address, Protocol, Port],
            Self::Allowed => &[Address, Address, Protocol, Port],
            Self::AllowedIcmp => &[Address, Address],
        };
        Shape {
            fields,
            ranges: matches!(
                self,
                Self::Subnets | Self::Private | Self::Private6 | Self::Allowed
            ),
            objects: match self {
                Self::CountersIn | Self::CountersOut => Some(ObjectKind::Counter),
                Self::QuotasIn | Self::QuotasOut => Some(ObjectKind::Quota),
                _ => None,
            },
        }
    }
}

impl Family {
    /// Both.
    pub(in crate::networkmanager) const ALL: [Self; 2] = [Self::Bridge, Self::Inet];
}

impl Field {
    /// Bytes that matter.
    pub(in crate::networkmanager) fn length(self) -> u32 {
        match self {
            Self::Interface | Self::Address6 => 16,
            Self::Ether => 6,
            Self::Address => 4,
            Self::Protocol => 1,
            Self::Port => 2,
        }
    }

    /// Bytes that it takes in an element of more than one field.
    pub(in crate::networkmanager) fn padded(self) -> u32 {
        self.length().next_multiple_of(4)
    }

    /// How the program `nft` calls it: the kernel only keeps it.
    fn code(self) -> u32 {
        match self {
            Self::Address => 7,
            Self::Address6 => 8,
            Self::Ether => 9,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Interface => 41,
        }
    }
}

impl Shape {
    /// Bytes of a whole element.
    pub(in crate::networkmanager) fn length(self) -> u32 {
        match self.fields {
            [field] => field.length(),
            fields => fields.iter().map(|field| field.padded()).sum(),
        }
    }

    /// The type of its elements, as the program `nft` writes it.
    pub(in crate::networkmanager) fn code(self) -> u32 {
        const BITS: u32 = 6;
        self.fields
            .iter()
            .fold(0, |code, field| code << BITS | field.code())
    }

    /// Elements have several fields and are ranges.
    pub(in crate::networkmanager) fn ranges_of_many(self) -> bool {
        self.ranges && self.fields.len() > 1
    }
}
