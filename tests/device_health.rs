//! Probes: what they tell of an instance, what they restart, and updates that come
//! back.

use serde_json::{Value, json};

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, WORKING_DIR, wait_until};
use device::service::{Service, beside_a_good_one};
use device::state::{GID, State, Status, UID, assert_reasons, status_of};
use device::unit::Unit;

/// Often, so that a test does not take long.
fn probe(mut what: Value) -> Value {
    what["interval"] = json!("500ms");
    what["timeout"] = json!("20s");
    // A program takes its time to listen on a busy machine.
    what["threshold"] = json!(if what["exec"].is_null() { 30 } else { 3 });
    json!({"probes": [what], "runParameters": {"startInterval": "500ms"}})
}

fn exec(command: &str) -> Value {
    probe(json!({"exec": {"command": ["/bin/sh", "-c", command]}}))
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn each_kind_of_probe_tells_well_from_unwell() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let facts = format!("test \"$(id -u):$(id -g)\" = {UID}:{GID} && test -n \"$AOS_INSTANCE_ID\"");
    // Seen from inside, its cgroup is that of the container's first process.
    let cgroup = "test \"$(cat /proc/self/cgroup)\" = \"$(cat /proc/1/cgroup)\"";
    let mut slow = exec("sleep 77 & exec sleep 78");
    slow["probes"][0]["timeout"] = json!("700ms");
    let services = [
        ("exec-good", exec(&facts)),
        ("exec-cgroup", exec(cgroup)),
        ("exec-bad", exec("echo no disk >&2; exit 9")),
        (
            "exec-absent",
            probe(json!({"exec": {"command": ["/no/such/check"]}})),
        ),
        ("exec-slow", slow),
        ("tcp-good", probe(json!({"tcp": {"port": 8080}}))),
        ("tcp-bad", probe(json!({"tcp": {"port": 8081}}))),
        ("http-good", probe(json!({"http": {"port": 8080}}))),
        (
            "http-bad",
            probe(json!({"http": {"port": 8080, "path": "/read"}})),
        ),
    ];
    let state = services.iter().zip(30..).fold(
        beside_a_good_one(&device, &[]),
        |state, ((id, config), host)| {
            let service = Service::probe(id).config(config.clone());
            state.with(&service.pack(&device), host)
        },
    );

    let statuses = unit.run(&state);

    for (id, _) in &services {
        let is_good = id.ends_with("-good") || *id == "exec-cgroup";
        let status = status_of(&statuses, id);
        assert_eq!(status.is_active(), is_good, "{status:?}");
    }
    assert_reasons(
        &statuses,
        &[
            ("exec-bad", &["no disk", "9"]),
            ("exec-absent", &["/no/such/check"]),
            ("exec-slow", &["700ms"]),
            ("tcp-bad", &["8081"]),
            ("http-bad", &["500"]),
        ],
    );
    // A probe whose time is up leaves no process.
    assert_eq!(device.sh("pgrep -f 'sleep 7[78]' || true"), "");
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_that_hangs_is_restarted_and_active_again() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let service = Service::sleeper("a").config(exec("test ! -e /storage/sick"));
    let storage = json!({"storage": "a"});
    let state = State::new()
        .service(&service.pack(&device))
        .instance_with("a", 0, 10, &storage);
    unit.run_well(&state);
    let before = device.instance("a", 0);

    device.write("/var/aos/storages/a/sick", "");
    let failed = unit.wait_told("the probe", |status| !status.is_active());
    wait_until(PATIENCE, "a restart", || {
        let instances = device.instances();
        let restarted = instances
            .iter()
            .any(|own| own.main_pid != 0 && own.main_pid != before.main_pid);
        restarted.then_some(()).ok_or("the old process")
    });
    device.sh("rm /var/aos/storages/a/sick");
    unit.wait_told("the recovery", Status::is_active);

    assert!(failed.reason().contains("exec probe"), "{failed:?}");
}

