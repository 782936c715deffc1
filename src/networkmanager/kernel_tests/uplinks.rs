//! Default routes, forwarding, and what cannot be had of VLANs.

use std::fs;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::machine::{Machine, Manager, id, ip, network, on_own_machine, request};
use crate::model::{AlertKind, NetworkParameters, Report};
use crate::networkmanager::NetworkSettings;

const A: [u8; 4] = [10, 1, 0, 2];

/// Two interfaces, each with its other end at nobody's.
fn interfaces() {
    for name in ["up0", "up1"] {
        ip(&format!("link add {name} type veth peer name {name}p"));
        ip(&format!("link set {name} up"));
        ip(&format!("link set {name}p up"));
    }
    ip("addr add 192.0.2.2/24 dev up0");
    ip("addr add 198.51.100.2/24 dev up1");
}

fn forwards(link: &str) -> bool {
    let file = format!("/proc/sys/net/ipv4/conf/{link}/forwarding");
    fs::read_to_string(file).unwrap().trim() == "1"
}

fn tagged(vlan_id: u64) -> NetworkParameters {
    NetworkParameters {
        vlan_id,
        ..network("provider", [10, 1, 0])
    }
}

/// The text of the next alert.
async fn alert(reports: &mut mpsc::Receiver<Report>) -> String {
    let report = timeout(Duration::from_secs(10), reports.recv()).await;
    match report.expect("an alert is raised") {
        Some(Report::Alert(alert)) => match alert.kind {
            AlertKind::Core { message, .. } => message,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

async fn manager_with_alerts(machine: &Machine) -> (Manager, mpsc::Receiver<Report>) {
    let (sender, reports) = mpsc::channel(8);
    let settings = NetworkSettings {
        reports: Some(sender),
        ..NetworkSettings::default()
    };
    (machine.start_with(settings).await, reports)
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn packets_are_forwarded_wherever_the_default_route_leads() {
    on_own_machine(async |machine| {
        interfaces();
        ip("route add default via 192.0.2.1");
        let manager = machine.start().await;
        manager.networks.alive().await.unwrap();
        assert!(!forwards("up0"));

        manager
            .networks
            .update(vec![network("provider", [10, 1, 0])])
            .await;
        manager.networks.alive().await.unwrap();
        assert!(forwards("up0") && !forwards("up1"));
        ip("route replace default via 198.51.100.1");

        machine.eventually(|| forwards("up1")).await;
        // Others may need it by now.
        assert!(forwards("up0"));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn forwarding_that_somebody_switched_off_comes_back() {
    on_own_machine(async |machine| {
        interfaces();
        ip("route add default via 192.0.2.1");
        let manager = machine.start().await;
        manager
            .networks
            .update(vec![network("provider", [10, 1, 0])])
            .await;
        manager.networks.alive().await.unwrap();

        fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();

        machine
            .eventually(|| forwards("up0") && forwards("br-provider"))
            .await;
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn interface_that_cannot_carry_a_vlan_gives_an_alert_and_a_network_inside_the_node() {
    on_own_machine(async |machine| {
        // No kernel has 802.1q on loopback, and ours may have none at all.
        ip("link set lo up");
        ip("route add default dev lo");
        let (manager, mut reports) = manager_with_alerts(&machine).await;

        for _ in 0..3 {
            manager.networks.update(vec![tagged(7)]).await;
        }
        manager
            .networks
            .attach(request(id(1), "provider", A))
            .await
            .unwrap();

        let text = alert(&mut reports).await;
        let begin = "network provider does not reach other nodes: cannot create VLAN link vlan-";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains("the kernel has no 802.1q"), "{text}");
        assert!(reports.try_recv().is_err());
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn id_that_no_vlan_can_have_gives_one_alert() {
    on_own_machine(async |machine| {
        let (manager, mut reports) = manager_with_alerts(&machine).await;

        for vlan_id in [4095, 4095, 4096] {
            manager.networks.update(vec![tagged(vlan_id)]).await;
        }
        manager.networks.alive().await.unwrap();

        let begin = "network provider does not reach other nodes: VLAN id";
        assert_eq!(
            alert(&mut reports).await,
            format!("{begin} 4095 is not one of 1 to 4094")
        );
        assert_eq!(
            alert(&mut reports).await,
            format!("{begin} 4096 is not one of 1 to 4094")
        );
        assert!(reports.try_recv().is_err());
        assert!(machine.links().links.contains_key("br-provider"));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn lowest_metric_is_the_uplink() {
    on_own_machine(async |machine| {
        interfaces();
        ip("route add default via 192.0.2.1 metric 600");
        ip("route add default via 198.51.100.1 metric 100");
        ip("route add default dev up0 table 100");
        ip("route add 203.0.113.0/24 via 192.0.2.1");

        let existing = machine.links();

        let names: Vec<_> = existing.uplinks().map(|(name, _)| name).collect();
        assert_eq!(names, ["up1", "up0"]);
    });
}
