//! What the first look tells.

use super::*;

#[test]
fn what_was_so_before_the_beginning_is_not_told() {
    let mut tracker = Tracker::beginning(50);
    tracker.begin(id(), UnitState::Active, 3);

    let repeated = hear(&mut tracker, unit(UnitState::Active));
    let ended_before = Observation {
        restarts: Some(3),
        ..service("success", 49, 1, 7)
    };
    let met = tracker.meet(tracker.now(), id(), ended_before);
    let crash = hear(
        &mut tracker,
        Observation {
            restarts: Some(4),
            ..service("success", 0, 0, 0)
        },
    );

    assert_eq!((repeated, events(met)), (vec![], vec![]));
    assert_eq!(crash, [UnitEvent::Restarted]);
}

/// What the first look tells of a unit that was so often started again in the end, when
/// this many were told.
fn met(told: u32, restarts: u32, exit_stamp: u64) -> Vec<UnitEvent> {
    let mut tracker = Tracker::beginning(50);
    tracker.begin(id(), UnitState::Active, told);

    events(tracker.meet(tracker.now(), id(), look(exit_stamp, restarts)))
}

#[test]
fn a_restart_while_nobody_listened_is_told_when_it_is_met() {
    assert_eq!(met(3, 3, 0), []);
    assert_eq!(met(3, 4, 0), [UnitEvent::Restarted]);
    assert_eq!(met(0, 9, 0), [UnitEvent::Restarted]);
    // The count has begun anew.
    assert_eq!(met(3, 0, 0), []);
    assert_eq!(met(3, 1, 0), [UnitEvent::Restarted]);
    // It has ended once more since: once is enough.
    assert_eq!(met(3, 4, 60), [UnitEvent::Exited(Exit::Signal(9))]);
}

#[test]
fn an_end_that_waits_for_its_restart_is_told_with_it() {
    let mut tracker = Tracker::beginning(50);
    tracker.begin(id(), UnitState::Activating, 3);

    let met = events(tracker.meet(tracker.now(), id(), look(40, 4)));
    let restarted = hear(&mut tracker, look(0, 5));
    let again = hear(&mut tracker, look(0, 5));

    assert_eq!((met, again), (vec![], vec![]));
    assert_eq!(restarted, [UnitEvent::Restarted]);
    assert_eq!(tracker.restarts(id()), Some(5));
}

#[test]
fn an_end_since_the_beginning_is_told_when_it_is_met() {
    let mut tracker = Tracker::beginning(50);
    tracker.begin(id(), UnitState::Active, 0);

    let seen = Observation {
        state: Some(UnitState::Failed),
        ..service("exit-code", 51, 1, 7)
    };
    let met = tracker.meet(tracker.now(), id(), seen);

    assert_eq!(
        events(met),
        [
            UnitEvent::Exited(Exit::Code(7)),
            state(UnitState::Failed, "exit-code")
        ]
    );
}

#[test]
fn what_was_heard_is_newer_than_what_is_met() {
    let mut tracker = Tracker::beginning(50);
    tracker.begin(id(), UnitState::Active, 0);
    let then = tracker.now();
    let heard = hear(&mut tracker, service("exit-code", 51, 1, 7));

    let met = tracker.meet(then, id(), service("exit-code", 51, 1, 7));

    assert_eq!(heard, [UnitEvent::Exited(Exit::Code(7))]);
    assert_eq!(met, []);
}

#[test]
fn a_count_that_was_heard_is_newer_than_one_that_is_met() {
    let mut tracker = Tracker::beginning(50);
    tracker.begin(id(), UnitState::Active, 0);
    let then = tracker.now();
    let heard = hear(&mut tracker, look(51, 0));
    let restarted = hear(&mut tracker, look(0, 1));

    let met = tracker.meet(then, id(), look(0, 0));
    let again = hear(&mut tracker, look(0, 1));

    assert_eq!(heard, [UnitEvent::Exited(Exit::Signal(9))]);
    assert_eq!((restarted, met, again), (vec![], vec![], vec![]));
}
