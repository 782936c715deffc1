//! Overridden environment variables.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::*;
use crate::launcher::host::{Host as _, Resource};
use crate::model::{EnvVar, EnvVarsOverride, EnvVarsStatus, InstanceFilter};

const SECOND: Duration = Duration::from_secs(1);

/// `service`, `subject` and `index`, as far as they are given.
pub(super) fn filter(service: &str, subject: &str, index: Option<i64>) -> InstanceFilter {
    InstanceFilter {
        service_id: (!service.is_empty()).then(|| service.into()),
        subject_id: (!subject.is_empty()).then(|| subject.into()),
        index,
    }
}

pub(super) fn set(
    filter: InstanceFilter,
    variable: &str,
    expires: Option<SystemTime>,
) -> EnvVarsOverride {
    EnvVarsOverride {
        filter,
        vars: vec![EnvVar {
            id: "id".to_owned(),
            variable: variable.to_owned(),
            expires,
        }],
    }
}

impl Unit {
    /// Overrides variables. Returns the errors of the answer.
    pub(super) async fn overrides(&self, list: &[EnvVarsOverride]) -> Vec<String> {
        let (answer, answered) = oneshot::channel::<Vec<EnvVarsStatus>>();
        let list = list.to_vec();
        self.launcher.override_variables(list, answer).await;
        let vars = answered
            .await
            .unwrap()
            .into_iter()
            .flat_map(|each| each.vars);
        vars.map(|var| var.error).collect()
    }

    /// So many have been started, and nothing follows from it. CM is told of none.
    async fn until_started(&self, starts: usize) {
        let mut started = self.host.started();
        started
            .wait_for(|_| self.host.book().starts.len() >= starts)
            .await
            .unwrap();
        self.later(2 * SECOND).await;
    }

    /// What each instance was last started with.
    fn variables(&self) -> BTreeMap<String, Vec<String>> {
        self.host.book().variables.clone()
    }

    fn in_seconds(&self, seconds: u32) -> Option<SystemTime> {
        Some(self.host.now().wall + seconds * SECOND)
    }
}

fn of(pairs: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    pairs
        .iter()
        .map(|(ident, variables)| ((*ident).to_owned(), owned(variables)))
        .collect()
}

/// Two services; the first with two instances, one of them for another subject.
async fn three() -> Unit {
    let mut unit = Unit::start().await;
    let mut three = list(
        &[("a", 1), ("bb", 1)],
        &[("a", 0, 5), ("a", 1, 5), ("bb", 0, 5)],
    );
    three.instances[1].ident.subject_id = "you".into();
    unit.run(&three).await;
    unit.starts();
    unit
}

