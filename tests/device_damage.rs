//! Content that is damaged after it was installed.

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use serde_json::Value;

use device::lab::{Device, PATIENCE, UNIT_DIR, WORKING_DIR};
use device::service::{Layer, PackedLayer, PackedService, Service};
use device::state::{State, Status, address, name, status_of};
use device::unit::{Unit, is};

/// Three services that run: one of its own, and two on a layer.
struct Running {
    state: State,
    own: PackedService,
    layer: PackedLayer,
}

fn running(device: &Device, unit: &mut Unit<'_>) -> Running {
    let layer = Layer::new("data")
        .file("data/page", "of the layer")
        .pack(device);
    let own = Service::probe("own")
        .file("page", "of the service")
        .pack(device);
    let one = Service::sleeper("one").layer(&layer).pack(device);
    let two = Service::probe("two").layer(&layer).pack(device);
    let state = State::new()
        .layer(&layer)
        .with(&own, 10)
        .with(&one, 11)
        .with(&two, 12);
    unit.run_well(&state);
    Running { state, own, layer }
}

/// Changes one byte of a file of installed content, and nothing else that can
/// be seen without reading it.
fn flip(device: &Device, pattern: &str) {
    device.sh(&format!(
        "file=$(ls -d {WORKING_DIR}/{pattern}); stamp=$(stat -c %y \"$file\")
         printf X | dd of=\"$file\" bs=1 count=1 conv=notrunc 2>/dev/null
         touch -d \"$stamp\" \"$file\""
    ));
}

/// Has all content read now.
fn check_content(device: &Device) {
    device.sh("systemctl kill --kill-who=main --signal=USR1 aos-servicemanager");
}

/// Waits for the alert that names a file.
fn wait_alert(unit: &mut Unit<'_>, file: &str) {
    let names = |event: &Value| {
        is(event, "alert") && event["core_alert"]["message"].to_string().contains(file)
    };
    if !unit.seen().iter().any(names) {
        unit.wait_for("an alert", PATIENCE, names);
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn damaged_service_heals_and_others_do_not_notice() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    running(&device, &mut unit);
    let (one, two) = (device.instance("one", 0), device.instance("two", 0));

    flip(&device, "services/*/rootfs/page");
    check_content(&device);

    let failed = unit.wait_told("the damage", |status| !status.is_active());
    assert_eq!(failed.instance, name("own", 0));
    assert!(failed.reason().contains("page"), "{failed:?}");
    unit.wait_told("the instance again", |status| {
        status.instance == name("own", 0) && status.is_active()
    });
    let url = format!("http://{}:8080/read?path=/page", address(10));
    assert_eq!(device.fetch_patiently(&url), "of the service");
    assert_eq!(
        (device.instance("one", 0), device.instance("two", 0)),
        (one, two)
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn damage_raises_an_alert_that_names_the_file() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    running(&device, &mut unit);

    flip(&device, "layers/*/*/data/page");
    check_content(&device);

    wait_alert(&mut unit, "data/page");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn damaged_layer_stops_and_heals_all_that_use_it() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    running(&device, &mut unit);
    let own = device.instance("own", 0);

    flip(&device, "layers/*/*/data/page");
    check_content(&device);

    for _ in 0..2 {
        unit.wait_told("an instance again", |status| {
            status.instance != name("own", 0) && status.is_active()
        });
    }
    let url = format!("http://{}:8080/read?path=/data/page", address(12));
    assert_eq!(device.fetch_patiently(&url), "of the layer");
    assert_eq!(device.instance("own", 0), own);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn damage_done_while_nobody_looked_is_found_at_the_start() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    running(&device, &mut unit);
    unit.stop_all();
    device.stop_sm();
    device.sh(&format!("rm {WORKING_DIR}/services/*/rootfs/page"));

    device.start_sm();
    unit.wait_registered();
    let own = Service::probe("own")
        .file("page", "of the service")
        .pack(&device);
    unit.run_well(&State::new().with(&own, 10));

    let url = format!("http://{}:8080/read?path=/page", address(10));
    assert_eq!(device.fetch_patiently(&url), "of the service");
    wait_alert(&mut unit, "page");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn damage_that_cannot_heal_waits_for_the_next_list() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let Running { state, own, layer } = running(&device, &mut unit);
    assert!(!layer.digest.is_empty());
    let package = format!("{UNIT_DIR}/{}", own.file());
    // The state file tells what the peers can no longer read from the package.
    device.sh(&format!("mv {package} {package}.away"));

    flip(&device, "services/*/rootfs/page");
    check_content(&device);
    let failed = unit.wait_told("the damage", |status| !status.is_active());
    assert_eq!(failed.instance, name("own", 0));

    device.sh(&format!("mv {package}.away {package}"));
    let statuses = unit.run(&state);
    assert!(statuses.iter().all(Status::is_active), "{statuses:#?}");
    assert!(status_of(&statuses, "own").is_active());
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn list_that_changes_nothing_costs_nothing_that_grows_with_the_content() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let mut many = Service::sleeper("many");
    for number in 0..3000 {
        many = many.file(&format!("d{}/{number}", number % 50), "some text");
    }
    let many = many.pack(&device);
    let state = State::new().with(&many, 10);
    unit.run_well(&state);
    let opened = |device: &Device| -> u64 {
        let io = device.sh(
            "sed -n 's/^syscr: //p' /proc/$(systemctl show --value --property=MainPID \
             aos-servicemanager)/io",
        );
        io.parse().expect("the kernel tells")
    };

    let before = opened(&device);
    unit.run_well(&state);
    let reads = opened(&device) - before;

    assert!(
        reads < 1000,
        "{reads} reads for a list that changes nothing"
    );
}
