//! Services of two providers in their networks, and the world outside.

use serde_json::{Value, json};

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, wait_until};
use device::outside::{OUTSIDE, Outside, Steady};
use device::service::{PackedService, Service};
use device::state::{State, Status, address, status_of};
use device::unit::{Unit, is};

const OTHER: &str = "provider2";
const OTHER_SUBNET: &str = "172.31.0.0/16";

/// Bytes of an echo request or reply of `steady.py`, with the IP header.
const ECHO: u64 = 28;

/// Address of an instance of the other provider.
fn other_address(host: u8) -> String {
    format!("172.31.0.{host}")
}

/// `network` of an instance that may call ports of others.
fn allowed(address: &str, subnet: &str, rules: &[(&str, &str, &str)]) -> Value {
    let rules: Vec<_> = rules
        .iter()
        .map(|(to, port, proto)| {
            json!({"src_ip": address, "dst_ip": to, "dst_port": port, "proto": proto})
        })
        .collect();
    json!({"network": {"subnet": subnet, "ip": address, "rules": rules}})
}

fn in_the_first(host: u8, rules: &[(&str, &str, &str)]) -> Value {
    allowed(&address(host), "172.30.0.0/16", rules)
}

fn in_the_other(host: u8) -> Value {
    allowed(&other_address(host), OTHER_SUBNET, &[])
}

fn web(device: &Device, name: &str) -> PackedService {
    Service::probe(name)
        .config(json!({"hostname": name}))
        .option("--expose=8080")
        .pack(device)
}

/// Asks an instance what it gets from a name.
fn ask(device: &Device, from: &str, target: &str) -> Result<String, String> {
    device.fetch(&format!(
        "http://{from}:8080/fetch?url=http://{target}:8080/"
    ))
}

fn ask_patiently(device: &Device, from: &str, target: &str) -> String {
    wait_until(PATIENCE, target, || ask(device, from, target))
}