/// Version 1 is well; version 2 is as long as `/storage/well` exists.
fn versions(device: &Device) -> [State; 2] {
    let state = |service: Service| {
        let storage = json!({"storage": "web"});
        State::new()
            .service(&service.pack(device))
            .instance_with("web", 0, 10, &storage)
    };
    let mut second = exec("test -e /storage/well");
    second["probes"][0]["interval"] = json!("1s");
    second["probes"][0]["threshold"] = json!(8);
    [
        state(Service::sleeper("web").config(exec("true"))),
        state(Service::sleeper("web").version(2).config(second)),
    ]
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn update_that_is_not_well_comes_back_and_the_next_list_restarts_nothing() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let [first, second] = versions(&device);
    unit.run_well(&first);

    let statuses = unit.run(&second);
    let failed = status_of(&statuses, "web");
    let kept = unit.wait_told("the old version", Status::is_active);
    let running = device.processes();
    unit.run_well(&first);

    assert_eq!((failed.version, kept.version), (2, 1));
    assert!(failed.reason().contains("exec probe"), "{failed:?}");
    assert_eq!(device.processes(), running);
    // What was wrong is mended: the same update stays.
    device.write("/var/aos/storages/web/well", "");
    unit.run_well(&second);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn kill_of_the_service_manager_during_a_trial_changes_nothing_about_its_outcome() {
    for is_well in [true, false] {
        let device = Device::up();
        device.start_sm();
        let mut unit = Unit::start(&device);
        let [first, second] = versions(&device);
        unit.run_well(&first);
        let old = device.instance("web", 0).main_pid;

        unit.send(&second);
        let new = wait_until(PATIENCE, "the new version", || {
            let instances = device.instances();
            let new = instances
                .iter()
                .find(|own| own.main_pid != 0 && own.main_pid != old);
            new.map(|own| own.main_pid).ok_or("the old process")
        });
        device.kill_sm();
        if is_well {
            device.write("/var/aos/storages/web/well", "");
        }
        unit.wait_registered();
        let statuses = unit.wait_status(PATIENCE);

        let status = status_of(&statuses, "web");
        assert_eq!(status.version, 2, "{status:?}");
        assert_eq!(status.is_active(), is_well, "{status:?}");
        if is_well {
            assert_eq!(device.instance("web", 0).main_pid, new);
        } else {
            let kept = unit.wait_told("the old version", Status::is_active);
            assert_eq!(kept.version, 1);
        }
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn probes_that_make_no_sense_are_the_error_of_their_service_alone() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let bad = Service::sleeper("bad").config(json!({"probes": [{"tcp": {"port": 0}}]}));
    let odd =
        Service::sleeper("odd").config(json!({"probes": [{"tcp": {"port": 1}, "treshold": 2}]}));
    let services = [bad, odd].map(|service| service.pack(&device));

    let statuses = unit.run(&beside_a_good_one(&device, &services));

    assert_reasons(
        &statuses,
        &[("bad", &["probe 1", "port 0"]), ("odd", &["treshold"])],
    );
    assert!(status_of(&statuses, "good").is_active(), "{statuses:#?}");
}

/// Another runtime may come, and is that of the next start.
#[test]
#[ignore = "needs root: run ci/test.sh"]
fn probe_stays_with_the_runtime_that_runs_the_instance() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let probed = Service::sleeper("a").config(exec("date +%N >/storage/asked"));
    let state = State::new().service(&probed.pack(&device));
    unit.run_well(&state.instance_with("a", 0, 10, &json!({"storage": "st"})));
    let before = device.processes();

    let another = format!("{WORKING_DIR}/runc");
    device.write(&another, "#!/bin/sh\necho 'I know no container'\nexit 1\n");
    device.sh(&format!("chmod 755 {another}"));

    // More often than it may fail in a row.
    for _ in 0..5 {
        let asked = device.sh("cat /var/aos/storages/st/asked");
        wait_until(PATIENCE, "the next try", || {
            let now = device.sh("cat /var/aos/storages/st/asked");
            if now.is_empty() || now == asked {
                Err("the same")
            } else {
                Ok(())
            }
        });
    }
    assert_eq!(device.processes(), before);
}
