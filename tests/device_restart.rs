//! The service manager ends and starts; instances do not care.

use serde_json::json;

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, UNIT_DIR, WORKING_DIR, wait_until};
use device::service::Service;
use device::state::{State, Status, address, name};
use device::unit::Unit;

const CONFIG: &str = "/etc/aos/aos_servicemanager.cfg";

fn running_pair(device: &Device, unit: &mut Unit<'_>) -> State {
    let state = State::new()
        .with(&Service::probe("web").pack(device), 10)
        .with(&Service::sleeper("a").pack(device), 11);
    unit.run_well(&state);
    state
}

fn page() -> String {
    format!("http://{}:8080/", address(10))
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instances_live_through_a_stop_and_a_start() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = running_pair(&device, &mut unit);
    let before = device.processes();

    device.stop_sm();
    assert_eq!(device.sm_property("ActiveState"), "inactive");
    assert_eq!(device.processes(), before);
    assert_eq!(device.fetch_patiently(&page()), "hello from web 0");
    device.start_sm();
    unit.wait_registered();
    unit.wait_all_active(2);
    unit.run_well(&state);
    assert_eq!(device.processes(), before);
    assert_eq!(device.fetch_patiently(&page()), "hello from web 0");
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instances_live_through_a_kill_of_the_manager() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = running_pair(&device, &mut unit);
    let before = device.processes();
    let manager = device.sm_property("MainPID");

    device.kill_sm();
    unit.wait_registered();
    let told = unit.wait_status(PATIENCE);

    device.wait_sm_active();
    assert_ne!(device.sm_property("MainPID"), manager);
    assert!(
        told.len() == 2 && told.iter().all(Status::is_active),
        "{told:?}"
    );
    unit.run_well(&state);
    assert_eq!(device.processes(), before);
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn kill_in_the_middle_of_a_run_leaves_no_half_instance() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let service = Service::sleeper("a").pack(&device);
    let state = (0..6u8).fold(State::new().service(&service), |state, i| {
        state.instance("a", i.into(), 10 + i)
    });

    unit.send(&state);
    wait_until(PATIENCE, "the first unit", || {
        if device.instances().is_empty() {
            Err("none")
        } else {
            Ok(())
        }
    });
    device.kill_sm();
    unit.wait_registered();
    unit.wait_all_active(6);
    assert_eq!(device.processes().len(), 6);
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn what_ended_while_the_manager_was_away_is_started_again() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    running_pair(&device, &mut unit);
    let (web, sleeper) = (device.instance("web", 0), device.instance("a", 0));
    device.stop_sm();
    device.sh(&format!(
        "systemctl stop aos-service@{}.service",
        sleeper.id
    ));

    device.start_sm();
    unit.wait_registered();
    let told = unit.wait_status(PATIENCE);

    assert!(told.iter().all(Status::is_active), "{told:?}");
    assert_eq!(device.instance("web", 0), web);
    assert_ne!(device.instance("a", 0).main_pid, sleeper.main_pid);
}

