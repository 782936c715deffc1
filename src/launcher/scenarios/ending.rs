//! All instances end with the service manager, and start with it.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::launcher::host::Resource;

/// Longer than any stop takes.
const LONG: Duration = Duration::from_secs(600);

fn ranked() -> DesiredState {
    list(
        &[("low", 1), ("middle", 1), ("highest", 1)],
        &[
            ("middle", 0, 5),
            ("highest", 0, 9),
            ("low", 0, 1),
            ("middle", 1, 5),
        ],
    )
}

impl Unit {
    async fn end(&mut self) {
        timeout(LONG, self.launcher.end()).await.unwrap();
    }

    fn stops(&self) -> Vec<String> {
        let history = self.history().into_iter();
        history.filter(|line| line.starts_with("stop ")).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn the_lowest_priority_ends_first_and_nobody_is_told() {
    let mut unit = Unit::start().await;
    let before = unit.run(&ranked()).await;
    unit.history();

    unit.end().await;

    assert_eq!(
        unit.stops(),
        ["stop low", "stop middle", "stop middle", "stop highest"]
    );
    assert_eq!(unit.host.book().held.len(), 0);
    assert_eq!(*unit.status.borrow(), before);
}

#[tokio::test(start_paused = true)]
async fn what_ended_with_the_manager_starts_with_it() {
    let mut unit = Unit::start().await;
    unit.run(&ranked()).await;
    unit.end().await;
    unit.starts();

    let mut unit = unit.restart().await;
    let status = unit.until(|status| status.settled).await;

    assert!(briefs(&status).iter().all(|each| each.ends_with("active")));
    let starts = unit.starts();
    assert_eq!(starts.len(), 4);
    assert_eq!(
        (starts[0].as_str(), starts[3].as_str()),
        ("highest/me/0 v1", "low/me/0 v1")
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_given_back_holds_nobody_up() {
    let mut unit = Unit::start().await;
    unit.run(&ranked()).await;
    unit.history();
    unit.host.book().refuse_releases = 1;

    unit.end().await;

    assert!(unit.stops().contains(&"stop highest".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_comes_meanwhile_starts_nothing_and_is_what_starts_next() {
    let mut unit = Unit::start().await;
    unit.run(&ranked()).await;
    unit.end().await;
    unit.starts();

    unit.launcher
        .run(list(&[("other", 1)], &[("other", 0, 0)]))
        .await;
    unit.idle().await;

    assert_eq!(unit.starts(), [""; 0]);
    let mut unit = unit.restart().await;
    unit.until(|status| status.settled).await;
    assert_eq!(unit.starts(), ["other/me/0 v1"]);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_being_started_turns_around() {
    let unit = Unit::start().await;
    unit.launcher
        .run(list(&[("stuck", 1)], &[("stuck", 0, 0)]))
        .await;
    unit.idle().await;
    let launcher = unit.launcher.clone();

    let ended = tokio::spawn(async move { launcher.end().await });
    unit.idle().await;
    assert!(!ended.is_finished());
    unit.host.finish_what_is_slow();
    timeout(LONG, ended).await.unwrap().unwrap();

    assert_eq!(unit.host.book().held.len(), 0);
    assert!(
        !unit
            .host
            .book()
            .history
            .iter()
            .any(|line| line.starts_with("start "))
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_with_nothing_to_end_is_at_once() {
    let mut unit = Unit::start().await;

    unit.end().await;
    unit.end().await;

    assert_eq!(unit.host.book().held.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn lost_while_the_manager_was_away_concerns_the_loser_alone() {
    for resource in Resource::ACQUIRE_ORDER {
        let mut unit = Unit::start().await;
        unit.run(&ranked()).await;
        unit.starts();
        let loser = unit.host.book().idents["low/me/0"];

        let mut unit = unit
            .restart_after(|host| assert!(host.book().held.remove(&(loser, resource))))
            .await;
        let status = unit.until(|status| status.settled).await;

        assert!(briefs(&status).iter().all(|each| each.ends_with("active")));
        assert_eq!(unit.starts(), ["low/me/0 v1"], "{resource:?}");
        assert_eq!(unit.host.book().violations, [""; 0]);
    }
}
