//! Changes that are told.

use super::*;

#[tokio::test]
async fn changes_come_in_order_and_ends_only_when_they_last() {
    let mut bench = Bench::new().await;
    bench.start().await.unwrap();

    bench
        .manager
        .change(id(), |unit| {
            unit.exit = (1, 2, 9);
            unit.result = "signal".to_owned();
            unit.state = "deactivating".to_owned();
        })
        .await;
    // On the way to a restart, which is a job.
    bench
        .manager
        .change(id(), |unit| {
            unit.state = "inactive".to_owned();
            unit.job = 77;
        })
        .await;
    bench
        .manager
        .change(id(), |unit| unit.state = "failed".to_owned())
        .await;
    bench.manager.change(id(), |unit| unit.job = 0).await;

    assert_eq!(bench.event().await, state(UnitState::Active, "success"));
    assert_eq!(bench.event().await, UnitEvent::Exited(Exit::Signal(9)));
    assert_eq!(
        bench.event().await,
        state(UnitState::Deactivating, "signal")
    );
    assert_eq!(bench.event().await, state(UnitState::Failed, "signal"));
}

#[tokio::test]
async fn what_is_there_at_the_start_is_no_change() {
    let manager = FakeManager::default();
    manager.book().units.insert(id(), unit("active", "success"));
    let mut bench = Bench::with(manager).await;

    bench
        .manager
        .change(id(), |unit| unit.state = "active".to_owned())
        .await;
    bench
        .manager
        .change(id(), |unit| unit.state = "failed".to_owned())
        .await;

    assert_eq!(bench.event().await, state(UnitState::Failed, "success"));
}

#[tokio::test]
async fn what_changed_while_the_connection_was_lost_is_told() {
    let mut bench = Bench::new().await;
    bench.start().await.unwrap();
    assert_eq!(bench.event().await, state(UnitState::Active, "success"));

    let failed = FakeUnit {
        exit: (5, 1, 3),
        ..unit("failed", "exit-code")
    };
    bench.manager.book().units.insert(id(), failed);
    bench.manager.hang_up().await;

    assert_eq!(bench.event().await, UnitEvent::Exited(Exit::Code(3)));
    assert_eq!(bench.event().await, state(UnitState::Failed, "exit-code"));
    bench.stop().await.unwrap();
}

#[tokio::test]
async fn what_changed_while_systemd_was_started_again_is_told() {
    let mut bench = Bench::new().await;
    bench.start().await.unwrap();
    assert_eq!(bench.event().await, state(UnitState::Active, "success"));

    bench.manager.book().units.clear();
    bench.manager.say_reloaded().await;

    assert_eq!(bench.event().await, state(UnitState::Inactive, "success"));
}

#[tokio::test]
async fn a_start_whose_end_was_missed_is_not_waited_for() {
    let mut bench = Bench::new().await;
    bench.systemd.settings = Arc::new(SystemdSettings {
        start_deadline: LONG,
        ..(*bench.systemd.settings).clone()
    });
    bench.manager.book().start = Start::Hangs;

    // Replaced, so that it can be read while `bench` is in use.
    let mut changes = std::mem::replace(&mut bench.changes, mpsc::channel(1).1);
    let (started, ()) = tokio::join!(bench.start(), async {
        let change = timeout(LONG, changes.recv()).await.unwrap().unwrap();
        assert_eq!(change.event, state(UnitState::Activating, "success"));
        let running = unit("active", "success");
        bench.manager.book().units.insert(id(), running);
        bench.manager.say_reloaded().await;
    });

    started.unwrap();
}

#[tokio::test]
async fn changes_that_nobody_fetches_are_replaced_by_the_present_state() {
    let mut bench = Bench::new().await;
    bench.start().await.unwrap();

    for round in 0..3000 {
        bench
            .manager
            .change(id(), |unit| {
                unit.exit = (round + 1, 1, 1);
                unit.state = if round % 2 == 0 {
                    "deactivating"
                } else {
                    "activating"
                }
                .to_owned();
            })
            .await;
    }
    bench
        .manager
        .change(id(), |unit| unit.state = "failed".to_owned())
        .await;

    let mut count = 0;
    while bench.event().await != state(UnitState::Failed, "success") {
        count += 1;
    }
    assert!(count < 6000, "{count}");
}

#[tokio::test]
async fn a_crash_that_was_healed_while_the_connection_was_lost_is_told() {
    let mut bench = Bench::new().await;
    bench.start().await.unwrap();
    assert_eq!(bench.event().await, state(UnitState::Active, "success"));

    let healed = FakeUnit {
        restarts: 1,
        ..unit("active", "success")
    };
    bench.manager.book().units.insert(id(), healed);
    bench.manager.hang_up().await;

    assert_eq!(bench.event().await, UnitEvent::Restarted);
}

#[tokio::test]
async fn a_crash_that_was_healed_while_systemd_was_started_again_is_told() {
    let mut bench = Bench::new().await;
    bench.start().await.unwrap();
    assert_eq!(bench.event().await, state(UnitState::Active, "success"));

    bench.manager.book().units.get_mut(&id()).unwrap().restarts = 1;
    bench.manager.say_reloaded().await;

    assert_eq!(bench.event().await, UnitEvent::Restarted);
}

#[tokio::test]
async fn lack_of_memory_is_found_where_systemd_does_not_tell() {
    let mut bench = Bench::new().await;
    bench.start().await.unwrap();
    assert_eq!(bench.event().await, state(UnitState::Active, "success"));
    let cgroup = names::container_cgroup(id());
    let cgroup = bench
        .temp
        .path()
        .join("cgroup/memory")
        .join(cgroup.trim_start_matches('/'));
    fs::create_dir_all(&cgroup).unwrap();
    fs::write(cgroup.join("memory.oom_control"), "oom_kill 1\n").unwrap();

    bench
        .manager
        .change(id(), |unit| unit.exit = (1, 2, 9))
        .await;

    assert_eq!(bench.event().await, UnitEvent::OutOfMemory);
    assert_eq!(bench.event().await, UnitEvent::Exited(Exit::Signal(9)));
}