/// What running instances can be given again is, and what they cannot restarts
/// them alone.
#[test]
#[ignore = "needs root: run ci/test.sh"]
fn what_was_lost_while_the_manager_was_away_is_mended_for_the_losers_alone() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let service = Service::sleeper("a").pack(&device);
    let state = (0..6u8).fold(State::new().service(&service), |state, i| {
        state.instance("a", i.into(), 10 + i)
    });
    unit.run_well(&state);
    let before = device.processes();
    let ids: Vec<_> = (0..6).map(|index| device.instance("a", index).id).collect();
    let [files, drop_in, other, root, namespace, _] = ids.as_slice() else {
        unreachable!("there are six");
    };
    device.stop_sm();
    device.sh(&format!(
        "cd /run/aos/runtime/{files}
         rm config.json hosts resolv.conf /run/aos/content/{files}
         cd /run/systemd/system
         rm aos-service@{drop_in}.service.d/aos.conf
         echo '# of another release' >>aos-service@{other}.service.d/aos.conf
         umount --lazy /run/aos/runtime/{root}/rootfs
         umount /run/netns/{namespace}
         nft flush ruleset"
    ));

    device.start_sm();
    unit.wait_registered();
    unit.wait_all_active(6);
    let after = device.processes();
    let restarted = after
        .iter()
        .filter(|(name, process)| before[*name] != **process);
    let restarted: Vec<_> = restarted.map(|(name, _)| name.as_str()).collect();
    assert_eq!(restarted, [name("a", 3), name("a", 4)]);
    device.sh(&format!(
        "cd /run/aos/runtime/{files}
         test -s config.json && test -s hosts && test -s resolv.conf
         test $(stat -c %a config.json) = 600
         test -s /run/aos/content/{files}
         nft list ruleset | grep -q 172.30.0.10
         cd /run/systemd/system
         grep -q ExecStart= aos-service@{drop_in}.service.d/aos.conf
         ! grep -q 'another release' aos-service@{other}.service.d/aos.conf
         systemctl show --value --property=NeedDaemonReload aos-service@{other} | grep -qx no"
    ));
    // systemd can start those again that were given their files.
    for id in [files, drop_in] {
        device.sh(&format!("systemctl kill --signal=KILL aos-service@{id}"));
        wait_until(PATIENCE, "systemd to start it again", || {
            let instances = device.instances();
            let found = instances.iter().find(|instance| instance.id == *id);
            found
                .filter(|found| found.restarts == 1 && found.state == "active")
                .map(drop)
                .ok_or_else(|| format!("{instances:#?}"))
        });
    }
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn unit_notifies_systemd_and_feeds_its_watchdog() {
    let device = Device::up();
    device.sm_drop_in("[Service]\nWatchdogSec=4\n");
    device.start_sm();
    let _unit = Unit::start(&device);

    assert_eq!(device.sm_property("Type"), "notify");
    assert_eq!(device.sm_property("ActiveState"), "active");
    assert_ne!(device.sm_property("StatusText"), "");
    assert_ne!(device.sm_property("WatchdogUSec"), "0");
    let first = device.sm_property("WatchdogTimestampMonotonic");
    wait_until(PATIENCE, "the watchdog to be fed", || {
        let now = device.sm_property("WatchdogTimestampMonotonic");
        if now == first { Err(now) } else { Ok(()) }
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn unit_hides_no_mounts_from_the_instances() {
    let device = Device::up();
    device.start_sm();

    let pid = device.sm_property("MainPID");
    let namespaces = device.sh(&format!("readlink /proc/1/ns/mnt /proc/{pid}/ns/mnt"));

    let (init, manager) = namespaces.split_once('\n').unwrap();
    assert_eq!(init, manager);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn wrong_options_end_with_status_2() {
    let device = Device::up();

    for options in ["-v loud", "--no-such-option", "-c", "-v"] {
        let output = device.try_sh(&format!("cd /tmp; exec aos_servicemanager {options}"));
        assert_eq!(output.status.code(), Some(2), "{options}: {output:?}");
        assert!(!output.stderr.is_empty(), "{options}: {output:?}");
    }
    for options in ["-version", "--version"] {
        let version = device.sh(&format!("aos_servicemanager {options}"));
        assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn bad_configuration_ends_with_status_1_and_one_line_that_names_all_problems() {
    let device = Device::up();
    let config = json!({"workingDir": WORKING_DIR, "serviceTtlDays": "soon", "remoteNode": 3});
    device.write("/tmp/unused", "");
    device.write("/var/bad.cfg", config.to_string());

    for (file, words) in [
        ("/var/bad.cfg", &["serviceTtlDays", "remoteNode"][..]),
        ("/var/none.cfg", &["/var/none.cfg"]),
    ] {
        let output = device.try_sh(&format!("exec aos_servicemanager -c {file}"));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = [output.stderr, output.stdout].concat();
        let said = String::from_utf8_lossy(&said);
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn reset_is_refused_while_running_and_removes_all_but_storages_and_states() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let service = Service::sleeper("a").pack(&device);
    let stored = json!({"storage": "kept", "state": "kept.dat"});
    unit.run_well(
        &State::new()
            .service(&service)
            .instance_with("a", 0, 10, &stored),
    );
    let reset = format!("aos_servicemanager -c {CONFIG} -reset");

    let refused = device.try_sh(&reset);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(device.processes().len(), 1);

    device.stop_sm();
    device.sh(&reset);

    device.assert_clean();
    let left = device.sh(&format!("cd {WORKING_DIR} && find services layers *.db* aos_unit.cfg -mindepth 0 2>/dev/null || true"));
    let left: Vec<_> = left
        .lines()
        .filter(|path| !matches!(*path, "services" | "layers"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    device.sh("test -d /var/aos/storages/kept && test -f /var/aos/states/kept.dat");
    device.start_sm();
    unit.wait_registered();
    assert_eq!(unit.wait_status(PATIENCE), []);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn damaged_database_is_set_aside_and_the_unit_comes_back_empty() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = running_pair(&device, &mut unit);
    device.stop_sm();
    device.sh(&format!("rm -f {WORKING_DIR}/servicemanager.db-*; dd if=/dev/urandom of={WORKING_DIR}/servicemanager.db bs=4096 count=8 2>/dev/null"));

    device.start_sm();
    unit.wait_registered();
    assert_eq!(unit.wait_status(PATIENCE), []);

    let evidence = device.sh(&format!(
        "ls {WORKING_DIR} | grep 'servicemanager.db.damaged'"
    ));
    assert_ne!(evidence, "");
    unit.run_well(&state);
    assert_eq!(device.processes().len(), 2);
    device.sh(&format!("test -d {UNIT_DIR}"));
}
