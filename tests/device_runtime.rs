//! OCI runtimes that are missing or slow, and services they cannot run.

use serde_json::json;

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, WORKING_DIR};
use device::service::{Service, beside_a_good_one};
use device::state::{State, assert_reasons, status_of};
use device::unit::{Unit, is, millis};

const SLOW_RUNTIME: &str = include_str!("fixtures/slow_runtime.sh");

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn without_a_runtime_instances_are_failed_and_say_so() {
    let device = Device::up();
    device.sm_drop_in("[Service]\nEnvironment=PATH=/nowhere\n");
    device.start_sm();
    let mut unit = Unit::start(&device);

    let statuses = unit.run(&State::new().with(&Service::sleeper("a").pack(&device), 10));

    let reason = status_of(&statuses, "a").reason();
    assert!(
        reason.contains("runc") && reason.contains("crun"),
        "{reason}"
    );
    // It is back to normal as soon as there is one.
    device.sh(&format!("ln -s /usr/bin/runc {WORKING_DIR}/runc"));
    unit.run_well(&State::new().with(&Service::sleeper("a").pack(&device), 10));
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn slow_runtime_only_takes_longer() {
    let device = Device::up();
    device.write(&format!("{WORKING_DIR}/runc"), SLOW_RUNTIME);
    device.write(&format!("{WORKING_DIR}/crun"), SLOW_RUNTIME);
    device.sh(&format!("chmod 755 {WORKING_DIR}/runc {WORKING_DIR}/crun"));
    device.start_sm();
    let mut unit = Unit::start(&device);
    let broken = Service::shell("broken", "exit 9").pack(&device);
    let state = beside_a_good_one(&device, &[broken]);

    unit.send(&state);
    let sent = {
        unit.command("get-node-monitoring");
        unit.wait_sent("get_node_monitoring")
    };
    let answer = unit.wait_for("monitoring", PATIENCE, |event| is(event, "node_monitoring"));
    let statuses = unit.wait_status(PATIENCE * 2);

    assert!(millis(&answer) - millis(&sent) < 1000.0);
    assert!(status_of(&statuses, "good").is_active(), "{statuses:#?}");
    let broken = status_of(&statuses, "broken").error.as_ref().unwrap();
    assert_eq!(broken.1, 9, "{broken:?}");
    unit.send(&State::default());
    assert_eq!(unit.wait_status(PATIENCE * 2), []);
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_that_asks_for_the_impossible_is_failed_alone() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let sysctl = Service::sleeper("sysctl").config(json!({"sysctl": {"kernel.panic": "1"}}));
    let interval =
        Service::sleeper("interval").config(json!({"runParameters": {"startInterval": "soon"}}));
    let device_wish = Service::sleeper("wish")
        .config(json!({"devices": [{"name": "camera0", "permissions": "rw"}]}));
    let services = [sysctl, interval, device_wish].map(|service| service.pack(&device));

    let statuses = unit.run(&beside_a_good_one(&device, &services));

    assert_reasons(
        &statuses,
        &[
            ("sysctl", &["kernel.panic"]),
            ("interval", &["startinterval"]),
            ("wish", &["camera0"]),
        ],
    );
}
