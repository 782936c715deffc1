//! What somebody changes behind the manager's back is mended without a command.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::machine::{Machine, id, ip, network, on_own_machine, request};
use crate::model::Flow;
use crate::networkmanager::apply::Kernel;

const A: [u8; 4] = [10, 1, 0, 2];
const B: [u8; 4] = [10, 1, 0, 3];

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn bridge_and_its_ports_are_mended_whatever_was_done_to_them() {
    for harm in [
        "link del br-provider",
        "link set br-provider down",
        "addr flush dev br-provider",
        "addr add 10.77.0.1/24 dev br-provider",
        "link set PORT nomaster",
        "link set PORT down",
    ] {
        on_own_machine(async |machine| {
            let manager = machine.start().await;
            let networks = &manager.networks;
            networks.update(vec![network("provider", [10, 1, 0])]).await;
            for (n, address) in [(1, A), (2, B)] {
                let request = request(id(n), "provider", address);
                networks.attach(request).await.unwrap();
            }

            ip(&harm.replace("PORT", &machine.host_end(id(1)).unwrap()));

            machine.eventually(|| is_whole(&machine)).await;
            machine
                .connect(id(1), id(2), B.into())
                .unwrap()
                .talk()
                .unwrap();
        });
    }
}

/// Whether the bridge has its address, and both instances are connected to it.
fn is_whole(machine: &Machine) -> bool {
    let links = machine.links().links;
    let Some(bridge) = links.get("br-provider") else {
        return false;
    };
    let ports = [1, 2].map(|n| &links[&machine.host_end(id(n)).unwrap()]);
    let addresses: Vec<_> = bridge.addresses.iter().map(ToString::to_string).collect();
    bridge.up
        && bridge.forwarding
        && addresses == ["10.1.0.1/24"]
        && ports
            .iter()
            .all(|port| port.up && port.master == Some(bridge.index))
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn nothing_happens_when_nothing_changes() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        manager
            .networks
            .update(vec![network("provider", [10, 1, 0])])
            .await;
        manager.networks.alive().await.unwrap();
        let mut events = Kernel::open(&machine.namespaces(), false, Flow::default())
            .unwrap()
            .events()
            .unwrap();

        // Longer than the manager waits after its own changes.
        let change = timeout(Duration::from_secs(5), events.next()).await;

        assert!(
            change.is_err(),
            "the manager changes something again and again"
        );
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn many_changes_are_few_events() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.update(vec![network("provider", [10, 1, 0])]).await;
        networks.alive().await.unwrap();
        let mut events = Kernel::open(&machine.namespaces(), false, Flow::default())
            .unwrap()
            .events()
            .unwrap();

        let mut jobs = JoinSet::new();
        for n in 2..202_u8 {
            let networks = networks.clone();
            jobs.spawn(async move {
                let request = request(id(n.into()), "provider", [10, 1, 0, n]);
                networks.attach(request).await.unwrap();
            });
        }
        let mut count = 0;
        let mut attached = false;
        while let Ok(event) = timeout(Duration::from_secs(3), events.next()).await {
            event.unwrap();
            count += 1;
            attached |= jobs.is_empty();
            while jobs.try_join_next().is_some() {}
        }

        assert!(attached || jobs.is_empty());
        assert!((1..20).contains(&count), "{count} events");
    });
}
