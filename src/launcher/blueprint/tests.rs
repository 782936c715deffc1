//! Prints, windows and refusals.

use std::time::Duration;

use aos_package::{ExecutionConfig, ImageConfig, ServiceConfig};
use serde_json::json;

use super::*;
use crate::launcher::Variables;
use crate::model::{InstanceId, InstanceIdent, ServiceKey};

fn service() -> ServiceContent {
    ServiceContent {
        layer_digests: Vec::new(),
        key: ServiceKey {
            id: "service".into(),
            version: 1,
        },
        provider_id: "provider".into(),
        gid: 3000,
        manifest_digest: "sha256:00".to_owned(),
        root: "/content/root".into(),
        layers: vec!["/content/layer".into()],
        image: ImageConfig {
            os: "linux".to_owned(),
            config: ExecutionConfig {
                cmd: vec!["app".to_owned()],
                ..ExecutionConfig::default()
            },
            ..ImageConfig::default()
        },
        config: ServiceConfig::default(),
    }
}

fn info() -> InstanceInfo {
    InstanceInfo {
        ident: InstanceIdent {
            service_id: "service".into(),
            ..InstanceIdent::default()
        },
        uid: 5000,
        priority: 7,
        ..InstanceInfo::default()
    }
}

fn print(info: &InstanceInfo, service: ServiceContent, binds: &[&str], hosts: &[&str]) -> String {
    let owned = |texts: &[&str]| {
        texts
            .iter()
            .map(|&text| text.to_owned())
            .collect::<Vec<_>>()
    };
    let (host_binds, hosts) = (owned(binds), owned(hosts));
    let machine = Machine {
        host_binds: &host_binds,
        hosts: &hosts,
    };

    draw(&order(info), Arc::new(service), &machine)
        .unwrap()
        .fingerprint
}

fn order(info: &InstanceInfo) -> Order {
    Order {
        id: InstanceId::from_u128(1),
        info: info.clone(),
        service: service().key,
        variables: Variables::default(),
    }
}

#[test]
fn other_variables_are_another_fingerprint() {
    let machine = Machine {
        host_binds: &[],
        hosts: &[],
    };
    let print = |variables: &[&str]| {
        let order = Order {
            variables: variables
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
                .into(),
            ..order(&info())
        };
        draw(&order, Arc::new(service()), &machine)
            .unwrap()
            .fingerprint
    };

    assert_ne!(print(&[]), print(&["A=1"]));
    assert_ne!(print(&["A=1"]), print(&["A=2"]));
}

#[test]
fn priority_alone_changes_no_fingerprint() {
    let one = info();
    let other = InstanceInfo {
        priority: 1,
        ..info()
    };

    assert_eq!(
        print(&one, service(), &[], &[]),
        print(&other, service(), &[], &[])
    );
}

fn networked(change: impl FnOnce(&mut NetworkParameters)) -> InstanceInfo {
    let mut info = info();
    change(&mut info.network);
    info
}

fn reach_of(change: impl FnOnce(&mut NetworkParameters)) -> Blueprint {
    let machine = Machine {
        host_binds: &[],
        hosts: &[],
    };
    draw(&order(&networked(change)), Arc::new(service()), &machine).unwrap()
}

fn rule(port: &str) -> FirewallRule {
    FirewallRule {
        dst_port: port.to_owned(),
        ..FirewallRule::default()
    }
}

#[test]
fn what_a_running_instance_can_be_given_changes_no_fingerprint() {
    let changes: [fn(&mut NetworkParameters); 4] = [
        |network| network.rules.push(rule("80")),
        |network| network.dns_servers.push("10.0.0.53".to_owned()),
        |network| network.vlan_id = 7,
        |network| network.network_id = "provider".into(),
    ];

    for change in changes {
        assert_eq!(
            print(&networked(change), service(), &[], &[]),
            print(&info(), service(), &[], &[])
        );
    }
}