fn resolves(device: &Device, from: &str, name: &str) -> String {
    let url = format!("http://{from}:8080/resolve?name={name}");
    device.fetch_patiently(&url)
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn providers_meet_by_name_as_far_as_their_rules_go() {
    let device = Device::up();
    let outside = Outside::connect(&device);
    outside.learn_way_to("172.30.0.0/15");
    device.start_sm();
    let mut unit = Unit::start(&device);
    let [alice, bob] = ["alice", "bob"].map(|name| web(&device, name));
    let carol = web(&device, "carol").told("provider", OTHER);
    let hidden = Service::probe("hidden").pack(&device);
    let (to_carol, from) = (other_address(20), address(10));
    let state = State::new()
        .network(OTHER, OTHER_SUBNET, "172.31.0.1")
        .service(&alice)
        .service(&bob)
        .service(&carol)
        .service(&hidden)
        .instance_with(
            "alice",
            0,
            10,
            &in_the_first(10, &[(&to_carol, "8080", "tcp")]),
        )
        .instance("bob", 0, 11)
        .instance("hidden", 0, 12)
        .instance_with("carol", 0, 20, &in_the_other(20));
    unit.run_well(&state);
    device.fetch_patiently(&format!("http://{from}:8080/"));
    device.fetch_patiently(&format!("http://{to_carol}:8080/"));

    // One network, by all its names, and the other one by its suffix.
    for (name, answer) in [
        ("bob", "hello from bob 0"),
        ("bob.provider1", "hello from bob 0"),
        ("0.subject1.bob", "hello from bob 0"),
        ("subject1.bob.provider1", "hello from bob 0"),
        ("carol.provider2", "hello from carol 0"),
    ] {
        assert_eq!(ask_patiently(&device, &from, name), answer, "{name}");
    }
    assert_eq!(resolves(&device, &from, "carol.provider2"), to_carol);
    // A name of another network alone is nobody's, a rule of one is not another's.
    device
        .fetch(&format!("http://{from}:8080/resolve?name=carol"))
        .unwrap_err();
    ask(&device, &address(11), "carol.provider2").unwrap_err();
    ask(&device, &to_carol, "alice.provider1").unwrap_err();

    // From outside: what the image exposes.
    assert_eq!(
        outside.fetch(&format!("http://{to_carol}:8080/")).unwrap(),
        "hello from carol 0"
    );
    outside
        .fetch(&format!("http://{}:8080/", address(12)))
        .unwrap_err();

    // The server of names needs no manager.
    device.stop_sm();
    assert_eq!(resolves(&device, &from, "bob"), address(11));
    assert_eq!(
        ask(&device, &from, "carol.provider2").unwrap(),
        "hello from carol 0"
    );
    device.start_sm();
    unit.wait_registered();
    assert_eq!(resolves(&device, &from, "bob"), address(11));
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn what_is_wrong_with_an_instance_of_a_network_is_told_of_it_alone() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let named = |id: &str| {
        Service::sleeper(id)
            .config(json!({"hostname": "same"}))
            .pack(&device)
    };
    let (first, second) = (named("first"), named("second"));
    unit.run_well(&State::new().with(&first, 10));
    let before = device.processes();
    let rule = in_the_first(12, &[("172.31.0.2", "http", "tcp")]);
    let sleeper = Service::sleeper("ruled").pack(&device);

    let state = State::new()
        .with(&first, 10)
        .with(&second, 11)
        .service(&sleeper)
        .instance_with("ruled", 0, 12, &rule);
    let statuses = unit.run(&state);

    assert!(status_of(&statuses, "first").is_active(), "{statuses:#?}");
    let reason = status_of(&statuses, "second").reason();
    assert!(reason.contains("same"), "{reason}");
    let reason = status_of(&statuses, "ruled").reason();
    assert!(reason.contains("http"), "{reason}");
    assert_eq!(device.processes(), before);
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn traffic_goes_on_whatever_happens_to_the_manager() {
    let device = Device::up();
    let outside = Outside::connect(&device);
    outside.learn_way_to("172.30.0.0/15");
    device.start_sm();
    let mut unit = Unit::start(&device);
    let alice = web(&device, "alice");
    let carol = web(&device, "carol").told("provider", OTHER);
    let to_carol = other_address(20);
    let services = State::new()
        .network(OTHER, OTHER_SUBNET, "172.31.0.1")
        .service(&alice)
        .service(&carol)
        .instance_with("carol", 0, 20, &in_the_other(20));
    let state = |rules: &[(&str, &str, &str)]| {
        services
            .clone()
            .instance_with("alice", 0, 10, &in_the_first(10, rules))
    };
    unit.run_well(&state(&[
        (&to_carol, "8080", "tcp"),
        (&to_carol, "", "icmp"),
    ]));
    let before = device.processes();
    let id = device.instance("alice", 0).id;
    ask_patiently(&device, &address(10), &to_carol);
    let receiver = outside.steady("receive 9000");
    let own = Steady::of_the_host(&device, &format!("ping {OUTSIDE}"));
    let steady = [
        Steady::inside(&device, &id, &format!("ping {OUTSIDE}")),
        Steady::inside(&device, &id, &format!("ping {to_carol}")),
        Steady::inside(&device, &id, &format!("send {OUTSIDE} 9000")),
    ];

    device.stop_sm();
    device.start_sm();
    unit.wait_registered();
    let told = unit.wait_status(PATIENCE);
    assert!(told.iter().all(Status::is_active), "{told:#?}");
    device.kill_sm();
    unit.wait_registered();
    let told = unit.wait_status(PATIENCE);
    assert!(told.iter().all(Status::is_active), "{told:#?}");
    // New rules, and the same processes.
    unit.run_well(&state(&[(&to_carol, "", "icmp")]));
    ask(&device, &address(10), &to_carol).unwrap_err();

    for traffic in steady {
        let outcome = traffic.stop();
        assert_eq!(outcome["lost"], json!([]), "{outcome}");
        assert!(
            outcome["resent"].is_null() || outcome["resent"] == 0,
            "{outcome}"
        );
        assert!(outcome["sent"].as_u64() > Some(100), "{outcome}");
    }
    assert!(receiver.stop()["received"].as_u64() > Some(1 << 20));
    assert_eq!(device.processes(), before);

    // What the device itself has sent, to the byte: nothing of the instances,
    // and over all restarts.
    let own = own.stop();
    let bytes = own["sent"].as_u64().unwrap() * ECHO;
    assert_eq!(own["lost"], json!([]), "{own}");
    wait_until(PATIENCE, "the traffic to be told", || {
        unit.command("get-node-monitoring");
        let told = unit.wait_for("monitoring", PATIENCE, |event| is(event, "node_monitoring"));
        let node = &told["monitoring_data"];
        if node["in_traffic"] == bytes && node["out_traffic"] == bytes {
            Ok(())
        } else {
            Err(format!("{node}, not {bytes}"))
        }
    });
}
