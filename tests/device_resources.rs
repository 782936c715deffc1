//! The unit configuration: devices and resources of the node.

use std::time::Duration;

use serde_json::{Value, json};

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE};
use device::service::Service;
use device::state::{State, Status, address, status_of};
use device::unit::{Unit, is};

/// A device that nobody may use unless it is granted: no runtime allows it to
/// all containers. Reading it fails with EINVAL, and nothing ever waits.
const NODE: &str = "c 10 237";
const OPENED: &str = "error: [Errno 22]";
const DENIED: &str = "error: [Errno 1]";

const CONFIG_FILE: &str = "/var/aos/servicemanager/aos_unit.cfg";

fn plug(device: &Device, name: &str) {
    device.sh(&format!(
        "mknod --mode=660 /dev/{name} {NODE}; chgrp lab /dev/{name}"
    ));
}

fn unplug(device: &Device, name: &str) {
    device.sh(&format!("rm /dev/{name}"));
}

/// A device with two host devices and a group that lets instances at them.
fn lab() -> Device {
    let device = Device::up();
    device.sh("echo lab:x:4321: >>/etc/group; echo radio:x:4322: >>/etc/group; mkdir /dev/many");
    plug(&device, "aos-video");
    plug(&device, "many/one");
    // Access goes by numbers: what is only seen has others.
    device.sh("mknod --mode=660 /dev/aos-seen c 10 236; chgrp lab /dev/aos-seen");
    device
}

fn config() -> Value {
    json!({
        "nodeType": "main-type",
        "devices": [
            {"name": "camera", "sharedCount": 1, "groups": ["lab"],
             "hostDevices": ["/dev/aos-video:/dev/camera", "/dev/many"]},
            {"name": "seen", "groups": ["lab"], "hostDevices": ["/dev/aos-seen:/dev/seen"]},
        ],
        "resources": [{
            "name": "bluetooth", "groups": ["radio"],
            "mounts": [
                {"destination": "/opt/bt", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "mode=1777"]},
                {"destination": "/opt/version", "type": "bind", "source": "/proc/version",
                 "options": ["bind", "ro"]},
            ],
            "env": ["BT=yes", "AOS_SERVICE_ID=lent"],
            "hosts": [{"ip": "10.9.8.7", "hostname": "radio"}],
        }],
    })
}

fn ask(unit: &mut Unit<'_>, command: &str) -> (String, String) {
    unit.command(command);
    let event = unit.wait_for("UnitConfigStatus", Duration::from_secs(5), |event| {
        is(event, "unit_config_status")
    });
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    (text("vendor_version"), text("error"))
}

fn set(unit: &mut Unit<'_>, version: &str, config: &Value) -> (String, String) {
    ask(unit, &format!("set-unit-config {version} {config}"))
}

fn accepted(version: &str) -> (String, String) {
    (version.to_owned(), String::new())
}

/// Waits for the alert that names what is missing.
fn missing(unit: &mut Unit<'_>) -> Vec<(String, Vec<String>)> {
    let alert = unit.wait_for("resourceValidate alert", PATIENCE, |event| {
        event["tag"] == "resourceValidateAlert"
    });
    let errors = alert["resource_validate_alert"]["errors"].as_array();
    let errors = errors.expect("the alert names what is missing");
    errors
        .iter()
        .map(|each| {
            let texts = each["error_msg"].as_array().expect("it says why");
            let texts = texts.iter().filter_map(Value::as_str);
            let name = each["name"].as_str().unwrap_or_default();
            (name.to_owned(), texts.map(str::to_owned).collect())
        })
        .collect()
}

fn read(device: &Device, host: u8, path: &str) -> String {
    device.fetch_patiently(&format!("http://{}:8080/read?path={path}", address(host)))
}