#[test]
fn place_in_the_network_changes_the_fingerprint_and_not_the_reach() {
    let changes: [fn(&mut NetworkParameters); 3] = [
        |network| network.network_id = "other".into(),
        |network| network.ip = "10.0.0.9".to_owned(),
        |network| network.subnet = "10.0.0.0/24".to_owned(),
    ];

    for change in changes {
        let info = networked(change);
        assert_ne!(
            print(&info, service(), &[], &[]),
            print(&self::info(), service(), &[], &[])
        );
        assert_eq!(reach_of(change).reach(), reach_of(|_| {}).reach());
    }
}

#[test]
fn reach_is_rules_as_a_set_and_name_servers_in_their_order() {
    let rules = |ports: &[&str]| {
        let rules: Vec<_> = ports.iter().map(|port| rule(port)).collect();
        reach_of(|network| network.rules = rules)
    };
    let servers = |servers: &[&str]| {
        let servers = servers.iter().map(|&server| server.to_owned()).collect();
        reach_of(|network| network.dns_servers = servers)
    };

    assert_eq!(
        rules(&["80", "81"]).reach(),
        rules(&["81", "80", "81"]).reach()
    );
    assert_ne!(rules(&["80", "81"]).reach(), rules(&["80"]).reach());
    assert_ne!(servers(&["a", "b"]).reach(), servers(&["b", "a"]).reach());
    assert_ne!(servers(&["a"]).reach(), rules(&["a"]).reach());
}

#[test]
fn each_input_changes_the_fingerprint() {
    let mut prints = vec![
        print(&info(), service(), &[], &[]),
        print(&info(), service(), &["usr"], &[]),
        print(&info(), service(), &[], &["usr"]),
        print(&InstanceInfo { uid: 1, ..info() }, service(), &[], &[]),
        print(
            &InstanceInfo {
                state_path: "x".to_owned(),
                ..info()
            },
            service(),
            &[],
            &[],
        ),
        print(
            &InstanceInfo {
                storage_path: "x".to_owned(),
                ..info()
            },
            service(),
            &[],
            &[],
        ),
    ];
    let mut network = info();
    network.network.ip = "10.0.0.2".to_owned();
    prints.push(print(&network, service(), &[], &[]));
    let changes: [fn(&mut ServiceContent); 5] = [
        |service| service.gid = 1,
        |service| service.manifest_digest.push('1'),
        |service| service.provider_id = "other".into(),
        |service| service.root = "/other".into(),
        |service| service.layers.clear(),
    ];
    for change in changes {
        let mut service = service();
        change(&mut service);
        prints.push(print(&info(), service, &[], &[]));
    }

    let all = prints.len();
    prints.sort();
    prints.dedup();

    assert_eq!(prints.len(), all);
}

#[test]
fn window_and_burst_are_those_of_the_service() {
    let mut service = service();
    service.config.run_parameters.start_interval = Some(json!("5s"));
    service.config.run_parameters.start_burst = Some(9);
    let machine = Machine {
        host_binds: &[],
        hosts: &[],
    };

    let blueprint = draw(&order(&info()), Arc::new(service), &machine).unwrap();

    assert_eq!(blueprint.start_window, Duration::from_secs(6));
    assert_eq!(blueprint.start_burst, 9);
}

type Damage = fn(&mut ServiceContent);

#[test]
fn what_cannot_run_gets_no_blueprint() {
    let cases: [(Damage, &str); 3] = [
        (
            |service| service.image.config.stop_signal = "SIGNONE".to_owned(),
            "unknown stop signal \"SIGNONE\" in image config",
        ),
        (
            |service| service.config.run_parameters.start_burst = Some(0),
            "invalid run parameters: startBurst is 0, not 1 to 4294967295",
        ),
        (
            |service| service.image.os = "plan9".to_owned(),
            "unsupported OS in image config plan9",
        ),
    ];

    for (damage, text) in cases {
        let mut service = service();
        damage(&mut service);
        let machine = Machine {
            host_binds: &[],
            hosts: &[],
        };

        let refused = draw(&order(&info()), Arc::new(service), &machine);

        assert_eq!(refused.unwrap_err().to_string(), text);
    }
}
