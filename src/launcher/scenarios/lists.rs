//! Desired lists, one after the other.

use super::*;
use crate::launcher::host::Resource;

#[tokio::test(start_paused = true)]
async fn a_list_from_scratch_becomes_active() {
    let mut unit = Unit::start().await;

    let status = unit
        .run(&list(&[("web", 1)], &[("web", 0, 0), ("web", 1, 0)]))
        .await;

    assert_eq!(
        briefs(&status),
        ["web/me/0 v1 active", "web/me/1 v1 active"]
    );
    assert_eq!(
        unit.host.book().held.len(),
        2 * Resource::ACQUIRE_ORDER.len()
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_stored_settles_at_once_with_no_instance() {
    let mut unit = Unit::start().await;

    let status = unit.until(|status| status.settled).await;

    assert_eq!((status.generation, status.instances.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_same_list_again_and_other_priorities_restart_nothing() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 1), ("web", 1, 2)]))
        .await;
    unit.starts();

    unit.run(&list(&[("web", 1)], &[("web", 0, 1), ("web", 1, 2)]))
        .await;
    let status = unit
        .run(&list(&[("web", 1)], &[("web", 0, 9), ("web", 1, 2)]))
        .await;

    assert_eq!(unit.starts(), Vec::<String>::new());
    assert_eq!(
        briefs(&status),
        ["web/me/0 v1 active", "web/me/1 v1 active"]
    );
}