#[tokio::test(start_paused = true)]
async fn service_subject_and_instance_select_who_is_started_anew() {
    let cases: [(InstanceFilter, &[&str]); 5] = [
        (filter("a", "", None), &["a/me/0 v1", "a/you/1 v1"]),
        (filter("a", "you", None), &["a/you/1 v1"]),
        (filter("a", "me", Some(0)), &["a/me/0 v1"]),
        (filter("", "me", None), &["a/me/0 v1", "bb/me/0 v1"]),
        (
            filter("", "", None),
            &["a/me/0 v1", "a/you/1 v1", "bb/me/0 v1"],
        ),
    ];
    for (filter, expected) in cases {
        let unit = three().await;

        let errors = unit.overrides(&[set(filter, "A=1", None)]).await;
        unit.until_started(expected.len()).await;

        assert_eq!(errors, [""]);
        let mut starts = unit.starts();
        starts.sort();
        assert_eq!(starts, expected);
        let with: Vec<_> = unit
            .variables()
            .into_iter()
            .filter(|(_, variables)| variables == &["A=1"])
            .map(|(ident, _)| format!("{ident} v1"))
            .collect();
        assert_eq!(with, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn restart_for_a_variable_is_no_news() {
    let unit = three().await;
    let mut watched = unit.status.clone();
    watched.mark_unchanged();

    unit.overrides(&[set(filter("a", "", None), "A=1", None)])
        .await;
    unit.until_started(2).await;

    assert!(
        !watched.has_changed().unwrap(),
        "{:?}",
        briefs(&watched.borrow())
    );
}

#[tokio::test(start_paused = true)]
async fn failure_of_a_restart_for_a_variable_is_told() {
    let mut unit = three().await;
    unit.host
        .book()
        .refuse
        .insert(("bb".into(), Resource::Unit));

    unit.overrides(&[set(filter("bb", "", None), "A=1", None)])
        .await;
    let failed = unit
        .until(|status| briefs(status)[2].starts_with("bb/me/0 v1 failed"))
        .await;
    unit.host.book().refuse.clear();
    unit.overrides(&[set(filter("bb", "", None), "A=2", None)])
        .await;
    unit.until_started(1).await;

    assert_eq!(briefs(&failed)[2], "bb/me/0 v1 failed: Unit is refused");
    assert_eq!(unit.variables()["bb/me/0"], ["A=2"]);
}

#[tokio::test(start_paused = true)]
async fn newer_list_replaces_the_older_one() {
    let unit = three().await;
    let old = [
        set(filter("a", "me", None), "A=1", None),
        set(filter("bb", "", None), "B=1", None),
    ];
    unit.overrides(&old).await;
    unit.until_started(2).await;
    unit.starts();

    unit.overrides(&[set(filter("bb", "me", Some(0)), "B=1", None)])
        .await;
    unit.until_started(1).await;

    assert_eq!(unit.starts(), ["a/me/0 v1"]);
    let expected = of(&[("a/me/0", &[]), ("a/you/1", &[]), ("bb/me/0", &["B=1"])]);
    assert_eq!(unit.variables(), expected);
}

#[tokio::test(start_paused = true)]
async fn variable_that_has_expired_is_refused_and_the_others_are_set() {
    let unit = three().await;
    let list = [
        set(filter("a", "me", None), "A=1", unit.in_seconds(0)),
        set(filter("bb", "", None), "B=1", unit.in_seconds(3600)),
    ];

    let errors = unit.overrides(&list).await;
    unit.until_started(1).await;

    assert_eq!(errors, ["environment variable expired", ""]);
    assert_eq!(unit.starts(), ["bb/me/0 v1"]);
}

#[tokio::test(start_paused = true)]
async fn variable_expires_at_its_time_and_for_good() {
    let unit = three().await;
    let list = [
        set(filter("a", "me", None), "A=1", unit.in_seconds(1000)),
        set(filter("a", "me", None), "B=1", None),
    ];
    unit.overrides(&list).await;
    unit.until_started(1).await;
    unit.starts();
    let started = tokio::time::Instant::now();

    unit.until_started(1).await;

    let late = started.elapsed();
    assert!((998 * SECOND..1002 * SECOND).contains(&late), "{late:?}");
    assert_eq!(unit.starts(), ["a/me/0 v1"]);
    assert_eq!(unit.variables()["a/me/0"], ["B=1"]);
    let mut unit = unit.restart().await;
    unit.until(|status| status.settled).await;
    unit.idle().await;
    assert_eq!(unit.starts(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn clock_that_is_set_ahead_ends_a_variable_within_a_minute() {
    let unit = three().await;
    let end = unit.in_seconds(86_400);
    unit.overrides(&[set(filter("a", "me", None), "A=1", end)])
        .await;
    unit.until_started(1).await;
    unit.starts();

    unit.host.book().clocks.set(end.unwrap());
    let jumped = tokio::time::Instant::now();
    unit.until_started(1).await;

    assert!(jumped.elapsed() <= 63 * SECOND);
    assert_eq!(unit.variables()["a/me/0"], Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn restart_of_sm_keeps_the_variables_and_disturbs_nobody() {
    let unit = three().await;
    unit.overrides(&[set(filter("a", "", None), "A=1", None)])
        .await;
    unit.until_started(2).await;
    unit.starts();
    unit.host.book().stops.clear();

    let mut unit = unit.restart().await;
    unit.until(|status| status.settled).await;
    unit.idle().await;
    unit.assert_untouched();
    unit.run(&list(&[("a", 1)], &[("a", 7, 5)])).await;

    assert_eq!(unit.variables()["a/me/7"], ["A=1"]);
}

#[tokio::test(start_paused = true)]
async fn variable_that_expired_while_sm_was_off_is_gone_after_its_start() {
    let unit = three().await;
    let end = unit.in_seconds(600);
    unit.overrides(&[set(filter("a", "me", None), "A=1", end)])
        .await;
    unit.until_started(1).await;
    unit.starts();

    unit.task.abort();
    tokio::time::advance(700 * SECOND).await;
    let mut unit = unit.restart().await;
    unit.until(|status| status.settled).await;

    assert_eq!(unit.starts(), ["a/me/0 v1"]);
    assert_eq!(unit.variables()["a/me/0"], Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn variables_come_before_a_list_that_was_sent_after_them() {
    let mut unit = Unit::start().await;
    let (answer, answered) = oneshot::channel();
    let variables = vec![set(filter("", "", None), "A=1", None)];

    unit.launcher.override_variables(variables, answer).await;
    unit.run(&list(&[("a", 1)], &[("a", 0, 5)])).await;

    assert_eq!(answered.await.unwrap().len(), 1);
    assert_eq!(unit.starts(), ["a/me/0 v1"]);
    assert_eq!(unit.variables()["a/me/0"], ["A=1"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_not_in_force_and_says_so() {
    let unit = three().await;
    unit.overrides(&[set(filter("a", "me", None), "A=1", None)])
        .await;
    unit.until_started(1).await;
    unit.starts();
    // What a full disk does.
    unit.database
        .call(|connection| Ok(connection.pragma_update(None, "max_page_count", 1)?))
        .await
        .unwrap();
    let big = format!("A={}", "x".repeat(100_000));
    let list = [
        set(filter("a", "me", None), &big, None),
        set(filter("a", "me", None), "bad", None),
    ];

    let errors = unit.overrides(&list).await;
    unit.idle().await;

    assert!(
        errors[0].starts_with("environment variable cannot be stored: "),
        "{errors:?}"
    );
    assert_eq!(errors[1], "environment variable is not NAME=value");
    assert_eq!(unit.starts(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn instance_that_the_list_cannot_have_stays_failed() {
    let mut unit = Unit::start().await;
    let mut lost = list(&[("a", 1)], &[("a", 0, 5), ("gone", 0, 5)]);
    lost.instances[1].ident.index = 3;
    unit.run(&lost).await;
    unit.starts();

    unit.overrides(&[set(filter("", "", None), "A=1", None)])
        .await;
    unit.later(5 * SECOND).await;

    assert_eq!(unit.starts(), ["a/me/0 v1"]);
    assert_eq!(
        briefs(&unit.status.borrow())[1],
        "gone/me/3 v0 failed: service gone is not in the desired list"
    );
}
