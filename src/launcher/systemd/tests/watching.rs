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
async fn a_crash_that_was_healed_while_nobody_listened_is_told_once() {
    let mut bench = Bench::new().await;
    bench.start().await.unwrap();
    assert_eq!(bench.event().await, state(UnitState::Active, "success"));
    let restarted = |restarts| FakeUnit {
        restarts,
        ..unit("active", "success")
    };
    let other = InstanceId::from_u128(10);

    bench.manager.book().units.insert(id(), restarted(2));
    let mut bench = bench.again().await;
    assert_eq!(bench.event().await, UnitEvent::Restarted);
    bench.manager.book().units.insert(other, restarted(1));
    let mut bench = bench.again().await;

    let next = timeout(LONG, bench.changes.recv()).await.unwrap().unwrap();
    assert_eq!((next.id, next.event), (other, UnitEvent::Restarted));
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

/// The bus refuses the calls of who waits for 128 answers.
#[tokio::test]
async fn however_many_units_there_are_few_questions_are_asked_at_a_time() {
    let manager = FakeManager::default();
    for number in 1000..1300 {
        let id = InstanceId::from_u128(number);
        manager.book().units.insert(id, unit("active", "success"));
    }

    let mut bench = Bench::with(manager).await;
    bench.start().await.unwrap();
    assert_eq!(bench.event().await, state(UnitState::Active, "success"));
    // The first look has ended by the end of the next one.
    bench.manager.book().units.get_mut(&id()).unwrap().restarts = 1;
    bench.manager.say_reloaded().await;
    assert_eq!(bench.event().await, UnitEvent::Restarted);

    let most = bench.manager.most_asked();
    assert!((2..=2 * bus::TOGETHER).contains(&most), "{most}");
}

#[tokio::test]
async fn units_that_are_read_again_share_their_lists() {
    let manager = FakeManager::default();
    let ids: Vec<_> = (1000..1300).map(InstanceId::from_u128).collect();
    for id in &ids {
        manager.book().units.insert(*id, unit("active", "success"));
    }
    let mut bench = Bench::with(manager).await;

    for id in &ids {
        bench.manager.say_removed(*id).await;
    }
    bench.manager.book().units.clear();
    bench.manager.say_removed(id()).await;
    bench.manager.say_removed(ids[7]).await;
    loop {
        let change = timeout(LONG, bench.changes.recv()).await.unwrap().unwrap();
        if change.id == ids[7] {
            assert_eq!(change.event, state(UnitState::Inactive, "success"));
            break;
        }
    }

    let lists = bench.manager.lists();
    assert!(lists < ids.len() / 3, "{lists}");
}
