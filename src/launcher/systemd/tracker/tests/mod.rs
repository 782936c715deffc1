//! What is told of units, rule by rule.

mod beginning;

use super::*;

fn id() -> InstanceId {
    InstanceId::from_u128(1)
}

/// The signal of the service part, as it comes before that of the unit.
fn service(result: &str, stamp: u64, code: i32, status: i32) -> Observation {
    Observation {
        state: None,
        result: Some(result.to_owned()),
        exit: Some(ExitRecord {
            stamp,
            code,
            status,
        }),
        restarts: None,
    }
}

fn unit(state: UnitState) -> Observation {
    Observation {
        state: Some(state),
        ..Observation::default()
    }
}

fn state(state: UnitState, result: &str) -> UnitEvent {
    UnitEvent::State {
        state,
        result: result.to_owned(),
    }
}

fn events(changes: Vec<UnitChange>) -> Vec<UnitEvent> {
    changes.into_iter().map(|change| change.event).collect()
}

fn hear(tracker: &mut Tracker, seen: Observation) -> Vec<UnitEvent> {
    events(tracker.hear(id(), seen).changes)
}

fn see(tracker: &mut Tracker, seen: UnitState) -> Vec<UnitEvent> {
    events(tracker.see(tracker.now(), id(), unit(seen)))
}

#[test]
fn a_crash_with_restart_is_told_in_order_and_without_its_way_stations() {
    let mut tracker = Tracker::default();
    let told: Vec<_> = [
        service("success", 0, 0, 0),
        unit(UnitState::Inactive),
        unit(UnitState::Activating),
        unit(UnitState::Active),
        service("exit-code", 77, 1, 3),
        unit(UnitState::Deactivating),
        unit(UnitState::Failed),
        unit(UnitState::Activating),
        service("success", 0, 0, 0),
        unit(UnitState::Inactive),
        unit(UnitState::Activating),
        unit(UnitState::Active),
    ]
    .into_iter()
    .flat_map(|seen| hear(&mut tracker, seen))
    .collect();

    assert_eq!(
        told,
        [
            state(UnitState::Activating, "success"),
            state(UnitState::Active, "success"),
            UnitEvent::Exited(Exit::Code(3)),
            state(UnitState::Deactivating, "exit-code"),
            state(UnitState::Activating, "exit-code"),
            state(UnitState::Activating, "success"),
            state(UnitState::Active, "success"),
        ]
    );
}

#[test]
fn an_end_is_told_once_it_was_looked_at() {
    let mut tracker = Tracker::default();
    hear(&mut tracker, unit(UnitState::Active));
    hear(&mut tracker, service("signal", 5, 2, 9));

    let heard = tracker.hear(id(), unit(UnitState::Failed));
    let seen = see(&mut tracker, UnitState::Failed);

    assert_eq!(
        heard,
        Heard {
            changes: vec![],
            look: true
        }
    );
    assert_eq!(seen, [state(UnitState::Failed, "signal")]);
    assert_eq!(see(&mut tracker, UnitState::Failed), []);
}

#[test]
fn a_signal_is_newer_than_a_look_that_began_before_it() {
    let mut tracker = Tracker::default();
    hear(&mut tracker, unit(UnitState::Active));
    let then = tracker.now();
    hear(&mut tracker, unit(UnitState::Deactivating));

    let seen = tracker.see(then, id(), unit(UnitState::Failed));
    let missing = tracker.miss(then, id());

    assert_eq!((seen, missing), (vec![], vec![]));
    assert_eq!(tracker.everything().len(), 1);
}

#[test]
fn what_a_look_finds_and_misses_is_told() {
    let mut tracker = Tracker::default();
    let other = InstanceId::from_u128(2);
    hear(&mut tracker, unit(UnitState::Active));

    let found = tracker.see(tracker.now(), other, unit(UnitState::Active));
    let missed = tracker.miss_others(tracker.now(), &BTreeSet::from([other]));

    assert_eq!(found[0].id, other);
    assert_eq!(events(found), [state(UnitState::Active, "")]);
    assert_eq!(events(missed), [state(UnitState::Inactive, "")]);
}

#[test]
fn a_unit_that_is_only_loaded_is_no_event() {
    let mut tracker = Tracker::default();

    let heard = hear(&mut tracker, unit(UnitState::Inactive));
    let seen = see(&mut tracker, UnitState::Inactive);

    assert_eq!((heard, seen), (vec![], vec![]));
}

#[test]
fn a_repeated_signal_is_no_event() {
    let mut tracker = Tracker::default();
    hear(&mut tracker, service("signal", 5, 2, 9));
    hear(&mut tracker, unit(UnitState::Activating));

    let again = hear(&mut tracker, service("signal", 5, 2, 9));
    let state = hear(&mut tracker, unit(UnitState::Activating));

    assert_eq!((again, state), (vec![], vec![]));
}