fn camera(id: &str) -> Service {
    Service::sleeper(id).config(json!({"devices": [{"name": "camera", "permissions": "rw"}]}))
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_gets_what_it_asks_for_and_nothing_else() {
    let device = lab();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.wait_registered();
    assert_eq!(set(&mut unit, "1", &config()), accepted("1"));
    let lucky = Service::probe("lucky").config(json!({
        "devices": [{"name": "camera", "permissions": "rw"}, {"name": "seen"}],
        "resources": ["bluetooth"],
    }));
    let plain = Service::probe("plain");
    let state = State::new()
        .with(&lucky.pack(&device), 10)
        .with(&plain.pack(&device), 11);

    unit.run_well(&state);

    for path in ["/dev/camera", "/dev/many/one"] {
        let outcome = read(&device, 10, path);
        assert!(outcome.starts_with(OPENED), "{path}: {outcome}");
    }
    let denied = read(&device, 10, "/dev/seen");
    assert!(denied.starts_with(DENIED), "{denied}");
    assert!(read(&device, 10, "/etc/hosts").contains("10.9.8.7\tradio"));
    assert!(read(&device, 10, "/opt/version").starts_with("Linux version"));
    let facts = device.fetch_patiently(&format!("http://{}:8080/facts", address(10)));
    let facts: Value = serde_json::from_str(&facts).expect("the probe answers with JSON");
    assert_eq!(facts["environment"]["BT"], "yes");
    assert_eq!(facts["environment"]["AOS_SERVICE_ID"], "lent");
    let groups = facts["groups"].as_array().expect("it is a list");
    assert!(
        groups.contains(&json!(4321)) && groups.contains(&json!(4322)),
        "{groups:?}"
    );
    device.fetch_patiently(&format!(
        "http://{}:8080/write?path=/opt/bt/file&text=x",
        address(10)
    ));

    let facts = device.fetch_patiently(&format!("http://{}:8080/facts", address(11)));
    let facts: Value = serde_json::from_str(&facts).expect("the probe answers with JSON");
    let dev = facts["dev"].as_array().expect("it is a list");
    assert!(
        !dev.contains(&json!("camera")) && !dev.contains(&json!("many")),
        "{dev:?}"
    );
    assert_eq!(facts["environment"].get("BT"), None);
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn configuration_is_judged_stored_and_outlives_a_restart() {
    let device = lab();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.wait_registered();
    let status = "get-unit-config-status";
    let mut foreign = config();
    foreign["nodeType"] = json!("other");
    let mut other = config();
    other["priority"] = json!(7);
    let mut lacking = config();
    lacking["devices"][0]["hostDevices"] = json!(["/dev/nothing"]);

    assert_eq!(ask(&mut unit, status), accepted(""));
    assert_eq!(
        ask(&mut unit, &format!("check-unit-config 1 {}", config())),
        accepted("1")
    );
    assert_eq!(ask(&mut unit, status), accepted(""));
    assert_eq!(set(&mut unit, "1", &config()), accepted("1"));
    assert_eq!(set(&mut unit, "1", &config()), accepted("1"));
    for (version, config, text) in [
        ("1", &other, "another version"),
        ("2", &foreign, "type \"other\""),
        ("2", &json!("{"), "no JSON object"),
        ("2", &lacking, "device /dev/nothing is not present"),
    ] {
        let (told, error) = set(&mut unit, version, config);
        assert_eq!(told, version);
        assert!(error.contains(text), "{error}");
    }
    let text = "device /dev/nothing is not present on the system".to_owned();
    assert_eq!(missing(&mut unit), [("camera".to_owned(), vec![text])]);
    assert_eq!(ask(&mut unit, status), accepted("1"));

    device.restart_sm();
    unit.wait_registered();
    assert_eq!(ask(&mut unit, status), accepted("1"));
    assert_eq!(device.sh(&format!("stat -c %a {CONFIG_FILE}")), "600");

    device.stop_sm();
    device.write(CONFIG_FILE, "{ broken");
    device.start_sm();
    unit.wait_registered();
    let (version, error) = ask(&mut unit, status);
    assert_eq!(version, "");
    assert!(error.contains("is no unit configuration"), "{error}");
    let state = State::new().with(&camera("one").pack(&device), 10);
    let statuses = unit.run(&state);
    assert!(
        statuses[0].reason().contains("is of no use"),
        "{statuses:?}"
    );
    assert_eq!(set(&mut unit, "1", &config()), accepted("1"));
    unit.wait_told("the instance to start", Status::is_active);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn killed_service_manager_has_the_old_or_the_new_one_and_accepts_a_repeat() {
    let device = lab();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.wait_registered();
    assert_eq!(set(&mut unit, "0", &config()), accepted("0"));

    for version in 1..=8_u32 {
        let mut new = config();
        new["priority"] = json!(version);
        let (old, version) = ((version - 1).to_string(), version.to_string());
        unit.command(&format!("set-unit-config {version} {new}"));
        device.kill_sm();
        unit.wait_registered();

        let (told, error) = ask(&mut unit, "get-unit-config-status");

        // It may be the answer to the one that was cut off.
        assert!(told == old || told == version, "{told}");
        assert_eq!(error, "");
        assert_eq!(set(&mut unit, &version, &new), accepted(&version));
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn device_goes_to_the_highest_priority_and_comes_and_goes() {
    let device = lab();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.wait_registered();
    set(&mut unit, "1", &config());
    let (low, high) = (camera("low").pack(&device), camera("high").pack(&device));
    let low_alone = State::new()
        .service(&low)
        .instance_with("low", 0, 10, &json!({"priority": 1}));
    unit.run_well(&low_alone);
    let both =
        low_alone
            .clone()
            .service(&high)
            .instance_with("high", 0, 11, &json!({"priority": 9}));

    let statuses = unit.run(&both);

    assert!(status_of(&statuses, "high").is_active(), "{statuses:?}");
    let reason = status_of(&statuses, "low").reason();
    assert_eq!(
        reason,
        "device camera is used by high/subject1/0 of higher priority"
    );
    // It comes before the status, which tells of the outcome.
    let alerts: Vec<_> = unit
        .seen()
        .iter()
        .filter(|event| event["tag"] == "deviceAllocateAlert")
        .map(|event| &event["device_allocate_alert"]["device"])
        .collect();
    assert_eq!(alerts, ["camera"]);

    // Who runs is not disturbed, and who starts needs it.
    let before = device.instance("high", 0);
    unplug(&device, "aos-video");
    let gone = "device /dev/aos-video is not present on the system";
    assert_eq!(missing(&mut unit)[0].1, [gone]);
    assert_eq!(device.instance("high", 0).started, before.started);
    let statuses = unit.run(&low_alone);
    assert!(statuses[0].reason().contains(gone), "{statuses:?}");
    plug(&device, "aos-video");
    unit.wait_told("the device to be used", Status::is_active);

    // Adoption counts before new starts.
    let before = device.instance("low", 0);
    device.restart_sm();
    let statuses = unit.wait_status(PATIENCE);
    assert!(statuses[0].is_active(), "{statuses:?}");
    assert_eq!(device.instance("low", 0).started, before.started);
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn unknown_names_and_missing_sources_are_told_by_name() {
    let device = lab();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.wait_registered();
    let mut config = config();
    config["resources"][0]["mounts"] =
        json!([{"destination": "/opt/x", "type": "bind", "source": "/var/gone"}]);
    assert_eq!(set(&mut unit, "1", &config), accepted("1"));
    let service = |id: &str, config: Value| Service::sleeper(id).config(config).pack(&device);
    let state = State::new()
        .with(
            &service("device", json!({"devices": [{"name": "radar"}]})),
            10,
        )
        .with(&service("resource", json!({"resources": ["wifi"]})), 11)
        .with(&service("source", json!({"resources": ["bluetooth"]})), 12)
        .with(&service("good", json!({})), 13);

    let statuses = unit.run(&state);

    for (service, text) in [
        (
            "device",
            "device radar: unit configuration 1 does not name it",
        ),
        (
            "resource",
            "resource wifi: unit configuration 1 does not name it",
        ),
        (
            "source",
            "resource bluetooth: cannot mount /var/gone on /opt/x",
        ),
    ] {
        let reason = status_of(&statuses, service).reason();
        assert!(reason.contains(text), "{reason}");
    }
    assert!(status_of(&statuses, "good").is_active(), "{statuses:?}");
}
