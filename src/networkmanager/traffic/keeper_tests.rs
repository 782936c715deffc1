use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Ask, Moment, TrafficKeeper};
use crate::model::{Flow, InstanceId, Traffic};
use crate::storage::{Clock, Database};

const POLL: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: i64 = 24 * 60 * 60;

/// A machine with a right clock, and a kernel that says what the test wants.
struct Machine {
    database: Database,
    /// The second of the day when it was started.
    clock: i64,
    started: Instant,
}

impl Machine {
    fn at(second: i64) -> Self {
        let built = Clock::built() - Clock::built() % DAY;
        Self {
            database: Database::in_memory().unwrap(),
            clock: built + 100 * DAY + second,
            started: Instant::now(),
        }
    }

    fn after(&self, elapsed: Duration) -> Moment {
        Moment {
            wall: self.clock + i64::try_from(elapsed.as_secs()).unwrap(),
            at: self.started + elapsed,
        }
    }

    async fn keeper(&self) -> (TrafficKeeper, watch::Receiver<Traffic>) {
        let now = self.after(Duration::ZERO);
        TrafficKeeper::load(self.database.clone(), POLL, now)
            .await
            .unwrap()
    }

    /// Bytes of all rows.
    async fn stored(&self) -> Vec<i64> {
        self.database
            .call(|connection| {
                let mut select = connection.prepare("SELECT bytes FROM traffic ORDER BY bytes")?;
                let rows = select.query_map([], |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
            .unwrap()
    }

    /// What a full disk or a broken one does, and its end.
    async fn refuse_writes(&self, refuse: bool) {
        self.database
            .call(move |connection| Ok(connection.pragma_update(None, "query_only", refuse)?))
            .await
            .unwrap();
    }
}

fn flow(received: u64, sent: u64) -> Flow {
    Flow { received, sent }
}

fn id(bits: u128) -> InstanceId {
    InstanceId::from_u128(bits)
}

fn one(bits: u128, flow: Flow) -> BTreeMap<InstanceId, Flow> {
    BTreeMap::from([(id(bits), flow)])
}

#[test]
fn clock_of_this_machine_is_past_the_build() {
    assert!(Moment::now().wall >= Clock::built());
}

#[tokio::test]
async fn figures_are_published_with_each_reading_and_each_change_of_instances() {
    let machine = Machine::at(0);
    let (mut keeper, figures) = machine.keeper().await;

    keeper.start(id(1));
    assert_eq!(figures.borrow().instances, one(1, flow(0, 0)));
    let now = machine.after(POLL);
    keeper
        .on_reading(now, flow(1, 2), &one(1, flow(3, 4)))
        .await;
    assert_eq!(figures.borrow().node, flow(1, 2));
    assert_eq!(figures.borrow().instances, one(1, flow(3, 4)));
    keeper.stop(now, [(id(1), Some(flow(5, 6)))]).await;

    assert_eq!(figures.borrow().instances, BTreeMap::new());
    assert_eq!(keeper.start(id(1)), flow(5, 6));
}

#[tokio::test]
async fn question_is_due_at_once_then_each_period_and_at_midnight() {
    let machine = Machine::at(DAY - 13);
    let (mut keeper, _figures) = machine.keeper().await;
    let mut questions = Vec::new();

    for _ in 0..4 {
        let elapsed = keeper.next_due() - machine.started;
        questions.push((elapsed.as_secs(), keeper.ask(machine.after(elapsed))));
    }

    let expected = [
        (0, Ask::Counters),
        (10, Ask::Counters),
        (13, Ask::NewDay),
        // Nobody said that the kernel did so.
        (23, Ask::NewDay),
    ];
    assert_eq!(questions, expected);
}

#[tokio::test]
async fn long_poll_period_does_not_make_a_power_cut_lose_more() {
    let machine = Machine::at(0);
    let now = machine.after(Duration::ZERO);
    let loaded = TrafficKeeper::load(machine.database.clone(), 60 * MINUTE, now).await;
    let (mut keeper, _figures) = loaded.unwrap();

    keeper.ask(now);

    assert_eq!(keeper.next_due() - machine.started, MINUTE);
}

#[tokio::test]
async fn readings_are_stored_once_a_minute() {
    let machine = Machine::at(0);
    let (mut keeper, _figures) = machine.keeper().await;
    let mut stored = Vec::new();

    for poll in 1..=13 {
        let now = machine.after(poll * POLL);
        keeper
            .on_reading(now, flow(poll.into(), 0), &BTreeMap::new())
            .await;
        stored.push(machine.stored().await.first().copied().unwrap_or(0));
    }

    assert_eq!(stored, [0, 0, 0, 0, 0, 6, 6, 6, 6, 6, 6, 12, 12]);
}

#[tokio::test]
async fn stop_of_an_instance_and_of_the_keeper_are_stored_at_once() {
    let machine = Machine::at(0);
    let (mut keeper, _figures) = machine.keeper().await;
    keeper.start(id(1));
    let now = machine.after(POLL);

    keeper.stop(now, [(id(1), Some(flow(7, 0)))]).await;
    assert_eq!(machine.stored().await, [7]);
    keeper.on_reading(now, flow(9, 0), &BTreeMap::new()).await;
    keeper.close(now).await;

    assert_eq!(machine.stored().await, [7, 9]);
}

#[tokio::test]
async fn new_day_is_stored_at_once_and_the_old_one_is_gone() {
    let machine = Machine::at(DAY - 5);
    let (mut keeper, figures) = machine.keeper().await;
    keeper.start(id(1));
    keeper.start(id(2));
    let now = machine.after(Duration::from_secs(1));
    keeper.stop(now, [(id(1), Some(flow(7, 8)))]).await;
    let now = machine.after(Duration::from_secs(5));
    assert_eq!(keeper.ask(now), Ask::NewDay);

    keeper
        .on_new_day(now, flow(9, 9), &one(2, flow(5, 5)))
        .await;

    assert_eq!(machine.stored().await, [0; 0]);
    assert_eq!(figures.borrow().node, flow(0, 0));
    assert_eq!(figures.borrow().instances, one(2, flow(0, 0)));
    assert_eq!(keeper.ask(now), Ask::Counters);
    let (next, _figures) = machine.keeper().await;
    assert_eq!(next.node(), flow(0, 0));
}

#[tokio::test]
async fn restart_goes_on_where_it_was() {
    let machine = Machine::at(0);
    let (mut keeper, _figures) = machine.keeper().await;
    keeper.start(id(1));
    let now = machine.after(POLL);
    keeper
        .on_reading(now, flow(1, 2), &one(1, flow(3, 4)))
        .await;
    keeper.close(now).await;

    let (mut next, figures) = machine.keeper().await;

    assert_eq!(figures.borrow().node, flow(1, 2));
    assert_eq!(next.node(), flow(1, 2));
    assert_eq!(next.start(id(1)), flow(3, 4));
    assert_eq!(next.start(id(2)), flow(0, 0));
}

#[tokio::test]
async fn start_of_the_next_day_begins_it_with_the_first_question() {
    let machine = Machine::at(DAY - 60);
    let (mut keeper, _figures) = machine.keeper().await;
    let now = machine.after(POLL);
    keeper.on_reading(now, flow(1, 2), &BTreeMap::new()).await;
    keeper.close(now).await;

    let now = machine.after(MINUTE);
    let loaded = TrafficKeeper::load(machine.database.clone(), POLL, now).await;
    let (mut next, _figures) = loaded.unwrap();

    // The kernel may still have the counters of the day before.
    assert_eq!(next.node(), flow(1, 2));
    assert_eq!(next.ask(now), Ask::NewDay);
    next.on_new_day(now, flow(2, 2), &BTreeMap::new()).await;
    assert_eq!(next.node(), flow(0, 0));
}

#[tokio::test]
async fn what_cannot_be_stored_is_tried_again() {
    let machine = Machine::at(0);
    let (mut keeper, figures) = machine.keeper().await;
    machine.refuse_writes(true).await;
    let now = machine.after(MINUTE);
    keeper.on_reading(now, flow(1, 0), &BTreeMap::new()).await;
    assert_eq!(machine.stored().await, [0; 0]);
    assert_eq!(figures.borrow().node, flow(1, 0));
    machine.refuse_writes(false).await;

    let now = machine.after(MINUTE + POLL);
    keeper.on_reading(now, flow(1, 0), &BTreeMap::new()).await;
    assert_eq!(machine.stored().await, [0; 0]);
    let now = machine.after(2 * MINUTE);
    keeper.on_reading(now, flow(1, 0), &BTreeMap::new()).await;

    assert_eq!(machine.stored().await, [1]);
}
