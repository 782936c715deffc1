//! The texts of an instance's `/etc/hosts` and `/etc/resolv.conf`.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use crate::model::NetworkId;

/// `/etc/hosts` of the instance that has `address`. A name that would break the
/// file's lines is left out.
pub(super) fn hosts_text<'a>(
    address: Ipv4Addr,
    network: &NetworkId,
    hostname: Option<&str>,
    configured: impl IntoIterator<Item = &'a (IpAddr, String)>,
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

/// `/etc/resolv.conf` of an instance: the gateway of its network, where the name
/// server of the node listens. That one asks the servers of the network, or
/// those of the host.
pub(super) fn resolv_conf_text(gateway: Ipv4Addr) -> String {
    format!("nameserver\t{gateway}\n")
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
    fn instance_asks_its_gateway_alone() {
        let text = resolv_conf_text(Ipv4Addr::new(172, 17, 0, 1));

        assert_eq!(text, "nameserver\t172.17.0.1\n");
    }
}
