//! Rates of instances.

use std::net::Ipv4Addr;
use std::process::Command;

use super::machine::{Machine, Manager, id, network, on_own_machine, request};
use super::transfer::{Transfer, datagrams};
use crate::model::Flow;
use crate::model::InstanceId;
use crate::networkmanager::Speeds;
use crate::networkmanager::apply::Kernel;
use crate::networkmanager::bandwidth::{Limit, Shaping, shape};
use crate::networkmanager::names;
use crate::networkmanager::plan::Operation;

const A: [u8; 4] = [10, 1, 0, 2];
const B: [u8; 4] = [10, 1, 0, 3];

/// Two instances in a network. The first one has limits.
async fn with_limits(machine: &Machine, speeds: Speeds) -> Manager {
    let manager = machine.start().await;
    let networks = &manager.networks;
    networks.update(vec![network("provider", [10, 1, 0])]).await;
    let mut limited = request(id(1), "provider", A);
    limited.speeds = speeds;
    networks.attach(limited).await.unwrap();
    let mut other = request(id(2), "provider", B);
    other.hostname = None;
    networks.attach(other).await.unwrap();

    manager
}

fn both(kbit: u64) -> Speeds {
    Speeds {
        download: Some(kbit),
        upload: Some(kbit),
    }
}

fn kernel(machine: &Machine) -> Kernel {
    Kernel::open(&machine.namespaces(), false, Flow::default()).unwrap()
}

/// The limits that an instance has.
fn shaping(machine: &Machine, instance: InstanceId) -> Shaping {
    let host_end = host_end(machine, instance);
    let named = [(instance, host_end.as_str())];
    kernel(machine).shaping(&named).unwrap()[&instance]
}

fn host_end(machine: &Machine, instance: InstanceId) -> String {
    machine.host_end(instance).unwrap()
}

fn operations(host_end: &str, old: impl Into<Shaping>, new: impl Into<Shaping>) -> Vec<Operation> {
    shape(id(1), host_end, old, new)
        .into_iter()
        .map(Operation::Shape)
        .collect()
}

fn change(machine: &Machine, old: impl Into<Shaping>, new: impl Into<Shaping>) {
    let host_end = host_end(machine, id(1));
    kernel(machine)
        .apply(&operations(&host_end, old, new))
        .unwrap();
}