#[test]
fn the_same_exit_twice_is_two_events() {
    let mut tracker = Tracker::default();

    let first = hear(&mut tracker, service("exit-code", 5, 1, 1));
    let second = hear(&mut tracker, service("exit-code", 6, 1, 1));

    assert_eq!(first, [UnitEvent::Exited(Exit::Code(1))]);
    assert_eq!(second, first);
}

#[test]
fn signals_and_dumps_are_told_apart_from_codes() {
    for (code, exit) in [
        (1, Some(Exit::Code(9))),
        (2, Some(Exit::Signal(9))),
        (3, Some(Exit::Signal(9))),
        (0, None),
        (4, None),
    ] {
        assert_eq!(
            ExitRecord {
                stamp: 1,
                code,
                status: 9
            }
            .exit(),
            exit
        );
    }
}

#[test]
fn a_unit_that_is_not_there_any_more_is_inactive() {
    let mut tracker = Tracker::default();
    hear(&mut tracker, unit(UnitState::Active));

    let told = events(tracker.miss(tracker.now(), id()));

    assert_eq!(told, [state(UnitState::Inactive, "")]);
    assert_eq!(tracker.miss(tracker.now(), id()), []);
    assert_eq!(tracker.everything(), []);
}

#[test]
fn a_unit_that_had_failed_goes_silently() {
    let mut tracker = Tracker::default();
    see(&mut tracker, UnitState::Failed);

    assert_eq!(tracker.miss(tracker.now(), id()), []);
}

#[test]
fn everything_repeats_what_was_told_last() {
    let mut tracker = Tracker::default();
    hear(&mut tracker, service("signal", 5, 2, 9));
    see(&mut tracker, UnitState::Failed);

    let all = events(tracker.everything());

    assert_eq!(
        all,
        [
            UnitEvent::Exited(Exit::Signal(9)),
            state(UnitState::Failed, "signal")
        ]
    );
}

#[test]
fn states_are_those_of_systemd() {
    for (text, state) in [
        ("active", UnitState::Active),
        ("reloading", UnitState::Active),
        ("activating", UnitState::Activating),
        ("deactivating", UnitState::Deactivating),
        ("failed", UnitState::Failed),
        ("inactive", UnitState::Inactive),
        ("something new", UnitState::Inactive),
    ] {
        assert_eq!(unit_state(text), state, "{text}");
    }
}

/// A look after something was missed.
fn look(stamp: u64, restarts: u32) -> Observation {
    Observation {
        restarts: Some(restarts),
        ..service("success", stamp, 2, 9)
    }
}

#[test]
fn an_end_that_nobody_heard_is_known_by_the_count_of_restarts() {
    let mut tracker = Tracker::default();
    hear(&mut tracker, look(0, 0));

    let missed = events(tracker.see(tracker.now(), id(), look(0, 1)));
    let again = events(tracker.see(tracker.now(), id(), look(0, 1)));
    let many = events(tracker.see(tracker.now(), id(), look(0, 7)));

    assert_eq!(missed, [UnitEvent::Restarted]);
    assert_eq!(again, []);
    assert_eq!(many, [UnitEvent::Restarted]);
}

#[test]
fn an_end_that_was_told_is_not_told_again_as_a_restart() {
    let mut tracker = Tracker::default();
    hear(&mut tracker, look(0, 0));

    let told = hear(&mut tracker, look(5, 0));
    let restarted = hear(&mut tracker, look(5, 1));
    let runs = hear(&mut tracker, look(0, 1));
    let both = hear(&mut tracker, look(9, 2));
    let after_a_loss = events(tracker.see(tracker.now(), id(), look(0, 2)));

    assert_eq!(told, [UnitEvent::Exited(Exit::Signal(9))]);
    assert_eq!((restarted, runs), (vec![], vec![]));
    assert_eq!(both, [UnitEvent::Exited(Exit::Signal(9))]);
    assert_eq!(after_a_loss, []);
}

#[test]
fn an_end_of_our_own_hides_no_later_one() {
    let mut tracker = Tracker::default();
    hear(&mut tracker, look(5, 3));
    hear(&mut tracker, look(0, 0));

    let missed = events(tracker.see(tracker.now(), id(), look(0, 1)));

    assert_eq!(missed, [UnitEvent::Restarted]);
}

#[test]
fn what_is_there_at_the_start_was_restarted_for_somebody_else() {
    let mut tracker = Tracker::default();

    let told = events(tracker.see(tracker.now(), id(), look(0, 9)));

    assert_eq!(told, []);
}

#[test]
fn lack_of_memory_is_told_before_the_end_and_once() {
    let mut tracker = Tracker::default();
    hear(&mut tracker, service("success", 0, 0, 0));

    let told = hear(&mut tracker, service("oom-kill", 5, 2, 9));
    let again = hear(&mut tracker, service("oom-kill", 5, 2, 9));

    assert_eq!(
        told,
        [UnitEvent::OutOfMemory, UnitEvent::Exited(Exit::Signal(9))]
    );
    assert_eq!(again, []);
}
