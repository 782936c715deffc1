//! Partitions that are too small, and what goes to make room.

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, WORKING_DIR, wait_until};
use device::service::{Layer, PackedService, Service};
use device::state::{State, Status, name, status_of};
use device::unit::Unit;

/// A device whose working directory is a partition of its own.
fn small_device(options: &str) -> Device {
    let device = Device::up();
    device.sh(&format!("mount -t tmpfs -o {options} tmpfs {WORKING_DIR}"));
    device
}

/// A service with so much in its root.
fn sized(device: &Device, id: &str, megabytes: u64) -> PackedService {
    Service::sleeper(id)
        .big_file("zeros", megabytes << 20)
        .pack(device)
}

/// Installs and runs a service, and stops it: it is cached.
fn run_and_stop(unit: &mut Unit<'_>, service: &PackedService) {
    unit.run_well(&State::new().with(service, 10));
    unit.stop_all();
}

/// Megabytes of each item of content, smallest first.
fn installed(device: &Device) -> Vec<u64> {
    let listed = device.sh(&format!(
        "du -s --block-size=1M {WORKING_DIR}/services/*/ {WORKING_DIR}/layers/*/*/ 2>/dev/null \
         | cut -f1 | sort -n || true"
    ));
    listed
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect()
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn cached_content_makes_room_the_oldest_first() {
    let device = small_device("size=120m");
    device.start_sm();
    let mut unit = Unit::start(&device);
    let oldest = sized(&device, "oldest", 21);
    let older = sized(&device, "older", 22);
    let young = sized(&device, "young", 23);
    for service in [&older, &oldest, &young] {
        run_and_stop(&mut unit, service);
    }
    // Used again, so it is the oldest no longer.
    run_and_stop(&mut unit, &older);
    assert_eq!(installed(&device).len(), 3);

    unit.run_well(&State::new().with(&sized(&device, "new", 45), 10));

    let left = installed(&device);
    assert!(
        !left.contains(&21) && left.contains(&22) && left.contains(&23),
        "{left:?}"
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn what_is_in_use_stays_and_what_is_missing_is_told() {
    let device = small_device("size=100m");
    device.start_sm();
    let mut unit = Unit::start(&device);
    let layer = Layer::new("base").file("base", "text").pack(&device);
    let used = Service::sleeper("used")
        .big_file("zeros", 30 << 20)
        .layer(&layer)
        .pack(&device);
    let cached = sized(&device, "cached", 10);
    run_and_stop(&mut unit, &cached);
    let state = State::new().layer(&layer).with(&used, 10);
    unit.run_well(&state);
    let before = device.instance("used", 0);
    let content = installed(&device);

    let statuses = unit.run(&state.clone().with(&sized(&device, "huge", 300), 11));

    let reason = status_of(&statuses, "huge").reason();
    assert!(reason.contains("not enough space"), "{reason}");
    // 300 MiB and some, of which less than 100 can be had.
    let missing = reason
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|number| number.parse::<u64>().ok())
        .any(|number| (200 << 20..300 << 20).contains(&number));
    assert!(missing, "{reason}");
    assert!(status_of(&statuses, "used").is_active(), "{statuses:#?}");
    assert_eq!(device.instance("used", 0), before);
    // Nothing went, for it would not have helped; nothing half-done stays.
    assert_eq!(installed(&device), content);
    let hidden = device.sh(&format!(
        "ls -d {WORKING_DIR}/services/.staging* 2>/dev/null || true"
    ));
    assert_eq!(hidden, "");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn part_limit_bounds_a_directory() {
    let device = small_device("size=200m");
    device.configure("servicesPartLimit", 25);
    device.start_sm();
    let mut unit = Unit::start(&device);
    let fits = sized(&device, "fits", 30);
    let state = State::new().with(&fits, 10);

    unit.run_well(&state);
    let statuses = unit.run(&state.with(&sized(&device, "over", 30), 11));

    let reason = status_of(&statuses, "over").reason();
    assert!(reason.contains("not enough space"), "{reason}");
    assert!(status_of(&statuses, "fits").is_active(), "{statuses:#?}");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn content_without_time_to_live_goes_when_it_is_no_longer_wanted() {
    let device = Device::up();
    device.configure("serviceTtlDays", 0);
    device.start_sm();
    let mut unit = Unit::start(&device);

    run_and_stop(&mut unit, &sized(&device, "app", 1));

    wait_until(PATIENCE, "nothing to be cached", || {
        match installed(&device) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        }
    });
}

/// Fills the working directory's partition with `how`, has an instance die and
/// a list come, then makes room again.
fn assert_survives_full(device: &Device, fill: &str, empty: &str) {
    device.start_sm();
    let mut unit = Unit::start(device);
    let app = Service::sleeper("app").pack(device);
    let other = Service::sleeper("other").pack(device);
    let state = State::new().with(&app, 10);
    unit.run_well(&state);
    let before = device.instance("app", 0);
    device.sh(fill);

    // A list that needs room: the running instance stays, the reason is named.
    let both = state.with(&other, 11);
    let statuses = unit.run(&both);
    assert!(status_of(&statuses, "app").is_active(), "{statuses:#?}");
    let reason = status_of(&statuses, "other").reason().to_lowercase();
    assert!(
        ["space", "full", "inodes"]
            .iter()
            .any(|word| reason.contains(word)),
        "{reason}"
    );
    assert_eq!(device.instance("app", 0), before);

    // A restart of the service manager changes nothing for the instance.
    device.restart_sm();
    unit.wait_registered();
    let statuses = unit.wait_status(PATIENCE);
    assert!(status_of(&statuses, "app").is_active(), "{statuses:#?}");
    assert_eq!(device.instance("app", 0), before);

    // A crash of the instance is told all the same.
    device.sh(&format!("kill -KILL {}", before.main_pid));
    unit.wait_told("the crash", |status| {
        status.instance == name("app", 0) && !status.is_active()
    });
    unit.wait_told("the instance again", |status| {
        status.instance == name("app", 0) && status.is_active()
    });

    device.sh(empty);
    unit.run_well(&both);
    assert_eq!(device.processes().len(), 2);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn full_disk_stops_nothing_and_is_named() {
    let device = small_device("size=60m");
    assert_survives_full(
        &device,
        &format!("dd if=/dev/zero of={WORKING_DIR}/filler bs=64k 2>/dev/null || true"),
        &format!("rm {WORKING_DIR}/filler"),
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn disk_without_inodes_stops_nothing_and_is_named() {
    let device = small_device("size=60m,nr_inodes=200");
    assert_survives_full(
        &device,
        &format!(
            "mkdir {WORKING_DIR}/filler
             python3 -c 'import itertools, sys
             try:
                 for n in itertools.count(): open(sys.argv[1] + str(n), \"w\").close()
             except OSError: pass' {WORKING_DIR}/filler/"
        )
        .replace("             ", ""),
        &format!("rm -r {WORKING_DIR}/filler"),
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn list_that_cannot_be_stored_is_worked_on_all_the_same() {
    let device = small_device("size=60m");
    device.start_sm();
    let mut unit = Unit::start(&device);
    let app = Service::sleeper("app").pack(&device);
    unit.run_well(&State::new().with(&app, 10).instance("app", 1, 11));
    device.sh(&format!(
        "dd if=/dev/zero of={WORKING_DIR}/filler bs=4k 2>/dev/null || true"
    ));

    let statuses = unit.run(&State::new().with(&app, 10));

    assert!(statuses.iter().all(Status::is_active), "{statuses:#?}");
    assert_eq!(device.processes().len(), 1);
}
