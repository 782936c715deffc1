//! Devices that only so many may use.

use aos_package::{ServiceConfig, ServiceDevice};

use super::*;

/// `one`, `two` and `three` use the camera.
pub(super) async fn start() -> Unit {
    let unit = Unit::start().await;
    let config = ServiceConfig {
        devices: Some(vec![ServiceDevice {
            name: "camera".into(),
            permissions: "rw".into(),
        }]),
        ..ServiceConfig::default()
    };
    for service in ["one", "two", "three"] {
        unit.host
            .book()
            .configs
            .insert(service.into(), config.clone());
    }
    unit.host.devices_are(&[("camera", 1)]);
    unit
}

pub(super) fn camera(instances: &[(&str, u64)]) -> DesiredState {
    let services: Vec<_> = instances.iter().map(|(id, _)| (*id, 1)).collect();
    let instances: Vec<_> = instances.iter().map(|(id, prio)| (*id, 0, *prio)).collect();
    list(&services, &instances)
}

const OF_ONE: &str = "failed: device camera is used by one/me/0 of higher priority";

impl Unit {
    fn device_alerts(&mut self) -> Vec<String> {
        let mut alerts = Vec::new();
        while let Ok(report) = self.reports.try_recv() {
            if let Report::Alert(Alert {
                kind:
                    AlertKind::DeviceAllocate {
                        ident,
                        device,
                        message,
                    },
                ..
            }) = report
            {
                alerts.push(format!("{ident} {device}: {message}"));
            }
        }
        alerts
    }

