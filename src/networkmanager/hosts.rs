//! The texts of an instance's `/etc/hosts` and `/etc/resolv.conf`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use crate::model::NetworkId;

/// Asked when neither the network nor the host names a resolver.
const PUBLIC_RESOLVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);

/// `/etc/hosts` of the instance that has `address`. A name that would break the
/// file's lines is left out.
pub(super) fn hosts_text(
    address: Ipv4Addr,
    network: &NetworkId,
    hostname: Option<&str>,
    configured: &[(IpAddr, String)],
) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n",
    );

    let own: Vec<&str> = [Some(network.as_str()), hostname]
        .into_iter()
        .flatten()
        .filter(|name| is_name(name))
        .collect();
    if !own.is_empty() {
        line(&mut text, address, &own.join(" "));
    }
    for (ip, name) in configured {
        if is_name(name) {
            line(&mut text, *ip, name);
        }
    }

    text
}

/// `/etc/resolv.conf` of an instance: the network's own servers, or those of
/// the host, or a public one.
pub(super) fn resolv_conf_text(dns_servers: &[String], host: &[Ipv4Addr]) -> String {
    let mut servers: Vec<IpAddr> = dns_servers
        .iter()
        .filter_map(|server| server.trim().parse().ok())
        .collect();
    if servers.is_empty() {
        servers.extend(host.iter().copied().map(IpAddr::V4));
    }
    if servers.is_empty() {
        servers.push(PUBLIC_RESOLVER.into());
    }

    servers
        .iter()
        .map(|server| format!("nameserver\t{server}\n"))
        .collect()
}

/// The resolvers of a `resolv.conf` that an instance can reach: a loopback
/// address would be its own, and it has no IPv6.
pub(super) fn reachable_resolvers(resolv_conf: &str) -> Vec<Ipv4Addr> {
    resolv_conf
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|server| server.parse::<Ipv4Addr>().ok())
        .filter(|server| !server.is_loopback() && !server.is_unspecified())
        .collect()
}

fn line(text: &mut String, address: impl Into<IpAddr>, names: &str) {
    let address = address.into();
    writeln!(text, "{address}\t{names}").expect("writing to a String cannot fail");
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| !c.is_whitespace() && !c.is_control() && c != '#')
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 5);

    #[test]
    fn hosts_has_localhost_the_own_names_and_the_configured_hosts() {
        let configured = [
            (IpAddr::from([10, 0, 0, 1]), "vis".to_owned()),
            ("fd00::1".parse().unwrap(), "six".to_owned()),
        ];

        let text = hosts_text(OWN, &"provider".into(), Some("web"), &configured);

        assert_eq!(
            text,
            "127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             172.17.0.5\tprovider web\n\
             10.0.0.1\tvis\n\
             fd00::1\tsix\n"
        );
    }

    #[test]
    fn name_cannot_bring_lines_of_its_own_into_hosts() {
        let configured = [(IpAddr::from([10, 0, 0, 1]), "a\n1.2.3.4 bank".to_owned())];

        let text = hosts_text(OWN, &"p #".into(), Some("web\n1.2.3.4 bank"), &configured);

        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn servers_of_the_network_come_before_those_of_the_host() {
        let text = resolv_conf_text(
            &["10.0.0.53".into(), "10.0.1.53".into()],
            &[Ipv4Addr::new(192, 168, 0, 1)],
        );

        assert_eq!(text, "nameserver\t10.0.0.53\nnameserver\t10.0.1.53\n");
    }

    #[test]
    fn servers_that_are_no_addresses_are_left_out() {
        let text = resolv_conf_text(
            &["".into(), "dns.example".into(), "1.1.1.1\noptions x".into()],
            &[Ipv4Addr::new(192, 168, 0, 1)],
        );

        assert_eq!(text, "nameserver\t192.168.0.1\n");
    }

    #[test]
    fn without_any_resolver_a_public_one_is_asked() {
        assert_eq!(resolv_conf_text(&[], &[]), "nameserver\t8.8.8.8\n");
    }

    #[test]
    fn resolvers_that_an_instance_cannot_reach_are_skipped() {
        let resolvers = reachable_resolvers(
            "# nameserver 1.1.1.1\n\
             search lan\n\
             nameserver 127.0.0.53\n\
             nameserver\t192.168.0.1\n\
             nameserver fe80::1%eth0\n\
             nameserver\n\
             nameserver 0.0.0.0\n\
             nameserver 10.0.0.1 # second\n",
        );

        assert_eq!(
            resolvers,
            [Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::new(10, 0, 0, 1)]
        );
    }
}
