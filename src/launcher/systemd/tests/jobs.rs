//! Starts and stops.

use std::process::{Child, Command, Stdio};

use super::*;
use crate::model::Chain;

#[tokio::test]
async fn a_start_writes_the_drop_in_and_waits_for_the_job() {
    let mut bench = Bench::new().await;

    bench.start().await.unwrap();

    assert_eq!(bench.calls(), ["start"]);
    assert!(bench.drop_in().unwrap().contains("ExecStart="));
    assert_eq!(bench.event().await, state(UnitState::Active, "success"));
    let units = bench.systemd.units().await.unwrap();
    assert_eq!(
        units,
        [ListedUnit {
            id: id(),
            state: UnitState::Active,
            restarting: false
        }]
    );
}

#[tokio::test]
async fn a_refused_start_has_the_words_of_the_runtime_and_leaves_nothing() {
    let bench = Bench::new().await;
    bench.manager.book().start = Start::Fails;
    let log = r#"{"level":"error","msg":"no such file: /bin/app"}"#;
    fs::write(bench.temp.path().join("runtime.log"), log).unwrap();

    let refused = bench.start().await.unwrap_err();

    assert_eq!(
        refused.to_string(),
        "cannot start the container: no such file: /bin/app"
    );
    assert_eq!(bench.calls(), ["start", "stop", "kill main 9", "reset"]);
    assert_eq!(bench.drop_in(), None);
    assert_eq!(bench.systemd.units().await.unwrap(), []);
}

#[tokio::test]
async fn without_words_of_the_runtime_those_of_systemd_are_told() {
    let bench = Bench::new().await;
    bench.manager.book().start = Start::Fails;

    let refused = bench.start().await.unwrap_err();

    assert_eq!(
        refused.to_string(),
        "cannot start the container: unit exit-code, job failed"
    );
}

#[tokio::test]
async fn a_start_that_hangs_is_given_up_and_leaves_nothing() {
    let bench = Bench::new().await;
    bench.manager.book().start = Start::Hangs;

    let refused = bench.start().await.unwrap_err();

    assert!(matches!(refused, SystemdError::StartHangs(_)), "{refused}");
    assert_eq!(bench.calls(), ["start", "stop", "kill main 9", "reset"]);
    assert_eq!(bench.drop_in(), None);
}

#[tokio::test]
async fn a_service_that_ends_at_once_is_left_to_the_restarts_of_systemd() {
    let mut bench = Bench::new().await;
    bench.manager.book().start = Start::Ends("activating");

    bench.start().await.unwrap();

    assert_eq!(bench.event().await, UnitEvent::Exited(Exit::Code(7)));
    assert_eq!(
        bench.event().await,
        state(UnitState::Activating, "exit-code")
    );
    assert!(bench.drop_in().is_some());
}

#[tokio::test]
async fn a_service_that_ended_for_good_is_told_with_its_code() {
    let bench = Bench::new().await;
    bench.manager.book().start = Start::Ends("failed");

    let refused = bench.start().await.unwrap_err();

    assert!(
        matches!(
            refused,
            SystemdError::Ended {
                exit: Exit::Code(7),
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(
        refused.to_string(),
        "the service ended at once: exit code 7, exit-code"
    );
    assert_eq!(bench.drop_in(), None);
}

#[tokio::test]
async fn a_missed_drop_in_costs_one_reload() {
    let bench = Bench::new().await;
    bench.manager.book().misses_drop_ins = true;

    bench.start().await.unwrap();

    assert_eq!(bench.calls(), ["start, refused", "reload", "start"]);
}

#[tokio::test]
async fn a_unit_that_had_failed_is_reset_before_its_start() {
    let manager = FakeManager::default();
    manager
        .book()
        .units
        .insert(id(), unit("failed", "exit-code"));
    let bench = Bench::with(manager).await;

    bench.start().await.unwrap();

    assert_eq!(bench.calls(), ["reset", "start"]);
}

#[tokio::test]
async fn a_unit_that_systemd_keeps_is_read_again_before_its_start() {
    let manager = FakeManager::default();
    let kept = FakeUnit {
        need_reload: true,
        ..unit("inactive", "success")
    };
    manager.book().units.insert(id(), kept);
    let bench = Bench::with(manager).await;

    bench.start().await.unwrap();

    assert_eq!(bench.calls(), ["reset", "reload", "start"]);
}

#[tokio::test]
async fn a_stop_takes_unit_and_drop_in_away() {
    let mut bench = Bench::new().await;
    bench.start().await.unwrap();
    assert_eq!(bench.event().await, state(UnitState::Active, "success"));

    bench.stop().await.unwrap();

    assert_eq!(bench.calls(), ["start", "stop", "reset"]);
    assert_eq!(bench.drop_in(), None);
    assert_eq!(bench.event().await, state(UnitState::Inactive, "success"));
}

#[tokio::test]
async fn a_stop_without_a_unit_takes_the_drop_in_away() {
    let bench = Bench::new().await;
    bench.systemd.files.write(id(), "text").unwrap();
    assert_eq!(
        bench.systemd.units().await.unwrap()[0].state,
        UnitState::Inactive
    );

    bench.stop().await.unwrap();

    assert_eq!(bench.calls(), [] as [&str; 0]);
    assert_eq!(bench.drop_in(), None);
}

/// Ends with the test.
struct Process(Child);

impl Process {
    fn new(script: &str) -> Self {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn a_service_that_cannot_hear_its_signal_is_killed_at_once() {
    let bench = Bench::new().await;
    for (script, calls) in [
        (
            "echo ready; exec sleep 1000",
            &["start", "stop", "kill main 9", "reset"][..],
        ),
        (
            "trap exit TERM; echo ready; read nothing",
            &["start", "stop", "reset"],
        ),
    ] {
        let process = Process::new(script);
        bench.manager.book().calls.clear();
        bench.start().await.unwrap();
        bench
            .manager
            .change(id(), |unit| unit.main_pid = process.0.id())
            .await;

        bench.stop().await.unwrap();

        assert_eq!(bench.calls(), calls, "{script}");
    }
}

#[tokio::test]
async fn a_restart_is_begun_and_of_a_unit_that_is_gone_is_none() {
    let bench = Bench::new().await;

    bench.systemd.restart(id()).await.unwrap();
    let gone = bench.calls();
    bench.start().await.unwrap();
    bench.systemd.restart(id()).await.unwrap();

    assert_eq!(gone, [] as [&str; 0]);
    assert_eq!(bench.calls(), ["start", "restart"]);
}

#[tokio::test]
async fn systemd_that_is_not_there_is_an_error_with_its_cause() {
    struct Nowhere;
    impl Connect for Nowhere {
        async fn connect(&self) -> zbus::Result<Connection> {
            Err(io::Error::other("no bus").into())
        }
    }

    let refused = Systemd::connect(Nowhere, SystemdSettings::default())
        .await
        .unwrap_err();

    let text = Chain(&refused).to_string();
    assert!(
        text.starts_with("cannot reach systemd over D-Bus: "),
        "{text}"
    );
}