/// What `tc` says, or does.
fn tc(arguments: &str) -> String {
    let output = Command::new("tc")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "tc {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn rates_are(limit: u64) {
    on_own_machine(async move |machine| {
        let _manager = with_limits(&machine, both(limit)).await;
        let ways = [
            ("download", id(2), id(1), Ipv4Addr::from(A)),
            ("upload", id(1), id(2), Ipv4Addr::from(B)),
        ];

        for (way, from, to, address) in ways {
            Transfer::tcp(&machine, from, to, address).assert_rate(limit, &format!("{way} by TCP"));
            Transfer::udp(&machine, from, to, address, limit)
                .assert_rate(limit, &format!("{way} by UDP"));
        }
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn rates_are_held_to_1_mbit() {
    rates_are(1000);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn rates_are_held_to_10_mbit() {
    rates_are(10_000);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn rates_are_held_to_100_mbit() {
    rates_are(100_000);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn limits_change_during_a_transfer() {
    on_own_machine(async |machine| {
        let fast = both(100_000);
        let _manager = with_limits(&machine, fast).await;
        let ways = [
            ("download", id(2), id(1), Ipv4Addr::from(A)),
            ("upload", id(1), id(2), Ipv4Addr::from(B)),
        ];

        for (way, from, to, address) in ways {
            let mut transfer = Transfer::tcp(&machine, from, to, address);
            let mut now = fast;
            // Down to where super-packets are cut, down and up in place, and up
            // to where they are not cut again.
            for limit in [20_000, 5000, 40_000, 80_000] {
                change(&machine, now, both(limit));
                now = both(limit);

                transfer.assert_rate(limit, way);
            }
            change(&machine, now, Speeds::default());
            assert!(transfer.rate(10_000_000) > 120_000, "{way}");
            drop(transfer);
            change(&machine, Speeds::default(), fast);
        }
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn change_of_a_rate_loses_no_packet() {
    on_own_machine(async |machine| {
        let slow = both(100);
        let _manager = with_limits(&machine, slow).await;
        let ways = [(id(2), id(1), A), (id(1), id(2), B)];

        let mut now = slow;
        for (from, to, address) in ways {
            let (sender, receiver) = datagrams(&machine, from, to, address.into());
            // The first one passes at once, and the others would take a second.
            for n in 0..10_u8 {
                sender.send(&[n; 1400]).unwrap();
            }
            for next in [both(50), both(1000)] {
                change(&machine, now, next);
                now = next;
            }

            let mut buffer = [0; 2000];
            for n in 0..10 {
                assert_eq!(receiver.recv(&mut buffer).unwrap(), 1400);
                assert_eq!(buffer[0], n);
            }
            change(&machine, now, slow);
            now = slow;
        }
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn detach_takes_the_ifb_too() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.update(vec![network("provider", [10, 1, 0])]).await;
        networks.alive().await.unwrap();
        let before = machine.inventory();
        let mut limited = request(id(1), "provider", A);
        limited.speeds = both(1000);

        networks.attach(limited.clone()).await.unwrap();
        let links = machine.links().links;
        let ifb = &links[&names::ifb(id(1))];
        assert_eq!(ifb.alias, names::instance_alias(id(1)));
        networks.detach(id(1)).await.unwrap();
        assert_eq!(machine.inventory(), before);

        limited.speeds.upload = None;
        networks.attach(limited).await.unwrap();
        assert!(!machine.links().links.contains_key(&names::ifb(id(1))));
        networks.detach(id(1)).await.unwrap();
        assert_eq!(machine.inventory(), before);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn lost_ifb_is_found_and_removed() {
    on_own_machine(async |machine| {
        let manager = with_limits(&machine, both(1000)).await;
        let networks = &manager.networks;
        let host_end = host_end(&machine, id(1));
        machine.apply(Operation::DeleteNamespace { instance: id(1) });
        Command::new("ip")
            .args(["link", "delete", &host_end])
            .status()
            .unwrap();

        assert_eq!(networks.found().await.unwrap(), [id(1), id(2)]);
        networks.detach(id(1)).await.unwrap();

        assert!(!machine.links().links.contains_key(&names::ifb(id(1))));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn limits_are_found_as_they_were_made() {
    on_own_machine(async |machine| {
        let mut now = Speeds::default();
        let _manager = with_limits(&machine, now).await;
        let some = |download, upload| Speeds { download, upload };
        assert_eq!(shaping(&machine, id(1)), now.into());

        // From 1 kbit/s to 1 Tbit/s.
        for speeds in [
            some(Some(1), None),
            some(Some(999), Some(57_599)),
            some(None, Some(57_600)),
            some(Some(34_359_738), Some(34_359_739)),
            some(Some(1_000_000_000), Some(1)),
            some(None, None),
        ] {
            change(&machine, now, speeds);
            now = speeds;

            assert_eq!(shaping(&machine, id(1)), now.into());
        }
        assert_eq!(shaping(&machine, id(2)), Shaping::default());
        assert!(
            kernel(&machine)
                .shaping(&[(id(3), "veth-nowhere")])
                .unwrap()
                .is_empty()
        );
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn limits_that_others_changed_are_mended() {
    on_own_machine(async |machine| {
        let wanted = both(3000);
        let _manager = with_limits(&machine, wanted).await;
        let (veth, ifb) = (host_end(&machine, id(1)), names::ifb(id(1)));
        let damages = [
            format!("tc qdisc delete dev {veth} root"),
            format!("tc qdisc replace dev {veth} root tbf rate 3mbit burst 3750 limit 41250"),
            format!("tc qdisc replace dev {veth} root pfifo"),
            format!("tc qdisc delete dev {veth} ingress"),
            format!("tc filter delete dev {veth} ingress"),
            format!(
                "tc filter add dev {veth} ingress prio 2 u32 match u32 0 0 action mirred egress \
                 redirect dev lo"
            ),
            format!("tc qdisc delete dev {ifb} root"),
            format!("ip link set {ifb} down"),
            format!("ip link delete {ifb}"),
        ];

        for damage in damages {
            let mut words = damage.split_whitespace();
            let program = words.next().unwrap();
            let status = Command::new(program).args(words).status().unwrap();
            assert!(status.success(), "{damage}");
            let found = shaping(&machine, id(1));
            assert_ne!(found, wanted.into(), "{damage}");

            change(&machine, found, wanted);

            assert_eq!(shaping(&machine, id(1)), wanted.into(), "{damage}");
            machine
                .connect(id(1), id(2), B.into())
                .unwrap()
                .talk()
                .unwrap();
        }
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn limits_are_those_that_tc_makes() {
    on_own_machine(async |machine| {
        let _manager = with_limits(&machine, both(20_000)).await;
        let (veth, ifb) = (host_end(&machine, id(1)), names::ifb(id(1)));
        let other = host_end(&machine, id(2));
        tc(&format!(
            "qdisc add dev {other} root tbf rate 20mbit burst 25000 limit 275000 peakrate \
             8000tbit mtu 1600"
        ));
        tc(&format!("qdisc add dev {other} ingress"));
        tc(&format!(
            "filter add dev {other} parent ffff: prio 1 protocol all u32 match u32 0 0 action mirred \
             egress redirect dev {ifb}"
        ));

        let bucket = |link: &str| {
            let text = tc(&format!("-d qdisc show dev {link} root"));
            let (_, options) = text.split_once(" rate ").unwrap();
            options.trim().to_owned()
        };
        assert_eq!(bucket(&veth), bucket(&other));
        assert_eq!(bucket(&ifb), bucket(&other));
        let filters = |link: &str| {
            let text = tc(&format!("-j filter show dev {link} parent ffff:"));
            // Each action has a number of its own.
            let (before, after) = text.split_once("\"index\":").unwrap();
            let (_, after) = after.split_once(',').unwrap();
            format!("{before}{after}")
        };
        assert_eq!(filters(&veth), filters(&other));
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn refused_limit_leaves_nothing() {
    on_own_machine(async |machine| {
        let manager = machine.start().await;
        manager.networks.alive().await.unwrap();
        let before = machine.inventory();

        // There is no link: the ifb was made when that turns out.
        let upload = Speeds {
            download: None,
            upload: Some(1000),
        };
        let refused = kernel(&machine)
            .apply(&operations("veth-nowhere", Speeds::default(), upload))
            .unwrap_err();

        assert_eq!(
            refused.to_string(),
            format!("cannot limit upload of instance {} to 1000 kbit/s", id(1))
        );
        assert_eq!(machine.inventory(), before);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn limits_are_as_before_when_a_later_operation_is_refused() {
    on_own_machine(async |machine| {
        let before = Speeds {
            download: Some(90_000),
            upload: None,
        };
        let _manager = with_limits(&machine, before).await;
        let host_end = host_end(&machine, id(1));
        let mut plan = operations(&host_end, before, both(1000));
        plan.push(Operation::JoinBridge {
            instance: id(1),
            host_end,
            bridge: "br-nowhere".into(),
        });

        kernel(&machine).apply(&plan).unwrap_err();

        assert_eq!(shaping(&machine, id(1)), before.into());
        assert_eq!(shaping(&machine, id(1)).upload, Limit::Off);
        assert!(!machine.links().links.contains_key(&names::ifb(id(1))));
    });
}
