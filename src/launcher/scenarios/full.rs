//! A database that cannot be written, as on a full disk.

use std::time::Duration;

use super::*;

const REFUSE: &str = "
    CREATE TRIGGER full_config BEFORE INSERT ON config BEGIN SELECT RAISE(ABORT, 'full'); END;";
const REFUSE_ALL: &str = "
    CREATE TRIGGER full_insert BEFORE INSERT ON instances BEGIN SELECT RAISE(ABORT, 'full'); END;
    CREATE TRIGGER full_update BEFORE UPDATE ON instances BEGIN SELECT RAISE(ABORT, 'full'); END;";

impl Unit {
    async fn execute(&self, sql: &'static str) {
        let done = self
            .database
            .call(move |connection| Ok(connection.execute_batch(sql)?));
        done.await.unwrap();
    }

    async fn lists_stored(&self) -> i64 {
        let sql = "SELECT count(*) FROM config WHERE key = 'desiredContent'";
        let count = self
            .database
            .call(move |connection| Ok(connection.query_row(sql, [], |row| row.get(0))?));
        count.await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn list_that_cannot_be_stored_is_worked_on_and_stored_when_it_can_be() {
    let mut unit = Unit::start().await;
    unit.execute(REFUSE).await;

    let list = list(&[("web", 1)], &[("web", 0, 0)]);
    let status = unit.run(&list).await;

    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
    assert_eq!(unit.lists_stored().await, 0);
    unit.execute("DROP TRIGGER full_config").await;
    while unit.lists_stored().await == 0 {
        tokio::time::advance(Duration::from_secs(1)).await;
    }

    unit.starts();
    let mut unit = unit.restart().await;
    let status = unit.until(|status| status.settled).await;
    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
    assert_eq!(
        unit.starts(),
        [""; 0],
        "it is adopted: its start was stored"
    );
}

#[tokio::test(start_paused = true)]
async fn list_that_was_replaced_is_not_stored_any_more() {
    let mut unit = Unit::start().await;
    unit.execute(REFUSE).await;
    unit.run(&list(&[("old", 1)], &[("old", 0, 0)])).await;
    unit.execute("DROP TRIGGER full_config").await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;

    tokio::time::advance(Duration::from_secs(60)).await;
    unit.launcher.alive().await;

    let mut unit = unit.restart().await;
    let status = unit.until(|status| status.settled).await;
    assert_eq!(briefs(&status), ["web/me/0 v1 active"]);
}

#[tokio::test(start_paused = true)]
async fn what_runs_goes_on_and_what_cannot_be_stored_is_told_with_the_reason() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    unit.starts();
    unit.execute(REFUSE_ALL).await;

    let both = list(&[("web", 1)], &[("web", 0, 0), ("web", 1, 0)]);
    let status = unit.run(&both).await;

    let briefs = briefs(&status);
    assert_eq!(briefs[0], "web/me/0 v1 active");
    assert!(
        briefs[1].starts_with("web/me/1 v1 failed: cannot store the start: "),
        "{briefs:?}"
    );
    assert_eq!(unit.starts(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_could_not_be_stored_is_made_as_soon_as_it_can_be() {
    let mut unit = Unit::start().await;
    unit.run(&list(&[("web", 1)], &[("web", 0, 0)])).await;
    unit.execute(REFUSE_ALL).await;
    let both = list(&[("web", 1)], &[("web", 0, 0), ("web", 1, 0)]);
    unit.run(&both).await;
    unit.starts();

    unit.execute("DROP TRIGGER full_insert; DROP TRIGGER full_update")
        .await;
    let status = unit
        .until(|status| {
            let active = |each: &InstanceReport| each.desired.state == RunState::Active;
            status.instances.iter().all(active)
        })
        .await;

    assert_eq!(briefs(&status)[1], "web/me/1 v1 active");
    assert_eq!(unit.starts(), ["web/me/1 v1"]);
}
