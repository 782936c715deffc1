//! What instances are given from outside: overridden variables, secrets, and the
//! time that they may be without the cloud.

use std::time::{Duration, Instant};

use serde_json::json;

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, wait_until};
use device::service::{PackedService, Service};
use device::state::{State, Status, name};
use device::unit::{Unit, is};

/// Two services that only sleep.
fn state(device: &Device, first: &PackedService) -> State {
    let other = Service::sleeper("b").pack(device);
    State::new().with(first, 10).with(&other, 11)
}

fn with_permissions(device: &Device) -> PackedService {
    let config = json!({"permissions": {"vis": {"Signal.Doors": "rw"}}});
    Service::sleeper("a").config(config).pack(device)
}

/// The first service's variable of this name, once it is there and `wanted`.
fn variable(device: &Device, variable: &str, wanted: impl Fn(&str) -> bool) -> String {
    wait_until(PATIENCE, variable, || {
        let instances = device.instances();
        let first = instances
            .iter()
            .find(|each| each.name == name("a", 0))
            .ok_or("it does not run")?;
        let value = first.environment.get(variable).cloned().unwrap_or_default();
        if wanted(&value) {
            Ok(value)
        } else {
            Err("another value")
        }
    })
}

/// Overrides variables and returns the errors of the answer.
fn overrides(unit: &mut Unit<'_>, list: &serde_json::Value) -> Vec<String> {
    unit.command(&format!("override-env {list}"));
    let answer = unit.wait_for("the answer", PATIENCE, |event| {
        is(event, "override_env_var_status")
    });
    let text = answer.to_string();
    let errors = text.split("\"error\":\"").skip(1);
    errors
        .map(|rest| rest.split('"').next().unwrap_or_default().to_owned())
        .filter(|error| !error.is_empty())
        .collect()
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn overridden_variables_come_at_once_go_at_their_time_and_outlive_a_restart() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let first = Service::sleeper("a").pack(&device);
    unit.run_well(&state(&device, &first));
    let other = device.instance("b", 0);
    let now: u64 = device.sh("date +%s").trim().parse().expect("a number");
    let end = now + 40;
    let ttl = device.sh(&format!("date -u -d @{end} +%Y-%m-%dT%H:%M:%SZ"));

    let errors = overrides(
        &mut unit,
        &json!([{"service": "a", "vars": [
            {"id": "1", "variable": "TONE=hush-for-ever"},
            {"id": "2", "variable": "SHORT=hush-for-now", "ttl": ttl.trim()},
            {"id": "3", "variable": "hush-no-name"},
            {"id": "4", "variable": "OLD=hush-gone", "ttl": "2020-01-01T00:00:00Z"},
        ]}]),
    );

    assert_eq!(
        errors,
        [
            "environment variable is not NAME=value",
            "environment variable expired"
        ]
    );
    variable(&device, "TONE", |value| value == "hush-for-ever");
    variable(&device, "SHORT", |value| value == "hush-for-now");

    variable(&device, "SHORT", str::is_empty);
    let noted = device.sh(
        "journalctl --output=short-unix --unit=aos-servicemanager.service \
         | grep 'have expired' | cut -d. -f1",
    );
    assert!(
        (end..=end + 1).contains(&noted.trim().parse().expect("a number")),
        "expired at {noted} instead of {end}"
    );
    variable(&device, "TONE", |value| value == "hush-for-ever");

    let before = device.processes();
    device.kill_sm();
    unit.wait_registered();
    let told = unit.wait_status(PATIENCE);
    assert!(told.iter().all(Status::is_active), "{told:?}");
    assert_eq!(device.processes(), before);
    assert_eq!(device.instance("b", 0), other);

    assert!(overrides(&mut unit, &json!([])).is_empty());
    variable(&device, "TONE", str::is_empty);
    assert!(!device.sm_log().contains("hush"), "{}", device.sm_log());
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn iam_that_forgot_the_secrets_gives_new_ones() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let first = with_permissions(&device);
    unit.run_well(&state(&device, &first));
    let other = device.instance("b", 0);
    let old = variable(&device, "AOS_SECRET", |secret| !secret.is_empty());

    unit.kill();
    let mut unit = Unit::start(&device);
    let new = variable(&device, "AOS_SECRET", |secret| {
        !secret.is_empty() && secret != old
    });

    unit.wait_told("the instance to be active", |status| {
        status.instance == name("a", 0) && status.is_active()
    });
    assert_eq!(device.instance("b", 0), other);
    // SM that starts again finds that all is well.
    let before = device.processes();
    device.restart_sm();
    unit.wait_for("the secret to be asked for", PATIENCE, |event| {
        is(event, "iam_get_permissions") && event["known"] == true
    });
    assert_eq!(device.processes(), before);
    let log = device.sm_log();
    assert!(!log.contains(&old) && !log.contains(&new), "{log}");
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_that_needs_a_secret_waits_for_iam_and_holds_up_nobody() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let first = with_permissions(&device);
    unit.run_well(&state(&device, &first));
    let (first, other) = (device.instance("a", 0), device.instance("b", 0));
    unit.kill();
    device.stop_sm();
    device.sh(&format!(
        "systemctl stop aos-service@{} aos-service@{}",
        first.id, other.id
    ));

    device.start_sm();
    wait_until(PATIENCE, "the other to run", || {
        let runs = device.processes().contains_key(&name("b", 0));
        if runs { Ok(()) } else { Err("it does not") }
    });
    wait_until(PATIENCE, "the refusal", || {
        let waits = device.sm_log().contains("instance waits for what it needs");
        if waits { Ok(()) } else { Err("not yet") }
    });
    assert!(!device.processes().contains_key(&name("a", 0)));
    let begun = Instant::now();
    let mut unit = Unit::start(&device);
    unit.wait_told("the instance to be active", |status| {
        status.instance == name("a", 0) && status.is_active()
    });

    let late = begun.elapsed();
    assert!(late < Duration::from_secs(30), "{late:?}");
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_stops_when_the_cloud_is_away_for_too_long_and_comes_back_with_it() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let limited = Service::sleeper("a")
        .config(json!({"offlineTtl": "3s"}))
        .pack(&device);
    unit.run_well(&state(&device, &limited));
    let other = device.instance("b", 0);

    let begun = Instant::now();
    unit.command("cloud off");
    unit.wait_told("the timeout", |status| {
        status.instance == name("a", 0) && !status.is_active()
    });
    let late = begun.elapsed();
    wait_until(PATIENCE, "it to stop", || {
        let runs = device.processes().contains_key(&name("a", 0));
        if runs { Err("it runs") } else { Ok(()) }
    });
    unit.command("cloud on");
    unit.wait_told("the instance to be active", |status| {
        status.instance == name("a", 0) && status.is_active()
    });

    assert!(
        (Duration::from_secs(3)..Duration::from_secs(6)).contains(&late),
        "{late:?}"
    );
    assert_eq!(device.instance("b", 0), other);
    unit.stop_all();
    device.assert_clean();
}
