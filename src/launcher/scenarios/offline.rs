//! Services that may not be without the cloud for long.

use std::time::{Duration, UNIX_EPOCH};

use aos_package::ServiceConfig;
use serde_json::json;
use tokio::time::{Instant, advance};

use super::*;
use crate::launcher::host::Host as _;

const SECOND: Duration = Duration::from_secs(1);

impl Unit {
    fn may_be_offline(&self, service: &str, ttl: &str) {
        let config = ServiceConfig {
            offline_ttl: Some(json!(ttl)),
            ..ServiceConfig::default()
        };
        self.host.book().configs.insert(service.to_owned(), config);
    }

    async fn until_offline(&mut self, services: &[&str]) {
        self.until(|status| {
            let offline = briefs(status).into_iter().filter_map(|brief| {
                let ident = brief.strip_suffix(" failed: offline timeout")?;
                ident.split('/').next().map(str::to_owned)
            });
            offline.eq(services.iter().copied())
        })
        .await;
    }
}

fn all() -> DesiredState {
    list(
        &[("a", 1), ("bb", 1), ("ccc", 1)],
        &[("a", 0, 5), ("bb", 0, 5), ("ccc", 0, 5)],
    )
}

/// One service that may be offline for a minute, one for ten, one for ever.
async fn three() -> Unit {
    let mut unit = Unit::start().await;
    unit.may_be_offline("a", "1m");
    unit.may_be_offline("bb", "PT10M");
    unit.launcher.cloud(true).await;
    unit.run(&all()).await;
    unit.starts();
    unit
}

