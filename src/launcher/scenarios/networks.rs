//! Networks that come late, or are missing when SM starts.

use std::time::Duration;

use super::changes::{ACTIVE, both, rule, ruled};
use super::*;
use crate::launcher::host::Resource;

#[tokio::test(start_paused = true)]
async fn an_instance_waits_for_its_network_and_starts_when_it_comes() {
    let mut unit = Unit::start().await;
    unit.host.networks_are_known_but(&["provider"]);

    let failed = unit.run(&ruled("web", &[])).await;
    unit.host.networks_are_known_but(&["provider", "third"]);
    unit.idle().await;
    let still = unit.status.borrow().clone();
    unit.host.networks_are_known_but(&[]);
    let status = unit.until(|status| briefs(status) == ACTIVE).await;

    let expected = "web/me/0 v1 failed: network provider is not known";
    assert_eq!(briefs(&failed), [expected]);
    assert_eq!(briefs(&still), [expected]);
    assert!(status.settled);
    assert_eq!(unit.starts(), ["web/me/0 v1"]);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_comes_before_the_start_is_enough() {
    let mut unit = Unit::start().await;
    unit.host.networks_are_known_but(&["provider"]);
    unit.launcher.run(ruled("slow", &[])).await;
    unit.idle().await;

    unit.host.networks_are_known_but(&[]);
    unit.host.finish_what_is_slow();
    let status = unit
        .until(|status| status.settled && status.generation == 1)
        .await;

    assert_eq!(briefs(&status), ["slow/me/0 v1 active"]);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_comes_while_the_refusal_is_on_its_way_is_not_missed() {
    let mut unit = Unit::start().await;
    unit.host.networks_are_known_but(&["provider"]);
    unit.launcher.run(ruled("late", &[])).await;
    unit.idle().await;

    unit.host.networks_are_known_but(&[]);
    unit.idle().await;
    unit.host.finish_what_is_slow();
    let status = unit
        .until(|status| status.settled && status.generation == 1)
        .await;

    assert_eq!(briefs(&status), ["late/me/0 v1 active"]);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_refused_just_before_the_network_came_is_made() {
    let mut unit = Unit::start().await;
    unit.host.finish_what_is_slow();
    unit.run(&ruled("late", &[rule("80")])).await;
    unit.host.hold_what_is_slow();
    unit.host.networks_are_known_but(&["provider"]);
    unit.launcher.run(ruled("late", &[rule("81")])).await;
    unit.idle().await;

    unit.host.networks_are_known_but(&[]);
    unit.idle().await;
    unit.host.finish_what_is_slow();
    let status = unit
        .until(|status| status.settled && status.generation == 2)
        .await;

    assert_eq!(briefs(&status), ["late/me/0 v1 active"]);
    assert_eq!(unit.rules().await, both("81"));
}

#[tokio::test(start_paused = true)]
async fn other_failures_are_not_tried_again_when_networks_change() {
    let mut unit = Unit::start().await;
    let refused = ("web".into(), Resource::RootFilesystem);
    unit.host.book().refuse.insert(refused);
    let failed = unit.run(&ruled("web", &[])).await;
    unit.host.book().refuse.clear();

    unit.host.networks_are_known_but(&[]);
    unit.idle().await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    unit.idle().await;

    assert_eq!(briefs(&unit.status.borrow()), briefs(&failed));
}

#[tokio::test(start_paused = true)]
async fn an_instance_without_its_network_is_taken_over_and_told_of() {
    let mut unit = Unit::start().await;
    unit.run(&ruled("web", &[rule("80")])).await;
    unit.starts();
    unit.host.networks_are_known_but(&["provider"]);

    let mut unit = unit.restart().await;
    let without = unit.until(|status| status.settled).await;
    unit.host.networks_are_known_but(&[]);
    unit.until(|status| briefs(status) == ACTIVE).await;

    assert_eq!(
        briefs(&without),
        [
            "web/me/0 v1 failed: its place in the network could not be taken over, it runs on as it \
          was: network provider is not known"
        ]
    );
    assert_eq!(unit.rules().await, both("80"));
    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_place_is_damaged_is_started_anew_as_soon_as_that_is_known() {
    let mut unit = Unit::start().await;
    unit.run(&ruled("web", &[rule("80")])).await;
    unit.starts();
    let id = unit.id_of_only();
    unit.host.networks_are_known_but(&["provider"]);
    let mut unit = unit.restart().await;
    unit.until(|status| status.settled).await;

    unit.host.book().networks.damaged.insert(id);
    unit.host.networks_are_known_but(&[]);
    unit.until(|status| briefs(status) == ACTIVE).await;

    assert_eq!(unit.starts(), ["web/me/0 v1"]);
    assert_eq!(unit.host.book().violations, Vec::<String>::new());
}
