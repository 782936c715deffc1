//! The service manager starts on what release 7.2.3 has left.

use serde_json::{Value, json};

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, WORKING_DIR, wait_until};
use device::manager::Running;
use device::service::{PackedLayer, PackedService, Service};
use device::state::{GATEWAY, State, Status, address, status_of};
use device::unit::Unit;

const OLD_RELEASE: &str = include_str!("fixtures/old_release.py");
const CONFIG: &str = "/etc/aos/aos_servicemanager.cfg";

const WEB: &str = "11111111-1111-4111-8111-111111111111";
const IDLE: &str = "22222222-2222-4222-8222-222222222222";
const IDLE_1: &str = "33333333-3333-4333-8333-333333333333";

/// The digest of the shared layer: of its name.
const LAYER: &str = "sha256:a4d26868017c0ccffe2efe50944ef4211834660cca834c6e9f86dec6a88246fa";

/// A device whose working directory is that of the older release.
fn upgraded(schema: u32, what: &[&str]) -> Device {
    let device = Device::up();
    let schema = schema.to_string();
    device.python(OLD_RELEASE, &[&[WORKING_DIR, &schema], what].concat());
    device
}

/// Main processes of the instances, by their ids.
fn running(device: &Device) -> Vec<(String, u32)> {
    let instances = device.instances().into_iter();
    let mut running: Vec<_> = instances
        .filter(|instance| instance.main_pid != 0)
        .map(|Running { id, main_pid, .. }| (id, main_pid))
        .collect();
    running.sort();
    running
}

fn wait_running(device: &Device, ids: &[&str]) -> Vec<(String, u32)> {
    wait_until(PATIENCE, "the instances to run", || {
        let found = running(device);
        let same = found
            .iter()
            .map(|(id, _)| id.as_str())
            .eq(ids.iter().copied());
        if same {
            Ok(found)
        } else {
            Err(format!("{found:?}"))
        }
    })
}

fn page(path: &str) -> String {
    format!("http://{}:8080/{path}", address(10))
}

/// What can be installed by nobody.
fn nowhere(mut entry: Value) -> Value {
    entry["package"] = Value::Null;
    entry["url"] = "file:///no/such/package".into();
    entry["size"] = 1.into();
    entry["sha3_256"] = "00".repeat(32).into();
    entry["sha3_512"] = "00".repeat(64).into();
    entry
}

/// CM's list of what the older release has, the packages being nowhere.
fn listed() -> State {
    with_instances(taken_over().service(&installed("idle", 1)))
}

/// The same with nothing that is ever damaged, and no instance.
fn taken_over() -> State {
    let layer = PackedLayer {
        digest: LAYER.to_owned(),
        entry: nowhere(json!({"id": "shared", "digest": LAYER, "version": 4})),
    };
    State::new().layer(&layer).service(&installed("web", 3))
}

fn installed(id: &str, version: u64) -> PackedService {
    let service = PackedService::new(id, version, "");
    PackedService {
        entry: nowhere(service.entry),
        ..service
    }
}

fn with_instances(state: State) -> State {
    state
        .instance_with("web", 0, 10, &json!({"priority": 7}))
        .instance("idle", 0, 11)
        .instance("idle", 1, 12)
}

