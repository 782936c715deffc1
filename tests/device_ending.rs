//! Instances that end with the service manager, or with the machine.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, wait_until};
use device::service::Service;
use device::state::State;
use device::unit::Unit;

/// Notes when it is asked to end, and when it does, some time later.
const SLOW: &str = r#"
trap 'date +%s%N >/storage/asked; sleep 0.3; date +%s%N >/storage/ended; exit 0' TERM
while :; do sleep 3600 & wait $!; done
"#;

/// Each two instances of a priority, the highest in the middle.
const PRIORITIES: [u64; 6] = [5, 1, 9, 5, 9, 1];

fn ranked(device: &Device) -> State {
    let slow = Service::shell("slow", SLOW).pack(device);
    let numbered = PRIORITIES.into_iter().zip(0..);
    numbered.fold(State::new().service(&slow), |state, (priority, index)| {
        let more = json!({"priority": priority, "storage": format!("slow-{index}")});
        state.instance_with("slow", index.into(), 10 + index, &more)
    })
}

fn running(device: &Device) -> Unit<'_> {
    device.start_sm();
    let mut unit = Unit::start(device);
    unit.run_well(&ranked(device));
    unit
}

/// When each was asked to end, and ended, by priority.
fn ends(device: &Device) -> Result<Vec<(u64, u64, u64)>, String> {
    let time = |index: usize, name: &str| -> Result<u64, String> {
        let path: PathBuf = device.path(&format!("/var/aos/storages/slow-{index}/{name}"));
        let text = fs::read_to_string(&path).map_err(|error| format!("{path:?}: {error}"))?;
        text.trim()
            .parse()
            .map_err(|error| format!("{path:?}: {error}"))
    };
    let numbered = PRIORITIES.into_iter().zip(0..);
    let mut ends = numbered
        .map(|(priority, index)| Ok((priority, time(index, "asked")?, time(index, "ended")?)))
        .collect::<Result<Vec<_>, String>>()?;
    ends.sort_unstable();
    Ok(ends)
}

/// Nobody is asked before all of lower priority have ended, and those of one
/// priority end beside each other.
fn assert_order(ends: &[(u64, u64, u64)]) {
    for &(priority, asked, ended) in ends {
        for &(other, other_asked, other_ended) in ends {
            if other < priority {
                assert!(other_ended <= asked, "{priority} before {other}: {ends:?}");
            }
            if other == priority {
                assert!(other_asked < ended && asked < other_ended, "{ends:?}");
            }
        }
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn configured_stop_ends_the_lowest_priority_first_and_the_start_brings_all_back() {
    let device = Device::up();
    device.configure("stopInstancesOnExit", true);
    let mut unit = running(&device);

    device.stop_sm();

    assert_order(&ends(&device).unwrap());
    assert_eq!(device.processes().len(), 0);
    device.assert_no_instances();
    device.start_sm();
    unit.wait_registered();
    unit.wait_all_active(6);
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn stop_of_the_target_ends_the_lowest_priority_first() {
    let device = Device::up();
    let mut unit = running(&device);

    device.sh("timeout 60 systemctl stop aos.target");

    assert_order(&ends(&device).unwrap());
    assert_eq!(device.processes().len(), 0);
    assert_eq!(device.sm_property("ActiveState"), "inactive");
    device.start_sm();
    unit.wait_registered();
    unit.wait_all_active(6);
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn power_off_ends_the_lowest_priority_first() {
    let device = Device::up();
    let _unit = running(&device);

    device.sh("systemctl --no-block poweroff");

    let ends = wait_until(PATIENCE, "all instances to have ended", || ends(&device));
    assert_order(&ends);
}
