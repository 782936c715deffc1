//! Services whose users are others than the host's, while the service manager and
//! its configuration come and go.

use serde_json::json;

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, wait_until};
use device::manager::Running;
use device::service::Service;
use device::state::{GID, State, address};
use device::unit::Unit;
use device::users::{device_with, shares_the_hosts, users, users_in};

fn ask(device: &Device, question: &str) -> String {
    device.fetch_patiently(&format!("http://{}:8080/{question}", address(10)))
}

fn config_of(instance: &Running) -> String {
    format!("/run/aos/runtime/{}/config.json", instance.id)
}

/// Has the main process die, and waits for the next one.
fn crash(device: &Device, service: &str) -> Running {
    let before = device.instance(service, 0);
    device.sh(&format!("kill -KILL {}", before.main_pid));
    wait_until(PATIENCE, "the instance to be back", || {
        let mut instances = device.instances().into_iter();
        let is_up = |each: &Running| each.state == "active" && !each.name.is_empty();
        instances
            .find(|each| each.id == before.id && is_up(each))
            .filter(|back| (back.main_pid, back.started) != (before.main_pid, before.started))
            .ok_or("it is not")
    })
}

fn assert_lives_on_with(runtime: &str) {
    let device = device_with(runtime);
    device.configure("userNamespaces", "on");
    device.start_sm();
    let mut unit = Unit::start(&device);
    let web = Service::probe("web").config(json!({"sysctl": {"net.ipv4.ip_default_ttl": "42"}}));
    let state = State::new()
        .with(&web.pack(&device), 10)
        .with(&Service::sleeper("a").pack(&device), 11);
    unit.run_well(&state);
    let before = device.processes();
    let config = config_of(&device.instance("web", 0));

    // Who starts anew takes over what runs, whatever it is configured for by now,
    // and mends it as what it is.
    let written = device.sh(&format!("cat {config}; rm {config}"));
    device.configure("userNamespaces", "off");
    device.kill_sm();
    unit.wait_registered();
    unit.wait_all_active(2);
    unit.run_well(&state);
    assert_eq!(device.processes(), before);
    assert_eq!(device.sh(&format!("cat {config}")), written);

    // systemd starts it again without anybody's help.
    device.stop_sm();
    let back = crash(&device, "web");
    assert_eq!(users(&device, &back), users_in(&[GID]));
    assert_eq!(
        ask(&device, "list?path=/sys/class/net"),
        r#"["eth0", "lo"]"#
    );
    let ttl = ask(&device, "read?path=/proc/sys/net/ipv4/ip_default_ttl");
    assert_eq!(ttl.trim(), "42");
    device.start_sm();
    unit.wait_registered();
    unit.wait_all_active(2);
    assert_eq!(device.instance("web", 0).main_pid, back.main_pid);

    // The next start is by the configuration.
    unit.stop_all();
    device.assert_clean();
    unit.run_well(&state);
    assert!(shares_the_hosts(&device, &device.instance("web", 0)));
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instances_with_users_of_their_own_outlive_the_manager_with_runc() {
    assert_lives_on_with("runc");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instances_with_users_of_their_own_outlive_the_manager_with_crun() {
    assert_lives_on_with("crun");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn option_changes_nothing_of_what_runs() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = State::new().with(&Service::probe("web").pack(&device), 10);
    unit.run_well(&state);
    let before = device.processes();
    let config = config_of(&device.instance("web", 0));

    let written = device.sh(&format!("cat {config}; rm {config}"));
    device.configure("userNamespaces", "on");
    device.restart_sm();
    unit.wait_registered();
    unit.wait_all_active(1);

    assert_eq!(device.processes(), before);
    assert_eq!(device.sh(&format!("cat {config}")), written);
    let back = crash(&device, "web");
    assert!(shares_the_hosts(&device, &back));
    unit.stop_all();
    unit.run_well(&state);
    assert_eq!(users(&device, &device.instance("web", 0)), users_in(&[GID]));
}