/// The status that CM is told of, without having sent a list.
fn told(device: &Device) -> Vec<Status> {
    let mut unit = Unit::start(device);
    unit.wait_registered();
    unit.wait_status(PATIENCE)
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn same_instances_run_without_cm_and_its_list_neither_fetches_nor_restarts() {
    for (schema, what) in [(6, &["wal"][..]), (7, &[])] {
        let device = upgraded(schema, what);

        device.start_sm();
        let before = wait_running(&device, &[WEB, IDLE, IDLE_1]);
        assert_eq!(device.fetch_patiently(&page("data/page")), "of the layer");
        assert_eq!(device.fetch_patiently(&page("app/version")), "web 3");
        let mut unit = Unit::start(&device);
        unit.wait_registered();
        let told = unit.wait_status(PATIENCE);
        assert!(told.iter().all(Status::is_active), "{told:?}");
        unit.run_well(&listed());

        assert_eq!(running(&device), before);
        // The cached version is kept: two services, and one that may come back.
        let kept = device.sh(&format!("ls {WORKING_DIR}/services | wc -l"));
        assert_eq!(kept, "3");
        let copy = device.sh(&format!("stat -c %a {WORKING_DIR}/servicemanager.db.7.2.3"));
        assert_eq!(copy, "600");
        device.restart_sm();
        unit.wait_registered();
        assert!(unit.wait_status(PATIENCE).iter().all(Status::is_active));
        assert_eq!(running(&device), before);
        unit.stop_all();
        device.assert_clean();
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn takeover_that_is_cut_off_at_any_moment_is_begun_again() {
    let device = upgraded(6, &["wal"]);
    for milliseconds in (10..300).step_by(25) {
        let run = format!(
            "timeout --signal=KILL 0.{milliseconds:03} aos_servicemanager -c {CONFIG} || true"
        );
        device.sh(&run);
    }

    device.start_sm();

    wait_running(&device, &[WEB, IDLE, IDLE_1]);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn what_hurts_no_instance_keeps_none_from_running() {
    let device = upgraded(7, &["dirty", "nulls", "elsewhere"]);

    device.start_sm();

    wait_running(&device, &[WEB, IDLE, IDLE_1]);
    let told = told(&device);
    assert!(
        told.len() == 3 && told.iter().all(Status::is_active),
        "{told:?}"
    );
    let log = device.sm_log();
    for row in [
        "id \"void\"",
        "digest \"void\"",
        "instanceID \"void\"",
        "chain \"void\"",
    ] {
        assert!(log.contains(row), "{row}: {log}");
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn damaged_service_fails_alone_until_cm_brings_its_package() {
    for (what, words) in [
        ("missing", "next list of CM"),
        ("manifest", "manifest.json has changed"),
        ("root", "cannot read"),
    ] {
        let device = upgraded(6, &[what]);
        device.start_sm();
        wait_running(&device, &[WEB]);
        let mut unit = Unit::start(&device);
        unit.wait_registered();
        let told = unit.wait_status(PATIENCE);
        assert!(status_of(&told, "web").is_active(), "{told:?}");
        let reason = status_of(&told, "idle").reason();
        assert!(reason.contains(words), "{what}: {reason}");
        let web = running(&device);

        let idle = Service::sleeper("idle").pack(&device);
        unit.run_well(&with_instances(taken_over().service(&idle)));

        let after = wait_running(&device, &[WEB, IDLE, IDLE_1]);
        assert_eq!(after[..1], web, "{what}");
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn missing_layer_is_the_error_of_who_needs_it() {
    let device = upgraded(6, &["layer"]);

    device.start_sm();

    wait_running(&device, &[IDLE, IDLE_1]);
    let told = told(&device);
    let reason = status_of(&told, "web").reason();
    assert!(
        reason.contains("layer") && reason.contains(LAYER),
        "{reason}"
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn content_that_has_changed_is_found_and_installed_anew() {
    let device = upgraded(6, &["file"]);
    device.start_sm();
    // Whether the damaged ones were started before is a matter of luck.
    wait_until(PATIENCE, "the hash to be checked", || {
        let log = device.sm_log();
        let found = log.contains("idle version 1") && log.contains("has changed since release");
        if found { Ok(()) } else { Err(log) }
    });
    let mut unit = Unit::start(&device);
    unit.wait_registered();

    let nowhere = unit.run(&listed());
    let reason = status_of(&nowhere, "idle").reason();
    assert!(reason.contains("No such file"), "{reason}");
    assert!(status_of(&nowhere, "web").is_active(), "{nowhere:?}");
    let web = device.instance("web", 0);

    let idle = Service::sleeper("idle").pack(&device);
    unit.run_well(&with_instances(taken_over().service(&idle)));

    wait_running(&device, &[WEB, IDLE, IDLE_1]);
    assert_eq!(device.instance("web", 0), web);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn damaged_database_is_set_aside_and_the_unit_comes_back_empty() {
    for what in ["page", "truncated"] {
        let device = upgraded(6, &[what]);
        device.start_sm();

        assert_eq!(told(&device), []);

        device.sh(&format!("ls {WORKING_DIR}/servicemanager.db.damaged-*"));
        assert_eq!(device.sm_property("NRestarts"), "0");
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn what_the_older_release_left_on_the_machine_is_used_or_removed() {
    let device = upgraded(6, &[]);
    // It was killed: its bridge, a mount of an instance, a drop-in.
    device.sh(&format!(
        "ip link add br-provider1 type bridge
         ip address add {GATEWAY}/16 dev br-provider1
         ip link set br-provider1 up
         mkdir -p /run/aos/runtime/{WEB}/rootfs /run/aos/runtime/{IDLE}/mounts
         mount -t tmpfs none /run/aos/runtime/{WEB}/rootfs
         touch /run/aos/runtime/{WEB}/config.json
         ip netns add {WEB}"
    ));

    device.start_sm();

    wait_running(&device, &[WEB, IDLE, IDLE_1]);
    assert_eq!(device.fetch_patiently(&page("app/version")), "web 3");
    assert_eq!(device.sh("ip -oneline link show type bridge | wc -l"), "1");
    let mut unit = Unit::start(&device);
    unit.wait_registered();
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn database_of_an_earlier_release_is_left_untouched() {
    let device = upgraded(5, &[]);
    let database = format!("{WORKING_DIR}/servicemanager.db");
    let look = format!(
        "sha256sum {database}; stat -c '%Y %s' {database}; find {WORKING_DIR} | grep -v lock | sort"
    );
    let before = device.sh(&look);

    let output = device.try_sh(&format!("exec timeout 30 aos_servicemanager -c {CONFIG}"));

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("servicemanager.db") && said.contains("version 5"),
        "{said}"
    );
    assert_eq!(device.sh(&look), before);
}
