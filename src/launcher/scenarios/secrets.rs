//! IAM comes and goes.

use std::collections::BTreeMap;
use std::time::Duration;

use aos_package::ServiceConfig;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

impl Unit {
    fn has_permissions(&self, service: &str) {
        let vis = BTreeMap::from([("Signal".to_owned(), "r".to_owned())]);
        let config = ServiceConfig {
            permissions: Some(BTreeMap::from([("vis".to_owned(), vis)])),
            ..ServiceConfig::default()
        };
        self.host.book().configs.insert(service.to_owned(), config);
    }

    async fn until_active(&mut self) {
        self.until(|status| briefs(status).iter().all(|brief| brief.ends_with("active")))
            .await;
    }
}

/// Service `a` has permissions, `bb` has none. `a` comes first.
fn both() -> DesiredState {
    list(&[("a", 1), ("bb", 1)], &[("a", 0, 9), ("bb", 0, 5)])
}

async fn running() -> Unit {
    let mut unit = Unit::start().await;
    unit.has_permissions("a");
    unit.run(&both()).await;
    unit.starts();
    unit
}

#[tokio::test(start_paused = true)]
async fn instance_without_its_secret_waits_for_iam_and_the_others_start() {
    let mut unit = Unit::start().await;
    unit.has_permissions("a");
    unit.host.iam_leaves();

    let status = unit.run(&both()).await;
    let before = unit.starts();
    unit.host.iam_is_back(false);
    unit.until_active().await;

    assert_eq!(
        briefs(&status),
        [
            "a/me/0 v1 failed: the call of IAM is refused",
            "bb/me/0 v1 active"
        ]
    );
    assert_eq!(before, ["bb/me/0 v1"]);
    assert_eq!(unit.starts(), ["a/me/0 v1"]);
}

#[tokio::test(start_paused = true)]
async fn instance_that_waits_keeps_its_reason_until_it_runs() {
    let mut unit = Unit::start().await;
    unit.has_permissions("stuck");
    unit.host.iam_leaves();
    unit.host.finish_what_is_slow();
    let failed = unit.run(&list(&[("stuck", 1)], &[("stuck", 0, 5)])).await;
    unit.host.hold_what_is_slow();

    unit.host.iam_is_back(false);
    unit.idle().await;

    assert_eq!(briefs(&unit.status.borrow()), briefs(&failed));
    unit.host.finish_what_is_slow();
    unit.until_active().await;
}

#[tokio::test(start_paused = true)]
async fn iam_that_comes_while_the_refusal_is_on_its_way_is_not_missed() {
    let mut unit = Unit::start().await;
    unit.has_permissions("late");
    unit.host.iam_leaves();
    unit.launcher
        .run(list(&[("late", 1)], &[("late", 0, 5)]))
        .await;
    unit.idle().await;

    unit.host.iam_is_back(false);
    unit.idle().await;
    unit.host.finish_what_is_slow();

    unit.until(|status| status.settled && status.generation == 1)
        .await;
    assert_eq!(briefs(&unit.status.borrow()), ["late/me/0 v1 active"]);
}

#[tokio::test(start_paused = true)]
async fn iam_that_remembers_disturbs_nobody() {
    let unit = running().await;

    unit.host.iam_leaves();
    unit.later(60 * SECOND).await;
    unit.host.iam_is_back(true);
    unit.later(60 * SECOND).await;

    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn iam_without_its_memory_means_new_secrets_for_those_who_have_one() {
    let mut unit = running().await;
    let mut watched = unit.status.clone();
    watched.mark_unchanged();

    unit.host.iam_is_back(false);
    unit.later(5 * SECOND).await;

    assert_eq!(unit.starts(), ["a/me/0 v1"]);
    assert_eq!(unit.host.book().iam.known.len(), 1);
    assert!(
        !watched.has_changed().unwrap(),
        "a restart by SM is no news"
    );
    unit.until_active().await;
}

#[tokio::test(start_paused = true)]
async fn secret_is_looked_at_when_sm_was_restarted_beside_iam() {
    let mut unit = running().await;
    unit.host.iam_leaves();

    unit = unit.restart().await;
    unit.until(|status| status.settled).await;
    unit.later(60 * SECOND).await;
    unit.assert_untouched();
    unit.host.iam_is_back(false);
    unit.later(5 * SECOND).await;

    assert_eq!(unit.starts(), ["a/me/0 v1"]);
    unit.until_active().await;
}

#[tokio::test(start_paused = true)]
async fn start_over_a_restart_of_iam_ends_with_a_secret_that_holds() {
    let mut unit = Unit::start().await;
    unit.has_permissions("stuck");
    unit.launcher
        .run(list(&[("stuck", 1)], &[("stuck", 0, 5)]))
        .await;
    unit.idle().await;
    unit.host.iam_is_back(false);
    unit.idle().await;

    unit.host.finish_what_is_slow();
    unit.until_active().await;
    unit.later(5 * SECOND).await;

    let ids = unit.host.instances();
    assert_eq!(unit.host.book().iam.known, ids);
    assert_eq!(unit.host.book().violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn list_settles_while_iam_is_away_and_iam_is_told_later() {
    let mut unit = running().await;
    unit.host.iam_leaves();

    let status = unit.run(&list(&[("bb", 1)], &[("bb", 0, 5)])).await;
    let unaware = unit.host.book().iam.known.len();
    unit.host.iam_is_back(true);
    unit.later(SECOND).await;

    assert_eq!(briefs(&status), ["bb/me/0 v1 active"]);
    assert_eq!(unaware, 1);
    assert_eq!(unit.host.book().iam.known.len(), 0);
}
