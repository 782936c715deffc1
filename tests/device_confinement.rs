//! What a service is kept from, and that nothing of it is left out in silence.

use serde_json::{Value, json};

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, WORKING_DIR};
use device::service::{Service, beside_a_good_one};
use device::state::{State, address, assert_reasons};
use device::unit::Unit;

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn wishes_that_cannot_be_met_are_refused_with_their_name() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let with = |id: &str, config: Value| Service::sleeper(id).config(config).pack(&device);
    let services = [
        with("node", json!({"sysctl": {"kernel.panic": "1"}})),
        with("unknown", json!({"sysctl": {"net.no.such": "1"}})),
        with(
            "value",
            json!({"sysctl": {"net.ipv4.ip_default_ttl": "many"}}),
        ),
        with("files", json!({"quotas": {"noFileLimit": 1u64 << 40}})),
    ];

    let statuses = unit.run(&beside_a_good_one(&device, &services));

    assert_reasons(
        &statuses,
        &[
            ("node", &["kernel.panic"]),
            ("unknown", &["net/no/such", "net.no.such"]),
            ("value", &["ip_default_ttl"]),
            ("files", &["rlimit"]),
        ],
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn limit_that_the_kernel_lacks_is_an_error_and_not_ignored() {
    let device = Device::up();
    device.sh("umount /sys/fs/cgroup/pids");
    device.start_sm();
    let mut unit = Unit::start(&device);
    let limited = Service::sleeper("limited").config(json!({"quotas": {"pidsLimit": 5}}));
    let services = [limited.pack(&device)];

    let statuses = unit.run(&beside_a_good_one(&device, &services));

    assert_reasons(&statuses, &[("limited", &["pidslimit cannot be kept"])]);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn profile_of_the_operator_takes_the_place_of_the_built_in_one() {
    let device = Device::up();
    device.write(
        "/etc/aos/seccomp.json",
        r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#,
    );
    device.configure("seccompProfile", "/etc/aos/seccomp.json");
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.run_well(&State::new().with(&Service::probe("probe").pack(&device), 10));

    let facts = device.fetch_patiently(&format!("http://{}:8080/facts", address(10)));
    let facts: Value = serde_json::from_str(&facts).unwrap();
    let calls = &facts["calls"];

    assert_ne!(calls["clone3"], "ENOSYS");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn nothing_that_others_may_read_has_a_secret() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let secretive = Service::sleeper("a").config(json!({"permissions": {"vis": {"*": "rw"}}}));
    unit.run_well(&State::new().with(&secretive.pack(&device), 10));
    let instance = device.instance("a", 0);
    let secret = &instance.environment["AOS_SECRET"];

    let runtime = device.sh("stat -c %a /run/aos/runtime /run/aos/runtime/*/config.json");
    assert_eq!(runtime, "700\n600");
    // Whoever is neither root nor the service: what can be read has no secret.
    let found = device.sh(&format!(
        "setpriv --reuid=12345 --regid=12345 --clear-groups \\
             grep -rlsF -e '{secret}' /run/aos {WORKING_DIR} /run/systemd/system || true"
    ));
    assert_eq!(found, "");
    assert_ne!(secret, "");
}
