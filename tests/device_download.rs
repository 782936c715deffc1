//! Packages that come over HTTP.

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use std::time::Duration;

use device::lab::{Device, PATIENCE, WORKING_DIR, wait_until};
use device::server::{Answered, Server};
use device::service::{PackedService, Service, beside_a_good_one};
use device::state::{State, Status, status_of};
use device::unit::{Unit, is, millis};

/// A service that cannot be compressed, so that its package has a size, and is
/// no other's.
fn bulky(device: &Device, id: &str, megabytes: usize) -> PackedService {
    let seed = id.bytes().fold(0, |seed, byte| 31 * seed + u64::from(byte));
    let mut noise = fastrand::Rng::with_seed(seed);
    let content: Vec<u8> = std::iter::repeat_with(|| noise.u8(..))
        .take(megabytes << 20)
        .collect();
    Service::sleeper(id).file("noise", content).pack(device)
}

fn over_http(service: &PackedService, how: &str) -> PackedService {
    let url = Server::url(how, service);
    service.clone().told("url", url)
}

/// Nothing of a download may be left.
fn assert_no_spool(device: &Device) {
    let left = device.sh(&format!("ls -A {WORKING_DIR}/download"));
    assert_eq!(left, "");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn packages_come_over_http_also_through_redirects_cuts_and_refusals() {
    let device = Device::up();
    let server = Server::start(&device);
    device.start_sm();
    let mut unit = Unit::start(&device);
    let ways = ["plain", "moved", "cut", "whole", "away/2"];
    let services: Vec<_> = ways
        .iter()
        .map(|how| {
            let service = bulky(&device, how.split('/').next().unwrap_or(how), 3);
            over_http(&service, how)
        })
        .collect();

    let statuses = unit.run(&beside_a_good_one(&device, &services));

    assert!(statuses.iter().all(Status::is_active), "{statuses:#?}");
    assert_no_spool(&device);
    let answered = server.answered();
    let of = |how: &str| -> Vec<&Answered> {
        let prefix = format!("/{how}/");
        answered
            .iter()
            .filter(|it| it.path.starts_with(&prefix))
            .collect()
    };
    // What had come before the cut is not sent again.
    let [first, second] = of("cut")[..] else {
        panic!("{answered:#?}");
    };
    assert_eq!(second.status, 206, "{answered:#?}");
    assert_eq!(second.range, Some(format!("bytes={}-", first.sent)));
    assert!(second.if_range.is_some(), "{answered:#?}");
    assert_eq!(of("away").len(), 3, "{answered:#?}");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn download_that_cannot_be_trusted_or_had_is_named_and_leaves_nothing() {
    let device = Device::up();
    let _server = Server::start(&device);
    device.start_sm();
    let mut unit = Unit::start(&device);
    let services: Vec<_> = ["other", "wrong", "plain/missing", "plain"]
        .iter()
        .zip(["other", "wrong", "missing", "short"])
        .map(|(how, id)| over_http(&bulky(&device, id, 1), how))
        .collect();
    let mut services = services;
    let short = services.pop().expect("there are four");
    services.push(short.told("size", 1000));

    let statuses = unit.run(&beside_a_good_one(&device, &services));

    for (service, word) in [
        ("other", "redirect"),
        ("wrong", "SHA3-256"),
        ("missing", "404"),
        ("short", "1000"),
    ] {
        let reason = status_of(&statuses, service).reason();
        assert!(reason.contains(word), "{service}: {reason}");
    }
    assert!(status_of(&statuses, "good").is_active(), "{statuses:#?}");
    assert_no_spool(&device);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn download_goes_on_after_a_crash_of_the_service_manager() {
    let device = Device::up();
    let server = Server::start(&device);
    device.start_sm();
    let mut unit = Unit::start(&device);
    let megabytes = 12;
    let service = over_http(&bulky(&device, "app", megabytes), "slow/2000");
    unit.send(&State::new().with(&service, 10));
    wait_until(PATIENCE, "a third of the package", || {
        let size = device.sh(&format!("cat {WORKING_DIR}/download/* 2>/dev/null | wc -c"));
        let size: usize = size.parse().unwrap_or_default();
        if size > (megabytes << 20) / 3 {
            Ok(())
        } else {
            Err(size)
        }
    });
    let progress = device.sm_property("StatusText");

    device.kill_sm();

    // The stored list is enough: CM sends nothing again.
    unit.wait_told("the service", Status::is_active);
    assert!(
        progress.contains("app") && progress.contains("MB"),
        "{progress}"
    );
    assert_no_spool(&device);
    let answered = server.answered();
    let again = answered.last().expect("it was asked");
    assert_eq!(again.status, 206, "{answered:#?}");
    let sent: u64 = answered.iter().map(|it| it.sent).sum();
    assert!(
        sent < (megabytes as u64 + 4) << 20,
        "{sent} bytes: {answered:#?}"
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn same_package_is_downloaded_once() {
    let device = Device::up();
    let server = Server::start(&device);
    device.start_sm();
    let mut unit = Unit::start(&device);
    let one = bulky(&device, "one", 4);
    let two = PackedService::new("two", 1, one.file());
    let services = [over_http(&one, "slow/4000"), over_http(&two, "slow/4000")];

    let statuses = unit.run(&beside_a_good_one(&device, &services));

    assert!(statuses.iter().all(Status::is_active), "{statuses:#?}");
    assert_eq!(server.answered().len(), 1, "{:#?}", server.answered());
    assert_no_spool(&device);
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn requests_are_answered_within_a_second_while_much_is_installed() {
    let device = Device::up();
    let _server = Server::start(&device);
    device.start_sm();
    let mut unit = Unit::start(&device);
    // 500 MB that cost no time to be made: zeros, not compressed.
    let service = Service::sleeper("app")
        .big_file("zeros", 500 << 20)
        .option("--compress=none")
        .pack(&device);
    let service = over_http(&service, "plain");
    unit.wait_registered();
    let sent = unit.send(&State::new().with(&service, 10));
    let before = unit.seen().len();
    let mut answers = Vec::new();

    let settled = loop {
        unit.command("get-unit-config-status");
        let asked = unit.wait_sent("get_unit_config_status");
        let answer = unit.wait_for("an answer", PATIENCE, |event| {
            is(event, "unit_config_status")
        });
        answers.push(millis(&answer) - millis(&asked));
        let mut since = unit.seen().iter().skip(before);
        if let Some(settled) = since.find(|event| is(event, "run_instances_status")) {
            break settled.clone();
        }
    };

    assert!(
        Status::all_of(&settled).iter().all(Status::is_active),
        "{settled}"
    );
    let slowest = answers.iter().copied().fold(0.0, f64::max);
    assert!(
        slowest < 1000.0,
        "{slowest} ms of {} answers",
        answers.len()
    );
    assert!(
        answers.len() > 10,
        "only {} answers in {} ms: the install was too quick to tell",
        answers.len(),
        millis(&settled) - millis(&sent)
    );
    let peak = device.sh("sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB/\\1/p' \
         /proc/$(systemctl show --value --property=MainPID aos-servicemanager)/status");
    let peak: u64 = peak.parse().expect("the kernel tells");
    assert!(peak < 64 << 10, "{peak} KiB at the peak");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn newer_list_does_not_wait_for_a_download_that_does_not_come() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    // Nobody listens.
    let lost = over_http(&bulky(&device, "lost", 1), "plain");
    let good = Service::sleeper("good").pack(&device);
    unit.send(&State::new().with(&lost, 20));
    wait_until(PATIENCE, "a first attempt", || {
        let log = device.sm_log();
        if log.contains("again") {
            Ok(())
        } else {
            Err(log)
        }
    });

    unit.send(&State::new().with(&good, 10));

    let statuses = unit.wait_status(Duration::from_secs(10));
    assert!(status_of(&statuses, "good").is_active(), "{statuses:#?}");
}
