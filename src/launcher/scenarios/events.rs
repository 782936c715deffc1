//! What happens to instances that run.

use super::*;
use crate::launcher::host::{Exit, Resource};

#[tokio::test(start_paused = true)]
async fn a_restart_adopts_what_runs_and_keeps_its_id() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    unit.starts();
    let id = unit.id_of_only();

    let mut unit = unit.restart().await;
    let status = unit.until(|status| status.settled).await;

    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
    assert_eq!(unit.starts(), Vec::<String>::new());
    assert_eq!(unit.id_of_only(), id);
}

#[tokio::test(start_paused = true)]
async fn a_restart_clears_leftovers_and_starts_what_is_not_whole() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    unit.starts();
    let id = unit.id_of_only();
    unit.host.book().held.remove(&(id, Resource::Unit));
    unit.host
        .book()
        .held
        .insert((InstanceId::from_u128(77), Resource::Network));

    let mut unit = unit.restart().await;
    let status = unit.until(|status| status.settled).await;

    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
    assert_eq!(unit.starts(), ["web/me/0 v1"]);
    assert_eq!(unit.host.instances().len(), 1);
    assert_eq!(unit.host.book().violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_crash_that_systemd_heals_is_a_fault_and_then_active_again() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    let id = unit.id_of_only();

    unit.host
        .systemd_says(id, UnitEvent::Exited(Exit::Signal(9)))
        .await;
    let down = unit
        .until(|status| status.instances[0].last_fault.is_some())
        .await;
    unit.host
        .systemd_says(id, state(UnitState::Active, "success"))
        .await;
    let up = unit
        .until(|status| status.instances[0].desired.state == RunState::Active)
        .await;

    assert_eq!(
        briefs(&down),
        ["web/me/0 v1 failed: the service was killed by signal 9"]
    );
    let fault = up.instances[0].last_fault.clone().unwrap();
    assert_eq!((fault.number, fault.error.exit_code), (1, 137));
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_systemd_gives_up_is_failed_with_its_exit_code_and_holds_nothing() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    let id = unit.id_of_only();

    unit.host
        .systemd_says(id, UnitEvent::Exited(Exit::Code(3)))
        .await;
    unit.host
        .systemd_says(id, state(UnitState::Failed, "start-limit-hit"))
        .await;
    let status = unit
        .until(|status| brief(&status.instances[0]).contains("gave up"))
        .await;
    unit.run(&DesiredState::default()).await;

    let RunState::Failed(error) = &status.instances[0].desired.state else {
        panic!("active")
    };
    assert_eq!(error.exit_code, 3);
    assert!(unit.host.book().held.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_unit_stopped_from_outside_is_reported() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    let id = unit.id_of_only();

    unit.host
        .systemd_says(id, state(UnitState::Inactive, "success"))
        .await;
    let status = unit
        .until(|status| status.instances[0].desired.state != RunState::Active)
        .await;

    assert_eq!(
        briefs(&status),
        ["web/me/0 v1 failed: its unit was stopped from outside"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_release_settles_with_its_reason_and_is_tried_until_it_works() {
    let mut unit = Unit::start().await;
    let mut desired = list(&[("web", 1)], &[("web", 0, 0)]);
    unit.run(&desired).await;
    unit.host.book().refuse_releases = 2;
    desired.instances[0].uid = 7;

    let stuck = unit.run(&desired).await;
    unit.host.book().refuse_releases = 0;
    let after = unit.run(&desired).await;

    assert_eq!(
        briefs(&stuck),
        ["web/me/0 v1 failed: release of Unit is refused"]
    );
    assert_eq!(briefs(&after), ["web/me/0 v1 active"]);
}

/// Starts one instance and waits until its unit was started, not confirmed.
async fn starting() -> (Unit, crate::model::InstanceId) {
    let unit = Unit::start().await;
    unit.launcher
        .run(list(&[("web", 1)], &[("web", 0, 0)]))
        .await;
    while !unit
        .host
        .book()
        .held
        .iter()
        .any(|(_, resource)| *resource == Resource::Unit)
    {
        tokio::task::yield_now().await;
    }
    unit.launcher.alive().await;
    let id = unit.id_of_only();
    (unit, id)
}

#[tokio::test(start_paused = true)]
async fn one_crash_in_the_start_window_opens_the_window_again() {
    let (mut unit, id) = starting().await;

    unit.host
        .systemd_says(id, UnitEvent::Exited(Exit::Code(1)))
        .await;
    unit.host
        .systemd_says(id, state(UnitState::Activating, "exit-code"))
        .await;
    unit.host
        .systemd_says(id, state(UnitState::Active, "success"))
        .await;
    let status = unit
        .until(|status| status.settled && status.generation == 1)
        .await;

    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_stays_active_settles_as_failed_and_holds_nothing() {
    let (mut unit, id) = starting().await;

    for _ in 0..4 {
        unit.host
            .systemd_says(id, UnitEvent::Exited(Exit::Code(4)))
            .await;
        unit.host
            .systemd_says(id, state(UnitState::Active, "success"))
            .await;
    }
    let status = unit
        .until(|status| status.settled && status.generation == 1)
        .await;
    unit.run(&DesiredState::default()).await;

    let expected = "web/me/0 v1 failed: the service exited with code 4: did not stay active";
    assert_eq!(briefs(&status), [expected]);
    assert!(unit.host.book().held.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_hangs_between_two_starts_does_not_hold_the_list_up_for_ever() {
    let (mut unit, id) = starting().await;

    unit.host
        .systemd_says(id, state(UnitState::Activating, "success"))
        .await;
    let status = unit
        .until(|status| status.settled && status.generation == 1)
        .await;

    let RunState::Failed(error) = &status.instances[0].desired.state else {
        panic!("active")
    };
    assert!(
        error.message.contains("did not stay active"),
        "{}",
        error.message
    );
}

#[tokio::test(start_paused = true)]
async fn runtimes_that_hang_hold_up_nobody_else() {
    let mut unit = Unit::start().await;
    let mut instances: Vec<_> = (0..40).map(|index| ("hung", index, 1)).collect();
    instances.extend((0..40).map(|index| ("web", index, 1)));
    let services = [("hung", 1), ("web", 1)];

    unit.launcher.run(list(&services, &instances)).await;
    let status = unit
        .until(|status| {
            let active = |each: &&InstanceReport| each.desired.state == RunState::Active;
            status.instances.iter().filter(active).count() == 40
        })
        .await;

    assert!(!status.settled);
    unit.host.finish_what_is_slow();
    unit.until(|status| status.settled).await;
}

#[tokio::test(start_paused = true)]
async fn lack_of_memory_is_named() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    let id = unit.id_of_only();

    unit.host.systemd_says(id, UnitEvent::OutOfMemory).await;
    unit.host
        .systemd_says(id, UnitEvent::Exited(Exit::Signal(9)))
        .await;
    let down = unit
        .until(|status| status.instances[0].last_fault.is_some())
        .await;
    unit.host
        .systemd_says(id, state(UnitState::Active, "success"))
        .await;
    unit.host
        .systemd_says(id, UnitEvent::Exited(Exit::Signal(9)))
        .await;
    let again = unit
        .until(|status| {
            let fault = status.instances[0].last_fault.as_ref();
            fault.is_some_and(|fault| fault.number == 2)
        })
        .await;

    let expected = "the service was killed by signal 9: it used more memory than it may";
    assert_eq!(briefs(&down), [format!("web/me/0 v1 failed: {expected}")]);
    assert_eq!(
        briefs(&again),
        ["web/me/0 v1 failed: the service was killed by signal 9"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_that_only_the_count_of_restarts_tells_is_a_fault() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    let id = unit.id_of_only();

    unit.host.systemd_says(id, UnitEvent::Restarted).await;
    let status = unit
        .until(|status| status.instances[0].last_fault.is_some())
        .await;

    let fault = status.instances[0].last_fault.clone().unwrap();
    assert!(fault.error.message.contains("nobody listened"), "{fault:?}");
    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
}