    fn assert_no_violations(&self) {
        assert_eq!(self.host.book().violations, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn of_three_the_one_of_the_highest_priority_gets_it() {
    let mut unit = start().await;

    let status = unit
        .run(&camera(&[("two", 5), ("one", 9), ("three", 1)]))
        .await;

    assert_eq!(
        briefs(&status),
        [
            format!("two/me/0 v1 {OF_ONE}"),
            "one/me/0 v1 active".to_owned(),
            format!("three/me/0 v1 {OF_ONE}"),
        ]
    );
    assert_eq!(unit.starts(), ["one/me/0 v1"]);
    unit.idle().await;
    assert_eq!(
        unit.device_alerts(),
        [
            "two/me/0 camera: device camera is used by one/me/0 of higher priority",
            "three/me/0 camera: device camera is used by one/me/0 of higher priority",
        ]
    );
    unit.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn higher_priority_takes_it_over_and_the_lower_gets_it_back() {
    let mut unit = start().await;
    unit.run(&camera(&[("two", 5)])).await;

    let taken = unit.run(&camera(&[("two", 5), ("one", 9)])).await;
    let back = unit.run(&camera(&[("two", 5)])).await;

    assert_eq!(
        briefs(&taken),
        [
            format!("two/me/0 v1 {OF_ONE}"),
            "one/me/0 v1 active".to_owned()
        ]
    );
    assert_eq!(briefs(&back), ["two/me/0 v1 active"]);
    assert_eq!(unit.starts(), ["two/me/0 v1", "one/me/0 v1", "two/me/0 v1"]);
    unit.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_it_when_the_other_fails_and_is_told_of_once() {
    let mut unit = start().await;
    unit.run(&camera(&[("one", 9), ("two", 5), ("three", 1)]))
        .await;
    unit.idle().await;
    unit.device_alerts();
    let one = unit.host.book().idents["one/me/0"];

    unit.host
        .systemd_says(one, state(UnitState::Failed, "exit-code"))
        .await;
    let status = unit
        .until(|status| briefs(status)[1].ends_with("active"))
        .await;
    unit.idle().await;

    assert!(
        briefs(&status)[0].starts_with("one/me/0 v1 failed"),
        "{status:?}"
    );
    assert_eq!(
        briefs(&unit.status.borrow())[2],
        "three/me/0 v1 failed: device camera is used by two/me/0 of higher priority"
    );
    assert_eq!(unit.device_alerts(), [] as [String; 0]);
    unit.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn change_of_priority_alone_stops_nobody() {
    let mut unit = start().await;
    unit.run(&camera(&[("one", 9), ("two", 5)])).await;
    unit.starts();

    // Now the one that waits is the better one, and takes it over.
    unit.host.devices_are(&[("camera", 2)]);
    unit.until(|status| briefs(status)[1].ends_with("active"))
        .await;
    assert_eq!(unit.starts(), ["two/me/0 v1"]);
    unit.host.book().stops.clear();
    let status = unit.run(&camera(&[("one", 1), ("two", 5)])).await;

    assert_eq!(
        briefs(&status),
        ["one/me/0 v1 active", "two/me/0 v1 active"]
    );
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn among_equals_who_has_it_keeps_it_over_lists_and_forced_restarts() {
    let mut unit = start().await;
    unit.run(&camera(&[("two", 5)])).await;
    let both = camera(&[("one", 5), ("two", 5), ("three", 5)]);

    unit.run(&both).await;
    let forced = DesiredState {
        force_restart: true,
        ..both
    };
    let status = unit.run(&forced).await;

    let used = "failed: device camera is used as often as allowed: by two/me/0";
    assert_eq!(
        briefs(&status),
        [
            format!("one/me/0 v1 {used}"),
            "two/me/0 v1 active".to_owned(),
            format!("three/me/0 v1 {used}"),
        ]
    );
    assert_eq!(unit.starts(), ["two/me/0 v1", "two/me/0 v1"]);
    unit.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn those_that_are_taken_over_count_before_new_ones() {
    let mut unit = start().await;
    unit.run(&camera(&[("two", 5), ("one", 9)])).await;
    unit.starts();
    unit.host.book().stops.clear();

    let mut unit = unit.restart().await;
    let status = unit.until(|status| status.settled).await;

    assert_eq!(
        briefs(&status),
        [
            format!("two/me/0 v1 {OF_ONE}"),
            "one/me/0 v1 active".to_owned()
        ]
    );
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn device_that_goes_stops_nobody_and_one_that_comes_lets_those_who_wait_start() {
    let mut unit = start().await;
    unit.host.devices_are(&[("camera", 2)]);
    unit.run(&camera(&[("one", 9)])).await;
    unit.starts();

    unit.host.unplugged_are(&["camera"]);
    let without = unit.run(&camera(&[("one", 9), ("two", 5)])).await;
    unit.idle().await;
    assert_eq!(
        briefs(&without),
        [
            "one/me/0 v1 active",
            "two/me/0 v1 failed: device camera is not there"
        ]
    );
    assert_eq!(
        unit.device_alerts(),
        ["two/me/0 camera: device camera is not there"]
    );
    assert_eq!(unit.host.book().stops, []);

    unit.host.unplugged_are(&[]);
    unit.until(|status| briefs(status)[1].ends_with("active"))
        .await;
    assert_eq!(unit.starts(), ["two/me/0 v1"]);
    unit.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn who_runs_is_taken_over_while_its_device_is_gone() {
    let mut unit = start().await;
    unit.run(&camera(&[("one", 9)])).await;
    unit.starts();
    unit.host.unplugged_are(&["camera"]);

    let mut unit = unit.restart().await;
    let status = unit.until(|status| status.settled).await;

    assert_eq!(briefs(&status), ["one/me/0 v1 active"]);
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn another_configuration_stops_nobody_and_counts_for_the_next_start() {
    let mut unit = start().await;
    unit.host.devices_are(&[("camera", 3)]);
    let all = camera(&[("one", 9), ("two", 5), ("three", 1)]);
    unit.run(&all).await;
    unit.starts();

    unit.host.devices_are(&[("camera", 1)]);
    unit.idle().await;
    unit.run(&all).await;
    unit.assert_untouched();
    let forced = DesiredState {
        force_restart: true,
        ..all
    };
    let status = unit.run(&forced).await;

    assert_eq!(
        briefs(&status),
        [
            "one/me/0 v1 active".to_owned(),
            format!("two/me/0 v1 {OF_ONE}"),
            format!("three/me/0 v1 {OF_ONE}"),
        ]
    );
    assert_eq!(unit.starts(), ["one/me/0 v1"]);
    unit.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn update_whose_device_is_not_known_leaves_the_old_version_running() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("one", 1)], &[("one", 0, 5)])).await;
    unit.starts();
    let config = ServiceConfig {
        devices: Some(vec![ServiceDevice {
            name: "radio".into(),
            permissions: String::new(),
        }]),
        ..ServiceConfig::default()
    };
    unit.host.book().configs.insert("one".into(), config);

    let status = unit.run(&list(&[("one", 2)], &[("one", 0, 5)])).await;

    assert_eq!(
        briefs(&status),
        ["one/me/0 v2 failed: device radio is not there, kept v1 active"]
    );
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_stopped_keeps_its_device_and_holds_nobody_up() {
    let mut unit = start().await;
    unit.run(&camera(&[("two", 5)])).await;
    unit.host.book().refuse_releases = 1000;

    let status = unit.run(&camera(&[("one", 9)])).await;
    unit.host.book().refuse_releases = 0;
    let freed = unit
        .until(|status| briefs(status)[0].ends_with("active"))
        .await;

    let reason = "device camera is used by two/me/0, which cannot be stopped";
    assert_eq!(briefs(&status), [format!("one/me/0 v1 failed: {reason}")]);
    assert_eq!(briefs(&freed), ["one/me/0 v1 active"]);
    unit.assert_no_violations();
}
