//! CM and IAM come and go; what they ask for is answered at once.

use std::time::Duration;

use serde_json::Value;

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, wait_until};
use device::service::{PackedService, Service};
use device::state::{State, Status, address, name};
use device::unit::{Unit, is, millis};

/// Takes seconds to install on any machine, and nobody to make.
const BIG: u64 = 1 << 29;

/// Answers and second lists have this long: CM gives up after 5 s.
const AT_ONCE: f64 = 1000.0;

fn big(device: &Device) -> PackedService {
    Service::sleeper("big").big_file("filler", BIG).pack(device)
}

/// The first status of a connection has the present state of all instances.
fn wait_present(unit: &mut Unit<'_>) -> Vec<Status> {
    unit.wait_registered();
    unit.wait_status(PATIENCE)
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn first_words_to_cm_are_the_node_and_all_instances() {
    let device = Device::up();
    let mut unit = Unit::start(&device);
    device.start_sm();

    let node = unit.wait_registered();
    let statuses = unit.wait_status(PATIENCE);

    assert_eq!(
        (&node["node_id"], &node["node_type"]),
        (&"main".into(), &"main-type".into())
    );
    assert_eq!(node["num_cpus"].to_string(), device.sh("nproc"));
    assert_eq!(node["partitions"][0]["name"], "var");
    assert_eq!(statuses, []);
    let own: Vec<_> = unit
        .seen()
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    let first = own.iter().position(|name| *name == "node_configuration");
    let second = own.iter().position(|name| *name == "run_instances_status");
    assert!(first < second, "{own:?}");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instances_run_on_while_cm_is_away_and_are_told_when_it_is_back() {
    let device = Device::up();
    device.start_sm();
    let mut iam = Unit::start_with(&device, "--no-cm");
    let mut cm = Unit::start_with(&device, "--no-iam");
    let state = State::new().with(&Service::sleeper("a").pack(&device), 10);
    cm.run_well(&state);
    let before = device.processes();
    let manager = device.sm_property("MainPID");

    cm.kill();
    // What happens meanwhile is told later.
    device.sh(&format!("kill -KILL {}", before[&name("a", 0)].0));
    let mut cm = Unit::start_with(&device, "--no-iam");
    let told = wait_present(&mut cm);

    assert_eq!(told.len(), 1);
    assert!(told.iter().all(Status::is_active), "{told:?}");
    cm.run_well(&state);
    assert_ne!(device.processes(), before);
    assert_eq!(device.sm_property("MainPID"), manager);
    iam.command("quit");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn cut_connection_is_made_again_within_seconds() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.run_well(&State::new().with(&Service::sleeper("a").pack(&device), 10));

    unit.command("drop");
    let cut = unit.wait_for("the cut", PATIENCE, |event| is(event, "disconnected"));
    let back = unit.wait_registered();
    let told = unit.wait_status(PATIENCE);

    assert!(millis(&back) - millis(&cut) < 11_000.0, "{cut} {back}");
    assert!(
        told.len() == 1 && told.iter().all(Status::is_active),
        "{told:?}"
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn iam_may_go_and_come_back() {
    let device = Device::up();
    device.start_sm();
    let iam = Unit::start_with(&device, "--no-cm");
    let mut cm = Unit::start_with(&device, "--no-iam");
    let a = Service::sleeper("a").pack(&device);
    cm.run_well(&State::new().with(&a, 10));
    let before = device.processes();

    iam.kill();
    let more = State::new().with(&a, 10).instance("a", 1, 11);
    cm.run_well(&more);
    let _iam = Unit::start_with(&device, "--no-cm");
    cm.command("drop");
    let told = wait_present(&mut cm);

    assert!(
        told.len() == 2 && told.iter().all(Status::is_active),
        "{told:?}"
    );
    assert_eq!(device.processes()[&name("a", 0)], before[&name("a", 0)]);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn stored_instances_run_without_any_peer() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.run_well(&State::new().with(&Service::probe("web").pack(&device), 10));
    unit.kill();
    // As after a boot: nothing of the instances is there.
    device.stop_sm();
    device.sh("systemctl stop 'aos-service@*'; umount -R /run/aos/runtime/*/rootfs; rm -rf /run/aos; ip -all netns delete");

    device.start_sm();

    let url = format!("http://{}:8080/", address(10));
    assert_eq!(device.fetch_patiently(&url), "hello from web 0");
    let mut unit = Unit::start(&device);
    let told = wait_present(&mut unit);
    assert!(
        told.len() == 1 && told.iter().all(Status::is_active),
        "{told:?}"
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn newer_list_takes_effect_during_the_install_of_the_first() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let small = Service::sleeper("small").pack(&device);
    unit.run_well(&State::new().service(&small));
    let first = State::new().with(&big(&device), 10);
    let second = State::new().with(&small, 11);

    unit.send(&first);
    let sent = unit.send(&second);
    let started = wait_until(PATIENCE, "the second list", || {
        let running = device.processes();
        let script = "systemctl show --value --property=ExecMainStartTimestampMonotonic,ActiveState 'aos-service@*'";
        if running.contains_key(&name("small", 0)) {
            Ok(device.sh(script))
        } else {
            Err(format!("{running:?}"))
        }
    });
    let statuses = unit.wait_status(PATIENCE);

    assert_eq!(statuses.len(), 1, "{statuses:#?}");
    assert!(
        statuses[0].is_active() && statuses[0].instance == name("small", 0),
        "{statuses:#?}"
    );
    let status = unit
        .seen()
        .iter()
        .rfind(|event| is(event, "run_instances_status"))
        .unwrap();
    // It counts as started 1.2 s after its start.
    let took = millis(status) - millis(&sent) - 1200.0;
    assert!(took < AT_ONCE, "it took {took} ms; {started}");
    assert_eq!(device.processes().len(), 1);
    assert!(!statuses_name(unit.seen(), "big"), "{:#?}", unit.seen());
}

fn statuses_name(events: &[Value], service: &str) -> bool {
    let mut told = events.iter().flat_map(Status::all_of);
    told.any(|status| status.instance == name(service, 0))
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn requests_are_answered_during_an_install() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = State::new().with(&big(&device), 10);
    unit.send(&state);

    let requests = [
        (
            "check-unit-config 1.0 {\"nodeType\": \"main-type\"}",
            "check_unit_config",
            "unit_config_status",
        ),
        (
            "get-unit-config-status",
            "get_unit_config_status",
            "unit_config_status",
        ),
        (
            "get-node-monitoring",
            "get_node_monitoring",
            "node_monitoring",
        ),
        (
            r#"override-env [{"service": "big", "vars": [{"id": "v1", "variable": "A=b"}]}]"#,
            "override_env_vars",
            "override_env_var_status",
        ),
        ("system-log log1", "system_log_request", "log"),
        ("instance-log log2 big - -", "instance_log_request", "log"),
        (
            "crash-log log3 big - -",
            "instance_crash_log_request",
            "log",
        ),
        (
            "set-unit-config 1.0 {\"nodeType\": \"main-type\"}",
            "set_unit_config",
            "unit_config_status",
        ),
    ];
    let mut slow = Vec::new();
    for (command, message, answer) in requests {
        unit.command(command);
        let sent = unit.wait_sent(message);
        let answered = unit.wait_for(answer, PATIENCE, |event| is(event, answer));
        let took = millis(&answered) - millis(&sent);
        if took > AT_ONCE {
            slow.push(format!("{command}: {took} ms"));
        }
    }

    assert!(slow.is_empty(), "{slow:#?}");
    assert!(
        !statuses_name(unit.seen(), "big"),
        "the install was over before the requests"
    );
    let statuses = unit.wait_status(PATIENCE * 2);
    assert!(statuses.iter().all(Status::is_active), "{statuses:#?}");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn each_kind_of_request_is_answered_as_promised() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.wait_registered();
    let mut ask = |command: &str, answer: &str| {
        unit.command(command);
        unit.wait_for(answer, PATIENCE, |event| is(event, answer))
    };

    let check = ask("check-unit-config 1.0 {}", "unit_config_status");
    let status = ask("get-unit-config-status", "unit_config_status");
    let env = ask(
        r#"override-env [{"service": "s", "vars": [{"id": "v1", "variable": "A=b"}]}]"#,
        "override_env_var_status",
    );
    let log = ask("system-log log1", "log");
    let monitoring = ask("get-node-monitoring", "node_monitoring");

    assert_ne!(check["error"], "", "{check}");
    assert_eq!(
        (&status["vendor_version"], &status["error"]),
        (&"".into(), &"".into()),
        "{status}"
    );
    let filter = &env["env_vars_status"][0];
    assert_eq!(filter["instance"]["service_id"], "s", "{env}");
    assert_eq!(filter["instance"]["instance"], -1, "{env}");
    assert_eq!(filter["vars_status"][0]["var_id"], "v1", "{env}");
    assert_eq!(filter["vars_status"][0]["error"], "", "{env}");
    assert_eq!(
        (&log["log_id"], &log["part"]),
        (&"log1".into(), &0.into()),
        "{log}"
    );
    assert_ne!(log["error"], "", "{log}");
    assert!(monitoring.to_string().contains("\"var\""), "{monitoring}");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn state_changes_reach_cm_at_once() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.run_well(&State::new().with(&Service::sleeper("a").pack(&device), 10));
    let pid = device.instance("a", 0).main_pid;

    // The time of the kill as the device's clock has it: the events have it too.
    let killed: f64 = device
        .sh(&format!("kill -KILL {pid}; date +%s.%N"))
        .parse()
        .unwrap();
    unit.wait_told("the crash", |status| !status.is_active());

    let event = unit.seen().last().unwrap();
    let told = device.sh(&format!(
        "date -d '{}' +%s.%N",
        event["time"].as_str().unwrap()
    ));
    let told: f64 = told.parse().unwrap();
    // 100 ms is what the contract says; the tests' machine may be busy.
    let took = Duration::from_secs_f64((told - killed).max(0.0));
    assert!(took < Duration::from_secs(1), "{took:?}");
}
