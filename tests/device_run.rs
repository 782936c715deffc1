//! From a desired state to running instances, and back to nothing.

use std::time::Duration;

use serde_json::json;

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, wait_until};
use device::service::Service;
use device::state::{State, Status, address, name, status_of};
use device::unit::{Unit, is};

/// Services named so, each with an instance of index 0 at addresses from .10 on.
fn sleepers(device: &Device, names: &[&str]) -> State {
    let numbered = names.iter().zip(10..);
    numbered.fold(State::new(), |state, (name, host)| {
        state.with(&Service::sleeper(name).pack(device), host)
    })
}

fn page(host: u8) -> String {
    format!("http://{}:8080/", address(host))
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_runs_and_is_taken_away_without_a_trace() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = State::new().with(&Service::probe("web").pack(&device), 10);

    let statuses = unit.run(&state);

    let web = Status {
        instance: name("web", 0),
        version: 1,
        run_state: "active".into(),
        error: None,
    };
    assert_eq!(statuses, [web]);
    assert_eq!(device.fetch_patiently(&page(10)), "hello from web 0");
    // CM reverts an update at the first status that is not the final one.
    let updates = unit
        .seen()
        .iter()
        .filter(|event| is(event, "update_instances_status"));
    assert_eq!(updates.count(), 0, "{:#?}", unit.seen());

    unit.stop_all();

    device.assert_clean();
    device.fetch(&page(10)).unwrap_err();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn same_list_again_restarts_nothing() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = sleepers(&device, &["a", "b"]).instance("a", 1, 30);
    unit.run_well(&state);
    let before = device.processes();

    unit.run_well(&state);

    assert_eq!(before.len(), 3);
    assert_eq!(device.processes(), before);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn one_added_one_removed_one_changed_touches_only_these() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let services = ["kept", "removed", "changed", "added"]
        .map(|name| (name, Service::sleeper(name).pack(&device)));
    let all = services
        .iter()
        .fold(State::new(), |state, (_, service)| state.service(service));
    let old = all
        .clone()
        .instance("kept", 0, 10)
        .instance("removed", 0, 11)
        .instance("changed", 0, 12);
    unit.run_well(&old);
    let before = device.processes();

    let new = all
        .instance("kept", 0, 10)
        .instance("changed", 0, 22)
        .instance("added", 0, 13);
    unit.run_well(&new);

    let after = device.processes();
    let names: Vec<_> = after.keys().cloned().collect();
    assert_eq!(
        names,
        ["added", "changed", "kept"].map(|service| name(service, 0))
    );
    assert_eq!(after[&name("kept", 0)], before[&name("kept", 0)]);
    assert_ne!(after[&name("changed", 0)], before[&name("changed", 0)]);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn change_of_priority_alone_restarts_nothing() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let services = sleepers(&device, &[]).service(&Service::sleeper("a").pack(&device));
    let low = services.clone().instance("a", 0, 10).instance("a", 1, 11);
    unit.run_well(&low);
    let before = device.processes();

    let raised = services
        .instance("a", 0, 10)
        .instance_with("a", 1, 11, &json!({"priority": 100}));
    unit.run_well(&raised);

    assert_eq!(device.processes(), before);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn forced_restart_restarts_all() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = sleepers(&device, &["a", "b"]);
    unit.run_well(&state);
    let before = device.processes();

    let path = state.save(&device);
    unit.command(&format!("force {path}"));
    unit.wait_sent("run_instances");
    let statuses = unit.wait_status(PATIENCE);

    assert!(statuses.iter().all(Status::is_active), "{statuses:#?}");
    let after = device.processes();
    assert_eq!(after.len(), 2);
    assert!(
        before.iter().all(|(name, process)| after[name] != *process),
        "{before:?} {after:?}"
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn new_version_replaces_the_old_and_keeps_the_instance() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let first = Service::probe("web")
        .file("data.txt", "first")
        .pack(&device);
    let second = Service::probe("web")
        .version(2)
        .file("data.txt", "second")
        .pack(&device);
    let other = Service::sleeper("other").pack(&device);
    let state = |web| State::new().with(web, 10).with(&other, 11);
    unit.run_well(&state(&first));
    let (old, bystander) = (device.instance("web", 0), device.instance("other", 0));
    let url = format!("{}read?path=/data.txt", page(10));
    assert_eq!(device.fetch_patiently(&url), "first");

    let statuses = unit.run(&state(&second));

    assert_eq!(
        (
            status_of(&statuses, "web").version,
            status_of(&statuses, "other").version
        ),
        (2, 1)
    );
    assert!(statuses.iter().all(Status::is_active), "{statuses:#?}");
    assert_eq!(device.fetch_patiently(&url), "second");
    let new = device.instance("web", 0);
    assert_eq!(new.id, old.id);
    assert_ne!(new.main_pid, old.main_pid);
    assert_eq!(device.instance("other", 0), bystander);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn crash_is_told_with_its_exit_code_and_healed() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.run_well(&State::new().with(&Service::probe("web").pack(&device), 10));
    let exit = format!("{}exit?code=3", page(10));
    device.fetch_patiently(&page(10));

    device.fetch(&exit).unwrap();

    let failed = unit.wait_told("the crash", |status| !status.is_active());
    assert_eq!(
        (failed.instance.as_str(), failed.version),
        (name("web", 0).as_str(), 1)
    );
    assert_eq!(failed.error.as_ref().unwrap().1, 3, "{failed:?}");
    unit.wait_told("the restart", Status::is_active);
    assert_eq!(device.fetch_patiently(&page(10)), "hello from web 0");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn kill_by_signal_is_told_as_shells_do() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.run_well(&sleepers(&device, &["a"]));
    let pid = device.instance("a", 0).main_pid;

    device.sh(&format!("kill -KILL {pid}"));

    let failed = unit.wait_told("the crash", |status| !status.is_active());
    assert_eq!(failed.error.as_ref().unwrap().1, 137, "{failed:?}");
    unit.wait_told("the restart", Status::is_active);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_that_always_ends_is_failed_and_holds_nobody_up() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let broken = Service::shell("broken", "exit 7").pack(&device);
    let absent = Service::new("absent", &["/no/such/program"]).pack(&device);
    let state = sleepers(&device, &["good"])
        .with(&broken, 20)
        .with(&absent, 21);

    let statuses = unit.run(&state);

    assert!(status_of(&statuses, "good").is_active(), "{statuses:#?}");
    let broken = status_of(&statuses, "broken");
    assert_eq!(broken.error.as_ref().unwrap().1, 7, "{broken:?}");
    assert!(
        status_of(&statuses, "absent")
            .reason()
            .contains("/no/such/program"),
        "{statuses:#?}"
    );
    // It gave up: what failed is not started again and again.
    let instances = device.instances();
    assert_eq!(
        instances
            .iter()
            .filter(|instance| instance.main_pid != 0)
            .count(),
        1,
        "{instances:#?}"
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn failed_instance_is_started_again_by_the_next_list() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let fickle = Service::shell(
        "fickle",
        "read -r code </storage/code && exit $code; exec sleep 3600",
    );
    let storage = json!({"storage": "fickle"});
    let state = State::new()
        .service(&fickle.pack(&device))
        .instance_with("fickle", 0, 10, &storage);
    device.write("/var/aos/storages/fickle/code", "5\n");
    let statuses = unit.run(&state);
    assert_eq!(
        status_of(&statuses, "fickle").error.as_ref().unwrap().1,
        5,
        "{statuses:#?}"
    );

    device.sh("rm /var/aos/storages/fickle/code");
    unit.run_well(&state);

    assert_eq!(device.processes().len(), 1);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_that_ignores_its_stop_signal_is_killed_and_the_unit_not_failed() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    // With a handler it could stop, and does not; without one, it cannot hear.
    let deaf = Service::shell("deaf", "exec sleep 3600").pack(&device);
    let stubborn =
        Service::shell("stubborn", "trap : TERM; while :; do sleep 1; done").pack(&device);
    unit.run_well(&State::new().with(&deaf, 10));

    let sent = unit.send(&State::default());
    let stopped = unit.wait_for("the stop", PATIENCE, |event| {
        is(event, "run_instances_status")
    });
    let took = device::unit::millis(&stopped) - device::unit::millis(&sent);
    assert!(
        took < 5000.0,
        "it took {took} ms to stop a service that has no handler"
    );
    unit.run_well(&State::new().with(&stubborn, 10));
    unit.stop_all();

    device.assert_clean();
    let failed = device.sh("systemctl list-units --failed --plain --no-legend 'aos-*'");
    assert_eq!(failed, "");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn many_instances_start_and_stop_together() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let sleeper = Service::sleeper("many").pack(&device);
    let state = (0..8u8).fold(State::new().service(&sleeper), |state, i| {
        state.instance("many", i.into(), 10 + i)
    });

    unit.run_well(&state);
    assert_eq!(device.processes().len(), 8);
    unit.stop_all();

    wait_until(Duration::from_secs(10), "no process to be left", || {
        let left = device.processes();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn changed_rules_and_name_servers_leave_the_process_alone() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let service = Service::sleeper("a").pack(&device);
    let state = |port: &str, dns: &str| {
        let rule = json!({
            "src_ip": address(10), "dst_ip": "172.31.0.10", "dst_port": port, "proto": "tcp",
        });
        let network = json!({
            "subnet": "172.30.0.0/16", "ip": address(10), "dns": [dns], "rules": [rule],
        });
        let other = json!({"network": network});
        State::new()
            .service(&service)
            .instance_with("a", 0, 10, &other)
    };
    unit.run_well(&state("80", "172.30.0.1"));
    let before = device.processes();

    unit.run_well(&state("81", "172.30.0.1"));
    unit.run_well(&state("81", "172.30.0.53"));
    device.kill_sm();
    unit.wait_registered();
    let told = unit.wait_status(PATIENCE);
    unit.run_well(&state("82", "172.30.0.53"));

    assert!(told.iter().all(Status::is_active), "{told:?}");
    assert_eq!(device.processes(), before);
    unit.stop_all();
    device.assert_clean();
}
