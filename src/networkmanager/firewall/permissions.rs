//! What an instance exposes, and what it may reach: texts of images and of CM,
//! read.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::model::{FirewallRule, InstanceId};
use crate::networkmanager::error::NetworkError;

/// A port that may be reached from outside the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::networkmanager) struct Exposed {
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

/// What may be reached in another network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::networkmanager) struct Allowed {
    pub(super) destination: Ipv4Addr,
    pub(super) target: Target,
}

/// What of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Icmp,
    Ports(Protocol, Vec<PortRange>),
}

/// A protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortRange {
    pub(super) first: u16,
    pub(super) last: u16,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// No protocol that rules can be about.
    #[error("`{0}` is no protocol that is supported here")]
    Protocol(String),
    /// Neither ports nor a range of them.
    #[error("`{0}` is no port, list `80,443` or range `8000:8010`")]
    Ports(String),
    /// The destination is not an IPv4 address.
    #[error("destination `{0}` is not an IPv4 address")]
    Destination(String),
    /// The source is not the instance.
    #[error("source `{text}` is not the instance's own address {own}")]
    Source {
        /// As CM sent it.
        text: String,
        /// What it should be.
        own: Ipv4Addr,
    },
}

/// Reads what the image of an instance exposes.
pub(in crate::networkmanager) fn exposed(
    instance: InstanceId,
    texts: &[String],
) -> Result<Vec<Exposed>, NetworkError> {
    texts
        .iter()
        .map(|text| {
            Exposed::parse(text).map_err(|fault| NetworkError::BadExposedPort {
                instance,
                text: text.clone(),
                fault,
            })
        })
        .collect()
}

/// Reads what an instance with the address `own` may reach.
pub(in crate::networkmanager) fn allowed(
    instance: InstanceId,
    rules: &[FirewallRule],
    own: Ipv4Addr,
) -> Result<Vec<Allowed>, NetworkError> {
    rules
        .iter()
        .map(|rule| {
            Allowed::parse(rule, own).map_err(|fault| NetworkError::BadRule {
                instance,
                rule: describe(rule),
                fault,
            })
        })
        .collect()
}

impl Exposed {
    /// Reads `port[/proto]`; without a protocol it is tcp.
    pub(in crate::networkmanager) fn parse(text: &str) -> Result<Self, RuleFault> {
        let (port, protocol) = text.trim().split_once('/').unwrap_or((text.trim(), "tcp"));

        Ok(Self {
            protocol: protocol.parse()?,
            port: read_port(port).ok_or_else(|| RuleFault::Ports(port.to_owned()))?,
        })
    }
}

impl Allowed {
    /// Reads a rule of the instance with the address `own`.
    pub(in crate::networkmanager) fn parse(
        rule: &FirewallRule,
        own: Ipv4Addr,
    ) -> Result<Self, RuleFault> {
        if rule.src_ip.trim().parse() != Ok(own) {
            return Err(RuleFault::Source {
                text: rule.src_ip.clone(),
                own,
            });
        }
        let destination = rule
            .dst_ip
            .trim()
            .parse()
            .map_err(|_| RuleFault::Destination(rule.dst_ip.clone()))?;
        // What has no ports needs none in its rule.
        let target = if rule.proto.trim().eq_ignore_ascii_case("icmp") {
            Target::Icmp
        } else {
            Target::Ports(rule.proto.parse()?, read_ports(&rule.dst_port)?)
        };

        Ok(Self {
            destination,
            target,
        })
    }
}

impl FromStr for Protocol {
    type Err = RuleFault;

    fn from_str(text: &str) -> Result<Self, RuleFault> {
        match text.trim().to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(RuleFault::Protocol(text.to_owned())),
        }
    }
}

impl Protocol {
    /// Its number in an IP header.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// The same ports in as few ranges as possible, none of which overlap: the
/// kernel takes no others.
pub(super) fn joined(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut joined: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if u32::from(range.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(range.last);
            }
            _ => joined.push(range),
        }
    }

    joined
}

/// Reads a port, a list of ports, or a range; lists may have ranges in them.
fn read_ports(text: &str) -> Result<Vec<PortRange>, RuleFault> {
    text.split(',')
        .map(|item| {
            let (first, last) = item.split_once(':').unwrap_or((item, item));
            let range = read_port(first)
                .zip(read_port(last))
                .map(|(first, last)| PortRange { first, last });
            range.filter(|range| range.first <= range.last)
        })
        .collect::<Option<Vec<PortRange>>>()
        .map(joined)
        .ok_or_else(|| RuleFault::Ports(text.to_owned()))
}

fn read_port(text: &str) -> Option<u16> {
    let text = text.trim();
    // `parse` would take `+80`.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

fn describe(rule: &FirewallRule) -> String {
    format!(
        "{} -> {} {} {}",
        rule.src_ip, rule.dst_ip, rule.proto, rule.dst_port
    )
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}