#[tokio::test(start_paused = true)]
async fn one_added_one_removed_one_changed_touches_only_these() {
    let mut unit = Unit::start().await;
    unit.run(&list(
        &[("web", 1)],
        &[("web", 0, 0), ("web", 1, 0), ("web", 2, 0)],
    ))
    .await;
    unit.starts();
    let mut next = list(
        &[("web", 1)],
        &[("web", 0, 0), ("web", 1, 0), ("web", 3, 0)],
    );
    next.instances[1].uid = 6000;

    unit.run(&next).await;

    let mut starts = unit.starts();
    starts.sort();
    assert_eq!(starts, ["web/me/1 v1", "web/me/3 v1"]);
    assert_eq!(unit.host.instances().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_leaves_nothing() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    let status = unit.run(&DesiredState::default()).await;

    assert_eq!(status.instances, []);
    assert!(unit.host.book().held.is_empty());
    assert!(unit.host.book().retained.services.is_empty());
}

#[tokio::test(start_paused = true)]
async fn force_restart_restarts_each_once() {
    let mut unit = Unit::start().await;
    let mut desired = list(&[("web", 1)], &[("web", 0, 0), ("web", 1, 0)]);
    unit.run(&desired).await;
    unit.starts();
    desired.force_restart = true;

    unit.run(&desired).await;

    assert_eq!(unit.starts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn higher_priority_starts_first_and_a_failure_there_holds_nobody_up() {
    let mut unit = Unit::start().await;
    unit.host
        .book()
        .refuse
        .insert(("bad".into(), Resource::Network));
    let desired = list(
        &[("web", 1), ("bad", 1)],
        &[("web", 0, 1), ("web", 1, 7), ("bad", 2, 9)],
    );

    let status = unit.run(&desired).await;

    assert_eq!(unit.starts(), ["web/me/1 v1", "web/me/0 v1"]);
    assert_eq!(briefs(&status)[2], "bad/me/2 v1 failed: Network is refused");
    assert_eq!(
        unit.host.instances().len(),
        2,
        "the refused one holds nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_instance_is_started_again_by_the_next_list() {
    let mut unit = Unit::start().await;
    unit.host
        .book()
        .refuse
        .insert(("web".into(), Resource::Unit));
    let desired = list(&[("web", 1)], &[("web", 0, 0)]);
    unit.run(&desired).await;
    unit.host.book().refuse.clear();

    let status = unit.run(&desired).await;

    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_update_keeps_the_old_version_and_reverting_restarts_nothing() {
    let mut unit = Unit::start().await;
    unit.host.book().broken.insert("web version 2".into());
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    unit.starts();

    let update = unit.run(&list(&[("web", 2)], &[("web", 0, 0)])).await;
    let retained = unit.host.book().retained.clone();
    let revert = unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    let expected = "web/me/0 v2 failed: web version 2 is refused, kept v1 active";
    assert_eq!(briefs(&update), [expected]);
    assert!(
        retained.services.iter().any(|key| key.version == 1),
        "content in use is retained"
    );
    assert_eq!(briefs(&revert), ["web/me/0 v1 active"]);
    assert_eq!(unit.starts(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_missing_layer_fails_only_the_instances_that_need_it() {
    let mut unit = Unit::start().await;
    unit.host.book().broken.insert("sha256:aa".into());
    unit.host
        .book()
        .needs
        .insert("web".into(), vec!["sha256:aa".into()]);
    let mut desired = list(
        &[("web", 1), ("other", 1)],
        &[("web", 0, 0), ("other", 1, 0)],
    );
    desired.layers.push(LayerInfo {
        digest: "sha256:aa".into(),
        ..LayerInfo::default()
    });

    let status = unit.run(&desired).await;

    assert_eq!(
        briefs(&status),
        [
            "web/me/0 v1 failed: sha256:aa is refused",
            "other/me/1 v1 active"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_newer_list_does_not_wait_for_the_installs_of_the_older_one() {
    let mut unit = Unit::start().await;
    unit.launcher
        .run(list(&[("slow", 1)], &[("slow", 0, 0)]))
        .await;

    unit.launcher
        .run(list(&[("web", 1)], &[("web", 0, 0)]))
        .await;
    let status = unit
        .until(|status| status.settled && status.generation == 2)
        .await;
    unit.host.finish_what_is_slow();
    unit.launcher.alive().await;

    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
    assert_eq!(unit.starts(), ["web/me/0 v1"]);
}

#[tokio::test(start_paused = true)]
async fn swapped_addresses_are_let_go_before_they_are_taken() {
    let mut unit = Unit::start().await;
    let first = list(&[("web", 1)], &[("web", 0, 5), ("web", 1, 1)]);
    let mut second = first.clone();
    second.instances[0]
        .network
        .ip
        .clone_from(&first.instances[1].network.ip);
    second.instances[1]
        .network
        .ip
        .clone_from(&first.instances[0].network.ip);
    unit.run(&first).await;
    unit.starts();

    let status = unit.run(&second).await;

    assert_eq!(
        briefs(&status),
        ["web/me/0 v1 active", "web/me/1 v1 active"]
    );
    assert_eq!(unit.starts().len(), 2);
    assert_eq!(unit.host.book().violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn two_running_instances_with_one_address_still_settle() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    let mut desired = list(&[("web", 1)], &[("web", 0, 0), ("web", 1, 0)]);
    desired.instances[1].network.ip = desired.instances[0].network.ip.clone();

    let status = unit.run(&desired).await;

    assert_eq!(
        status.instances.len(),
        2,
        "the machine decides, the launcher settles"
    );
}

#[tokio::test(start_paused = true)]
async fn odd_lists_are_answered_instance_by_instance() {
    let mut unit = Unit::start().await;
    let desired = list(
        &[("web", 1)],
        &[("web", -1, 0), ("none", 0, 0), ("web", 0, 0), ("web", 0, 0)],
    );

    let status = unit.run(&desired).await;

    assert_eq!(
        briefs(&status),
        [
            "web/me/-1 v1 failed: instance index -1 is negative",
            "none/me/0 v0 failed: service none is not in the desired list",
            "web/me/0 v1 active",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_start_that_was_told_to_stop_is_started_again_when_it_is_wanted_again() {
    let mut unit = Unit::start().await;
    let wanted = list(&[("stuck", 1)], &[("stuck", 0, 0)]);
    unit.launcher.run(wanted.clone()).await;
    unit.launcher.alive().await;

    unit.launcher.run(DesiredState::default()).await;
    unit.launcher.run(wanted).await;
    unit.launcher.alive().await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    unit.host.finish_what_is_slow();
    let status = unit
        .until(|status| status.settled && status.generation == 3)
        .await;

    assert_eq!(briefs(&status), ["stuck/me/0 v1 active"]);
    assert_eq!(unit.host.book().violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_leftover_goes_even_if_its_instance_cannot_be_prepared() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    let id = unit.id_of_only();
    unit.host.book().held.remove(&(id, Resource::Unit));
    unit.host.book().broken.insert("web version 1".into());

    let mut unit = unit.restart().await;
    let status = unit.until(|status| status.settled).await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    assert_eq!(
        briefs(&status),
        ["web/me/0 v1 failed: web version 1 is refused"]
    );
    assert!(unit.host.book().held.is_empty());
}
