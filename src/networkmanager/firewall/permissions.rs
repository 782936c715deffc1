//! What an instance exposes, and what it may reach: texts of images and of CM,
//! read.

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);

    fn rule(proto: &str, ports: &str) -> FirewallRule {
        FirewallRule {
            dst_ip: "172.18.0.2".into(),
            dst_port: ports.into(),
            proto: proto.into(),
            src_ip: OWN.to_string(),
        }
    }

    fn ranges(proto: &str, ports: &str) -> Option<Vec<(u16, u16)>> {
        match Allowed::parse(&rule(proto, ports), OWN).ok()?.target {
            Target::Ports(_, ranges) => Some(ranges.iter().map(|r| (r.first, r.last)).collect()),
            Target::Icmp => None,
        }
    }

    #[test]
    fn ports_are_one_or_a_list_or_a_range() {
        assert_eq!(ranges("tcp", "80"), Some(vec![(80, 80)]));
        assert_eq!(ranges("UDP", "80, 443"), Some(vec![(80, 80), (443, 443)]));
        assert_eq!(ranges("tcp", "8000:8010"), Some(vec![(8000, 8010)]));
        assert_eq!(ranges("tcp", "81,80,1:65535"), Some(vec![(1, 65535)]));
    }

    #[test]
    fn icmp_needs_no_port() {
        let allowed = Allowed::parse(&rule("ICMP", ""), OWN).unwrap();

        assert_eq!(allowed.target, Target::Icmp);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in [
            "", "0", "65536", "+80", "-1", "80,", ",80", "80-90", "90:80", "80:", ":80",
            "80:81:82", "http", "8 0",
        ] {
            assert_eq!(ranges("tcp", text), None, "{text}");
            assert!(Exposed::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn exposed_port_is_tcp_unless_it_says_so() {
        let parsed = ["80", "80/tcp", "80/UDP"].map(|text| Exposed::parse(text).unwrap());

        assert_eq!(parsed[0], parsed[1]);
        assert_eq!(parsed[2].protocol, Protocol::Udp);
        assert!(Exposed::parse("80/icmp").is_err());
        assert!(Exposed::parse("80/").is_err());
        assert!(Exposed::parse("80/tcp/udp").is_err());
    }

    #[test]
    fn rule_of_somebody_else_is_refused() {
        for source in ["", "172.17.0.3", "0.0.0.0/0", "text"] {
            let rule = FirewallRule {
                src_ip: source.into(),
                ..rule("tcp", "80")
            };
            let fault = Allowed::parse(&rule, OWN).unwrap_err();
            assert!(matches!(fault, RuleFault::Source { .. }), "{source}");
        }
    }

    #[test]
    fn error_names_instance_and_rule() {
        let id = InstanceId::from_u128(7);

        let error = allowed(id, &[rule("sctp", "80")], OWN).unwrap_err();
        let text = format!("{}", crate::model::Chain(&error));
        assert!(text.contains(&id.to_string()), "{text}");
        assert!(text.contains("172.17.0.2 -> 172.18.0.2 sctp 80"), "{text}");

        let error = exposed(id, &["80/sctp".into()]).unwrap_err();
        let text = format!("{}", crate::model::Chain(&error));
        assert!(
            text.contains("`80/sctp`") && text.contains(&id.to_string()),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(texts in proptest::array::uniform4(any::<String>())) {
            let [dst_ip, dst_port, proto, src_ip] = texts;
            drop(Exposed::parse(&dst_port));
            drop(read_ports(&dst_port));
            let rule = FirewallRule { dst_ip, dst_port, proto, src_ip };
            drop(Allowed::parse(&rule, OWN));
        }
    }
}
