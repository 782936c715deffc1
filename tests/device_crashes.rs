//! Crashes, and runtimes that hang: what CM is told of them.

use std::time::Duration;

use serde_json::{Value, json};

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, WORKING_DIR, wait_until};
use device::service::Service;
use device::state::{State, Status, name, status_of};
use device::unit::Unit;

/// Never creates the container of a service that is named so.
const HANGING_RUNTIME: &str = include_str!("fixtures/hanging_runtime.sh");

/// Restarts at once, and as often as it takes.
fn tireless() -> Value {
    json!({"startInterval": "500ms", "startBurst": 1000, "restartInterval": "1ms"})
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn each_of_100_kills_is_told_and_healed() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let service = Service::sleeper("a").config(json!({"runParameters": tireless()}));
    unit.run_well(&State::new().with(&service.pack(&device), 10));

    for kill in 1..=100 {
        let pid = device.instance("a", 0).main_pid;
        device.sh(&format!("kill -KILL {pid}"));

        let failed = unit.wait_told(&format!("kill {kill}"), |status| !status.is_active());
        assert_eq!(failed.error.as_ref().unwrap().1, 137, "{failed:?}");
        assert!(failed.reason().contains("signal 9"), "{failed:?}");
        unit.wait_told(&format!("restart {kill}"), Status::is_active);
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn crash_while_the_manager_is_away_is_told_once() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let service = Service::sleeper("a").pack(&device);
    let state = State::new().with(&service, 10).instance("a", 1, 11);
    unit.run_well(&state);
    let (crashed, calm) = (device.instance("a", 0), device.instance("a", 1));
    device.stop_sm();

    device.sh(&format!("kill -KILL {}", crashed.main_pid));
    wait_until(PATIENCE, "systemd to start it again", || {
        let property = format!(
            "systemctl show -p NRestarts,ActiveState aos-service@{}",
            crashed.id
        );
        let text = device.sh(&property);
        let is_back = text.contains("NRestarts=1") && text.contains("ActiveState=active");
        if is_back { Ok(()) } else { Err(text) }
    });
    device.start_sm();

    unit.wait_registered();
    let told = unit.wait_told("the crash", |status| !status.is_active());
    assert_eq!(told.instance, name("a", 0));
    assert!(told.reason().contains("nobody listened"), "{told:?}");
    unit.wait_told("it to be active again", |status| {
        status.instance == told.instance && status.is_active()
    });

    device.stop_sm();
    device.start_sm();
    unit.wait_registered();
    unit.wait_all_active(2);
    device.sh(&format!("kill -KILL {}", device.instance("a", 0).main_pid));
    let next = unit.wait_told("the next crash", |status| !status.is_active());
    assert!(next.reason().contains("signal 9"), "{next:?}");
    assert_eq!(device.instance("a", 1), calm);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn crash_while_a_list_settles_is_told_after_its_answer() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = State::new().with(&Service::sleeper("a").pack(&device), 10);
    unit.run_well(&state);
    // It counts as started after 1.2 times this.
    let slow = Service::sleeper("b").config(json!({"runParameters": {"startInterval": "4s"}}));

    unit.send(&state.with(&slow.pack(&device), 11));
    wait_until(PATIENCE, "the new one to run", || {
        let processes = device.processes();
        let is_there = processes.contains_key(&name("b", 0));
        if is_there { Ok(()) } else { Err("it does not") }
    });
    device.sh(&format!("kill -KILL {}", device.instance("a", 0).main_pid));

    unit.wait_all_active(2);
    let told = unit.wait_told("the crash", |status| !status.is_active());
    assert_eq!(told.instance, name("a", 0));
    assert!(told.reason().contains("signal 9"), "{told:?}");
    unit.wait_told("it to be active again", Status::is_active);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn crash_loop_ends_as_failed_with_its_code_and_says_that_systemd_gave_up() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let fickle = Service::shell(
        "fickle",
        "trap 'exit 0' TERM; while [ ! -e /storage/crash ]; do sleep 0.1; done; exit 5",
    )
    .config(json!({"runParameters": {"startInterval": "10s", "startBurst": 2}}));
    let storage = json!({"storage": "fickle"});
    let state = State::new()
        .service(&fickle.pack(&device))
        .instance_with("fickle", 0, 10, &storage);
    unit.run_well(&state);

    device.write("/var/aos/storages/fickle/crash", "");

    let gave_up = unit.wait_told("the end", |status| {
        !status.is_active() && status.reason().contains("gave up")
    });
    assert_eq!(gave_up.error.as_ref().unwrap().1, 5, "{gave_up:?}");
    // What is reset can be started again at once.
    device.sh("rm /var/aos/storages/fickle/crash");
    unit.run_well(&state);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn lack_of_memory_is_named() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let greedy = "import os, time\n\
        while not os.path.exists('/storage/eat'): time.sleep(0.05)\n\
        os.unlink('/storage/eat')\n\
        hoard = [bytearray(os.urandom(1 << 20)) for _ in range(512)]\n";
    let service = Service::new("greedy", &["/usr/bin/python3", "-c", greedy]).config(json!({
        "quotas": {"ramLimit": 64 << 20}, "runParameters": tireless(),
    }));
    let storage = json!({"storage": "greedy"});
    let state = State::new()
        .service(&service.pack(&device))
        .instance_with("greedy", 0, 10, &storage);
    unit.run_well(&state);

    device.write("/var/aos/storages/greedy/eat", "");
    device.sh("chmod 777 /var/aos/storages/greedy");

    let failed = unit.wait_told("the end", |status| !status.is_active());
    assert!(failed.reason().contains("more memory"), "{failed:?}");
    assert_eq!(failed.error.as_ref().unwrap().1, 137, "{failed:?}");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn unit_stopped_from_outside_is_told_and_started_by_the_next_list() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = State::new().with(&Service::sleeper("a").pack(&device), 10);
    unit.run_well(&state);
    let id = device.instance("a", 0).id;

    device.sh(&format!("systemctl stop aos-service@{id}.service"));

    // First the end of the process, then that nobody starts it again.
    unit.wait_told("the stop", |status| {
        !status.is_active() && status.reason().contains("outside")
    });
    unit.run_well(&state);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn unit_whose_file_is_lost_runs_on_and_its_end_is_told() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = State::new().with(&Service::sleeper("a").pack(&device), 10);
    unit.run_well(&state);
    let running = device.instance("a", 0);
    let directory = format!("/run/systemd/system/aos-service@{}.service.d", running.id);

    device.sh(&format!("rm -r '{directory}' && systemctl daemon-reload"));
    assert_eq!(device.instance("a", 0).main_pid, running.main_pid);
    device.sh(&format!("kill -KILL {}", running.main_pid));

    unit.wait_told("the end", |status| !status.is_active());
    // A list that comes before systemd has given up is told that it failed.
    wait_until(PATIENCE, "the next start", || {
        let is_well = unit.run(&state).iter().all(Status::is_active);
        if is_well { Ok(()) } else { Err("it fails") }
    });
    assert_ne!(device.instance("a", 0).main_pid, running.main_pid);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn crash_around_a_restart_of_systemd_itself_is_told() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.run_well(&State::new().with(&Service::sleeper("a").pack(&device), 10));
    let pid = device.instance("a", 0).main_pid;

    device.sh(&format!("kill -KILL {pid}; systemctl daemon-reexec"));

    unit.wait_told("the crash", |status| !status.is_active());
    unit.wait_told("the restart", Status::is_active);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn run_parameters_reach_the_unit_and_a_drop_in_of_the_old_release_does_not_win() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let custom = json!({
        "startInterval": "1.5ms", "startBurst": 7, "restartInterval": 2_000_000,
    });
    let custom = Service::sleeper("custom").config(json!({"runParameters": custom}));
    let zero = json!({"runParameters": {"restartInterval": 0}});
    let state = State::new()
        .with(&custom.pack(&device), 10)
        .with(&Service::sleeper("default").pack(&device), 11)
        .with(&Service::sleeper("zero").config(zero).pack(&device), 12);
    let statuses = unit.run(&state);
    let show = |service: &str| {
        let id = device.instance(service, 0).id;
        device.sh(&format!(
            "systemctl show --value aos-service@{id}.service \
             --property=StartLimitIntervalUSec,StartLimitBurst,RestartUSec"
        ))
    };

    assert!(
        status_of(&statuses, "zero")
            .reason()
            .contains("restartInterval")
    );
    let lines = |text: String| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(show("custom")), ["1.500ms", "2ms", "7"]);
    assert_eq!(lines(show("default")), ["100ms", "1s", "3"]);

    let id = device.instance("default", 0).id;
    device.write(
        &format!("/run/systemd/system/aos-service@{id}.service.d/parameters.conf"),
        "[Service]\nRestartSec=77s\n",
    );
    let path = state.save(&device);
    unit.command(&format!("force {path}"));
    unit.wait_sent("run_instances");
    unit.wait_status(PATIENCE);
    assert_eq!(lines(show("default")), ["100ms", "1s", "3"]);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn ten_instances_that_fail_and_recover_are_told_each() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let service = Service::sleeper("many").config(json!({"runParameters": tireless()}));
    let service = service.pack(&device);
    let state = (0..10u8).fold(State::new().service(&service), |state, i| {
        state.instance("many", i.into(), 10 + i)
    });
    unit.run_well(&state);

    device.sh("pkill -KILL -f '^/bin/sh /service.sh'");

    let (mut failed, mut active) = (Vec::new(), Vec::new());
    unit.wait_for("ten failures and recoveries", PATIENCE, |event| {
        for status in Status::all_of(event) {
            let list = if status.is_active() {
                &mut active
            } else {
                &mut failed
            };
            list.push(status.instance);
        }
        for list in [&mut failed, &mut active] {
            list.sort();
            list.dedup();
        }
        failed.len() == 10 && active.len() == 10
    });
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn runtime_that_hangs_holds_up_its_own_instance_alone() {
    let device = Device::up();
    device.write(&format!("{WORKING_DIR}/runc"), HANGING_RUNTIME);
    device.sh(&format!("chmod 755 {WORKING_DIR}/runc"));
    device.start_sm();
    let mut unit = Unit::start(&device);
    let hung = Service::sleeper("hung").pack(&device);
    let state = State::new().with(&Service::sleeper("good").pack(&device), 10);
    let state = (0..20u8).fold(state.service(&hung), |state, i| {
        state.instance("hung", i.into(), 20 + i)
    });

    unit.send(&state);
    wait_until(Duration::from_secs(25), "the good one to run", || {
        let runs = device.processes().contains_key(&name("good", 0));
        runs.then_some(()).ok_or("not yet")
    });
    let statuses = unit.wait_status(PATIENCE * 4);

    assert!(status_of(&statuses, "good").is_active(), "{statuses:#?}");
    assert!(!status_of(&statuses, "hung").is_active(), "{statuses:#?}");
}