#[tokio::test(start_paused = true)]
async fn services_stop_in_the_order_of_their_limits_and_each_at_its_time() {
    let mut unit = three().await;
    let lost = Instant::now();

    unit.launcher.cloud(false).await;
    unit.until_offline(&["a"]).await;
    let first = lost.elapsed();
    unit.until_offline(&["a", "bb"]).await;
    let second = lost.elapsed();
    unit.later(100_000 * SECOND).await;

    assert!((60 * SECOND..61 * SECOND).contains(&first), "{first:?}");
    assert!((600 * SECOND..601 * SECOND).contains(&second), "{second:?}");
    assert_eq!(
        briefs(&unit.status.borrow()),
        [
            "a/me/0 v1 failed: offline timeout",
            "bb/me/0 v1 failed: offline timeout",
            "ccc/me/0 v1 active"
        ]
    );
    assert_eq!(unit.host.instances().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn services_start_again_when_the_cloud_is_back() {
    let mut unit = three().await;
    unit.launcher.cloud(false).await;
    unit.until_offline(&["a", "bb"]).await;

    unit.launcher.cloud(true).await;
    unit.until(|status| briefs(status).iter().all(|brief| brief.ends_with("active")))
        .await;

    let mut starts = unit.starts();
    starts.sort();
    assert_eq!(starts, ["a/me/0 v1", "bb/me/0 v1"]);
    assert_eq!(unit.host.book().violations, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn while_online_nobody_stops_whatever_the_clock_says() {
    let unit = three().await;

    unit.later(10_000 * SECOND).await;
    unit.host.book().clocks.set(UNIX_EPOCH);
    unit.later(10_000 * SECOND).await;
    unit.host
        .book()
        .clocks
        .set(UNIX_EPOCH + Duration::from_secs(8_000_000_000));
    unit.later(10_000 * SECOND).await;

    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn jumps_of_the_wall_clock_stop_nobody_and_spare_nobody() {
    let mut unit = three().await;
    unit.launcher.cloud(false).await;

    unit.later(30 * SECOND).await;
    let ahead = unit.host.now().wall + 100_000 * SECOND;
    unit.host.book().clocks.set(ahead);
    unit.later(20 * SECOND).await;
    unit.assert_untouched();
    unit.host.book().clocks.set(UNIX_EPOCH);
    let before = Instant::now();
    unit.until_offline(&["a"]).await;

    let late = before.elapsed();
    assert!((9 * SECOND..12 * SECOND).contains(&late), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn count_goes_on_over_a_restart_of_sm() {
    let mut unit = three().await;
    unit.launcher.cloud(false).await;
    unit.until_offline(&["a"]).await;
    unit.later(200 * SECOND).await;
    unit.starts();

    let mut unit = unit.restart().await;
    let restarted = Instant::now();
    unit.until_offline(&["a", "bb"]).await;

    let late = restarted.elapsed();
    assert!((330 * SECOND..345 * SECOND).contains(&late), "{late:?}");
    assert_eq!(unit.starts(), Vec::<String>::new());
}

/// The cloud is lost, and then SM is off for an hour.
async fn off_for_an_hour() -> Unit {
    let unit = three().await;
    unit.launcher.cloud(false).await;
    unit.idle().await;
    unit.task.abort();
    advance(3600 * SECOND).await;
    unit
}

#[tokio::test(start_paused = true)]
async fn time_while_sm_was_off_counts_too() {
    let unit = off_for_an_hour().await;

    let mut unit = unit.restart().await;
    let untold = unit.until(|status| status.settled).await;
    let restarted = Instant::now();
    unit.until_offline(&["a", "bb"]).await;

    // CM is given the time to say that the cloud is there.
    assert!(
        briefs(&untold)
            .iter()
            .all(|brief| brief.ends_with("active"))
    );
    let late = restarted.elapsed();
    assert!((28 * SECOND..33 * SECOND).contains(&late), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn word_of_cm_that_the_cloud_is_away_is_believed_at_once() {
    let unit = off_for_an_hour().await;
    let mut unit = unit.restart().await;
    let restarted = Instant::now();

    unit.launcher.cloud(false).await;
    unit.until_offline(&["a", "bb"]).await;

    assert!(restarted.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn restart_of_sm_with_the_cloud_there_disturbs_nobody() {
    let unit = three().await;
    unit.idle().await;
    unit.later(299 * SECOND).await;
    unit.task.abort();
    advance(70 * SECOND).await;

    let mut unit = unit.restart().await;
    unit.until(|status| status.settled).await;
    unit.later(20 * SECOND).await;
    unit.launcher.cloud(true).await;
    unit.later(3600 * SECOND).await;

    unit.assert_untouched();
}

#[tokio::test(start_paused = true)]
async fn boot_without_a_clock_goes_on_counting() {
    let mut unit = three().await;
    unit.launcher.cloud(false).await;
    unit.until_offline(&["a"]).await;
    unit.later(400 * SECOND).await;
    unit.host.book().clocks.boot(UNIX_EPOCH);
    unit.host.book().held.clear();

    let mut unit = unit.restart().await;
    let booted = Instant::now();
    unit.until_offline(&["a"]).await;
    unit.until_offline(&["a", "bb"]).await;

    // What passed since the last note, five minutes at most, is lost.
    let late = booted.elapsed();
    assert!((130 * SECOND..450 * SECOND).contains(&late), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn new_list_does_not_start_what_has_been_offline_for_too_long() {
    let mut unit = three().await;
    unit.launcher.cloud(false).await;
    unit.until_offline(&["a", "bb"]).await;

    let status = unit.run(&all()).await;

    assert_eq!(briefs(&status)[0], "a/me/0 v1 failed: offline timeout");
    assert_eq!(unit.starts(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn old_version_that_runs_on_stops_too() {
    let mut unit = three().await;
    unit.host.book().broken.insert("a version 2".to_owned());
    let update = list(&[("a", 2)], &[("a", 0, 5)]);
    unit.run(&update).await;

    unit.launcher.cloud(false).await;
    let status = unit
        .until(|status| status.instances[0].kept.is_none())
        .await;

    assert_eq!(
        briefs(&status),
        ["a/me/0 v2 failed: a version 2 is refused; what ran instead: offline timeout"]
    );
}
