//! An instance's place in the network, as the older release wrote it: JSON whose
//! keys Go matches whatever their case.

use std::fmt::Display;

use serde_json::{Map, Value};
use tracing::warn;

use crate::model::{FirewallRule, NetworkId, NetworkParameters};

/// Reads what is there. What is not, or is of another type, is empty.
pub(super) fn read(bytes: &[u8], whose: &impl Display) -> NetworkParameters {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(keys)) => parameters(&keys),
        Ok(Value::Null) => NetworkParameters::default(),
        _ => {
            warn!(instance = %whose, "its place in the network cannot be read and is left out");
            NetworkParameters::default()
        }
    }
}

fn parameters(keys: &Map<String, Value>) -> NetworkParameters {
    NetworkParameters {
        network_id: NetworkId::new(text(keys, "networkID")),
        subnet: text(keys, "subnet"),
        ip: text(keys, "ip"),
        vlan_id: value(keys, "vlanID")
            .and_then(Value::as_u64)
            .unwrap_or_default(),
        dns_servers: list(keys, "dnsServers")
            .iter()
            .filter_map(|server| server.as_str().map(str::to_owned))
            .collect(),
        rules: [list(keys, "rules"), list(keys, "firewallRules")]
            .concat()
            .iter()
            .filter_map(|rule| rule.as_object().map(firewall_rule))
            .collect(),
    }
}

fn firewall_rule(keys: &Map<String, Value>) -> FirewallRule {
    FirewallRule {
        dst_ip: text(keys, "dstIp"),
        dst_port: text(keys, "dstPort"),
        proto: text(keys, "proto"),
        src_ip: text(keys, "srcIp"),
    }
}

fn value<'a>(keys: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    keys.iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn text(keys: &Map<String, Value>, name: &str) -> String {
    let text = value(keys, name).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn list<'a>(keys: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    let list = value(keys, name).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_json(value: &Value) -> NetworkParameters {
        read(value.to_string().as_bytes(), &"test")
    }

    #[test]
    fn all_keys_are_read_whatever_their_case() {
        let rule = FirewallRule {
            dst_ip: "10.1.0.9".into(),
            dst_port: "80".into(),
            proto: "tcp".into(),
            src_ip: "10.0.0.5".into(),
        };
        let expected = NetworkParameters {
            network_id: "net".into(),
            subnet: "10.0.0.0/24".into(),
            ip: "10.0.0.5".into(),
            vlan_id: 12,
            dns_servers: vec!["10.0.0.1".into()],
            rules: vec![rule],
        };
        let as_tagged = json!({
            "networkId": "net", "subnet": "10.0.0.0/24", "ip": "10.0.0.5", "vlanId": 12,
            "dnsServers": ["10.0.0.1"],
            "rules": [{"dstIp": "10.1.0.9", "dstPort": "80", "proto": "tcp", "srcIp": "10.0.0.5"}],
        });
        let as_named = json!({
            "NetworkID": "net", "Subnet": "10.0.0.0/24", "IP": "10.0.0.5", "VlanID": 12,
            "DNSServers": ["10.0.0.1"],
            "FirewallRules": [
                {"DstIP": "10.1.0.9", "DstPort": "80", "Proto": "tcp", "SrcIP": "10.0.0.5"},
            ],
        });

        assert_eq!(read_json(&as_tagged), expected);
        assert_eq!(read_json(&as_named), expected);
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_empty() {
        let odd = json!({
            "networkID": 5, "subnet": null, "ip": ["10.0.0.5"], "vlanID": -1,
            "dnsServers": "10.0.0.1", "rules": [7, null, {"proto": 6}], "unknown": {},
        });
        let rules = vec![FirewallRule::default()];

        assert_eq!(read_json(&json!({})), NetworkParameters::default());
        assert_eq!(read_json(&json!(null)), NetworkParameters::default());
        assert_eq!(
            read_json(&odd),
            NetworkParameters {
                rules,
                ..NetworkParameters::default()
            }
        );
    }

    #[test]
    fn what_is_no_json_is_empty() {
        for bytes in [&b""[..], b"{", b"[]", b"7", b"\xff\xfe", &[b'['; 100_000]] {
            assert_eq!(read(bytes, &"test"), NetworkParameters::default());
        }
    }
}
