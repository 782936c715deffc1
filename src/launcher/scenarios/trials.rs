//! Services with probes: what is active, what is restarted, what comes back.

use std::time::Duration;

use super::*;
use crate::launcher::host::{Exit, Resource};
use crate::launcher::probes::{Check, Probe};

pub(super) fn probe() -> Probe {
    Probe {
        check: Check::Tcp(80),
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        threshold: 3,
        success_threshold: 1,
        initial_delay: Duration::from_secs(1),
    }
}

/// Versions 1 to 3 of `web` have a probe.
async fn start() -> Unit {
    let unit = Unit::start().await;
    for version in 1..4 {
        let key = format!("web version {version}");
        unit.host.book().probes.insert(key, vec![probe()]);
    }
    unit
}

fn web(version: u64) -> DesiredState {
    list(&[("web", version)], &[("web", 0, 0)])
}

fn unwell(unit: &Unit, version: u64) {
    let key = format!("web version {version}");
    unit.host.book().unwell.insert(key);
}

fn all_well(unit: &Unit) {
    unit.host.book().unwell.clear();
}

const NOT_WELL: &str = "the service is not well: \
    tcp probe of port 80 failed 3 times in a row: the question is refused";

fn retained(unit: &Unit) -> Vec<u64> {
    let keys = &unit.host.book().retained.services;
    keys.iter().map(|key| key.version).collect()
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_active_once_its_probes_have_succeeded() {
    let mut unit = start().await;
    unwell(&unit, 1);
    unit.launcher.run(web(1)).await;
    let begin = tokio::time::Instant::now();
    while unit.host.book().asked.is_empty() {
        tokio::time::advance(Duration::from_millis(100)).await;
        unit.launcher.alive().await;
    }
    let asked_after = begin.elapsed();

    all_well(&unit);
    let status = unit
        .until(|status| status.settled && status.generation == 1)
        .await;

    assert!(asked_after >= Duration::from_secs(1), "{asked_after:?}");
    assert!(begin.elapsed() >= Duration::from_secs(3));
    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_never_is_well_fails_with_the_reason_and_holds_nothing() {
    let mut unit = start().await;
    unwell(&unit, 1);

    let status = unit.run(&web(1)).await;

    assert_eq!(briefs(&status), [format!("web/me/0 v1 failed: {NOT_WELL}")]);
    unit.run(&DesiredState::default()).await;
    assert!(unit.host.book().held.is_empty());
    assert_eq!(unit.host.book().restarts, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_well_any_more_is_told_and_restarted_until_it_is() {
    let mut unit = start().await;
    unit.run(&web(1)).await;

    unwell(&unit, 1);
    let failed = unit
        .until(|status| status.instances[0].last_fault.is_some())
        .await;
    let restarted = async {
        while unit.host.book().restarts.len() < 2 {
            tokio::time::advance(Duration::from_millis(100)).await;
            tokio::task::yield_now().await;
        }
    };
    restarted.await;
    all_well(&unit);
    let well = unit
        .until(|status| status.instances[0].desired.state == RunState::Active)
        .await;

    assert_eq!(briefs(&failed), [format!("web/me/0 v1 failed: {NOT_WELL}")]);
    assert_eq!(unit.starts(), ["web/me/0 v1"]);
    let fault = well.instances[0].last_fault.clone().unwrap();
    assert_eq!(fault.number, 1, "it was told once");
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_it_is_active_when_its_probes_have_succeeded_again() {
    let mut unit = start().await;
    unit.run(&web(1)).await;
    let id = unit.id_of_only();
    unit.host.book().asked.clear();

    unit.host
        .systemd_says(id, UnitEvent::Exited(Exit::Code(3)))
        .await;
    unit.host
        .systemd_says(id, state(UnitState::Active, "success"))
        .await;
    unit.until(|status| status.instances[0].last_fault.is_some())
        .await;
    unit.launcher.alive().await;
    let at_once = unit.status.borrow().clone();
    let after = unit
        .until(|status| status.instances[0].desired.state == RunState::Active)
        .await;

    assert_eq!(
        briefs(&at_once),
        ["web/me/0 v1 failed: the service exited with code 3"]
    );
    assert_eq!(briefs(&after), ["web/me/0 v1 active"]);
    assert_eq!(unit.host.book().asked.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_is_not_well_brings_the_old_version_back() {
    let mut unit = start().await;
    unit.run(&web(1)).await;
    unit.starts();
    let id = unit.id_of_only();
    unwell(&unit, 2);

    let status = unit.run(&web(2)).await;
    let kept_content = retained(&unit);
    let back = unit.run(&web(1)).await;

    let expected = format!("web/me/0 v2 failed: {NOT_WELL}, kept v1 active");
    assert_eq!(briefs(&status), [expected]);
    assert_eq!(kept_content, [1, 2]);
    assert_eq!(briefs(&back), ["web/me/0 v1 active"]);
    assert_eq!(unit.starts(), ["web/me/0 v2", "web/me/0 v1"]);
    assert_eq!(unit.id_of_only(), id);
    assert_eq!(unit.host.book().violations, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_old_content_is_held_until_the_new_version_is_confirmed() {
    let mut unit = start().await;
    unit.run(&web(1)).await;
    unwell(&unit, 2);
    unit.launcher.run(web(2)).await;
    while !unit.starts().contains(&"web/me/0 v2".to_owned()) {
        tokio::task::yield_now().await;
    }

    // A list that comes meanwhile tells anew what is in use.
    unit.launcher.run(web(2)).await;
    unit.launcher.alive().await;
    tokio::time::advance(Duration::from_millis(10)).await;
    unit.launcher.alive().await;
    let meanwhile = retained(&unit);
    all_well(&unit);
    unit.until(|status| status.settled && status.generation == 3)
        .await;
    unit.launcher.alive().await;

    assert_eq!(meanwhile, [1, 2]);
    assert_eq!(retained(&unit), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_on_trial_brings_the_old_version_back() {
    let mut unit = start().await;
    unit.run(&web(1)).await;
    unit.starts();
    unwell(&unit, 2);
    let id = unit.id_of_only();
    unit.launcher.run(web(2)).await;
    while !unit.host.book().asked.contains_key("web version 2") {
        tokio::time::advance(Duration::from_millis(100)).await;
        tokio::task::yield_now().await;
    }

    unit.host
        .systemd_says(id, UnitEvent::Exited(Exit::Code(4)))
        .await;
    unit.host
        .systemd_says(id, state(UnitState::Failed, "exit-code"))
        .await;
    let status = unit
        .until(|status| status.settled && status.generation == 2)
        .await;

    let expected = "web/me/0 v2 failed: the service exited with code 4, and keeps failing: \
        systemd gave up restarting it, kept v1 active";
    assert_eq!(briefs(&status), [expected]);
}

#[tokio::test(start_paused = true)]
async fn without_probes_a_version_that_fails_brings_nothing_back() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("app", 1)], &[("app", 0, 0)])).await;
    let refusal = ("app".to_owned(), Resource::Spec);
    unit.host.book().refuse.insert(refusal);

    let status = unit.run(&list(&[("app", 2)], &[("app", 0, 0)])).await;

    assert_eq!(briefs(&status), ["app/me/0 v2 failed: Spec is refused"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_during_a_trial_goes_on_with_it() {
    for well in [true, false] {
        let mut unit = start().await;
        unit.run(&web(1)).await;
        unwell(&unit, 2);
        unit.launcher.run(web(2)).await;
        while !unit.host.book().asked.contains_key("web version 2") {
            tokio::time::advance(Duration::from_millis(100)).await;
            tokio::task::yield_now().await;
        }
        unit.starts();
        if well {
            all_well(&unit);
        }

        let mut unit = unit.restart().await;
        let status = unit.until(|status| status.settled).await;

        if well {
            assert_eq!(briefs(&status), ["web/me/0 v2 active"]);
            assert_eq!(unit.starts(), [""; 0]);
        } else {
            let expected = format!("web/me/0 v2 failed: {NOT_WELL}, kept v1 active");
            assert_eq!(briefs(&status), [expected]);
            assert_eq!(unit.starts(), ["web/me/0 v1"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_after_a_failed_trial_does_not_try_again_and_a_new_list_does() {
    let mut unit = start().await;
    unit.run(&web(1)).await;
    unwell(&unit, 2);
    unit.run(&web(2)).await;
    unit.starts();

    let mut unit = unit.restart().await;
    let after_restart = unit.until(|status| status.settled).await;
    let started = unit.starts();
    all_well(&unit);
    let after_list = unit.run(&web(2)).await;

    let expected = format!("web/me/0 v2 failed: {NOT_WELL}, kept v1 active");
    assert_eq!(briefs(&after_restart), [expected]);
    assert_eq!(started, [""; 0]);
    assert_eq!(briefs(&after_list), ["web/me/0 v2 active"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_power_cut_the_version_before_is_still_known() {
    for after_the_trial in [true, false] {
        let mut unit = start().await;
        unit.run(&web(1)).await;
        unwell(&unit, 2);
        if after_the_trial {
            unit.run(&web(2)).await;
        } else {
            unit.launcher.run(web(2)).await;
            while !unit.starts().contains(&"web/me/0 v2".to_owned()) {
                tokio::task::yield_now().await;
            }
        }
        // Nothing outlives it but the disk.
        unit.starts();
        unit.task.abort();
        unit.host.book().held.clear();
        unit.host.book().networks.places.clear();

        let mut unit = unit.restart().await;
        let status = unit.until(|status| status.settled).await;

        let expected = format!("web/me/0 v2 failed: {NOT_WELL}, kept v1 active");
        assert_eq!(briefs(&status), [expected]);
        let tried = unit.starts();
        assert_eq!(tried.last().unwrap(), "web/me/0 v1");
        assert_eq!(tried.len(), if after_the_trial { 1 } else { 2 });
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_old_version_fails_as_well_both_reasons_are_told() {
    let mut unit = start().await;
    unit.run(&web(1)).await;
    unwell(&unit, 1);
    unwell(&unit, 2);

    let status = unit.run(&web(2)).await;

    let expected = format!(
        "web/me/0 v2 failed: {NOT_WELL}; the version before it does not run either: {NOT_WELL}"
    );
    assert_eq!(briefs(&status), [expected]);
    unit.run(&DesiredState::default()).await;
    assert!(unit.host.book().held.is_empty());
}
