//! Rules of the outbox, one by one and by property.

use proptest::prelude::*;

use super::*;
use crate::model::{ErrorInfo, Fault, InstanceIdent};

fn ident(index: i64) -> InstanceIdent {
    InstanceIdent {
        service_id: "service".into(),
        subject_id: "subject".into(),
        index,
    }
}

fn active(index: i64) -> InstanceStatus {
    InstanceStatus {
        ident: ident(index),
        version: 1,
        state: RunState::Active,
    }
}

fn failed(index: i64, why: &str) -> InstanceStatus {
    InstanceStatus {
        state: RunState::Failed(ErrorInfo::new(why)),
        ..active(index)
    }
}

fn report(desired: InstanceStatus) -> InstanceReport {
    InstanceReport {
        desired,
        kept: None,
        last_fault: None,
    }
}

fn fault(number: u64) -> Option<Fault> {
    Some(Fault {
        number,
        error: ErrorInfo::new(format!("fault {number}")),
    })
}

fn settled(generation: u64, instances: Vec<InstanceReport>) -> RunStatus {
    RunStatus {
        generation,
        settled: true,
        instances,
    }
}

fn unsettled(generation: u64, instances: Vec<InstanceReport>) -> RunStatus {
    RunStatus {
        settled: false,
        ..settled(generation, instances)
    }
}

/// All that is to be told; an outbox that never comes to rest is cut off.
fn drain(outbox: &mut Outbox) -> Vec<State> {
    std::iter::from_fn(|| outbox.next_state())
        .take(100)
        .collect()
}

/// An outbox whose CM knows the given state.
fn informed(status: RunStatus) -> Outbox {
    let mut outbox = Outbox::new(status);
    outbox.connected();
    drain(&mut outbox);
    outbox
}

#[test]
fn connection_begins_with_the_node_and_all_instances() {
    let mut outbox = Outbox::new(settled(
        0,
        vec![report(active(0)), report(failed(1, "why"))],
    ));

    outbox.connected();

    assert_eq!(
        drain(&mut outbox),
        [
            State::NodeConfiguration,
            State::Run(vec![active(0), failed(1, "why")]),
        ]
    );
}

#[test]
fn no_instances_are_told_as_an_empty_list() {
    let mut outbox = Outbox::new(settled(0, vec![]));

    outbox.connected();

    assert_eq!(
        drain(&mut outbox),
        [State::NodeConfiguration, State::Run(vec![])]
    );
}

#[test]
fn instances_wait_until_they_have_settled() {
    let mut outbox = Outbox::new(unsettled(0, vec![]));
    outbox.connected();

    assert_eq!(drain(&mut outbox), [State::NodeConfiguration]);

    outbox.set_status(settled(0, vec![report(active(0))]));
    assert_eq!(drain(&mut outbox), [State::Run(vec![active(0)])]);
}

#[test]
fn nothing_leaves_without_a_connection() {
    let mut outbox = informed(settled(0, vec![]));

    outbox.disconnected();
    outbox.set_status(settled(0, vec![report(active(0))]));

    assert_eq!(drain(&mut outbox), []);
}

#[test]
fn each_settled_list_is_answered_once() {
    let mut outbox = informed(settled(0, vec![]));

    outbox.run_requested();
    outbox.set_status(unsettled(1, vec![report(active(0))]));
    assert_eq!(drain(&mut outbox), []);

    outbox.set_status(settled(1, vec![report(active(0))]));
    assert_eq!(drain(&mut outbox), [State::Run(vec![active(0)])]);
    outbox.set_status(settled(1, vec![report(active(0))]));
    assert_eq!(drain(&mut outbox), []);
}

#[test]
fn superseded_list_gets_no_answer() {
    let mut outbox = informed(settled(0, vec![]));
    outbox.run_requested();
    outbox.set_status(unsettled(1, vec![report(active(1))]));

    outbox.run_requested();
    outbox.set_status(unsettled(2, vec![report(active(2))]));
    outbox.set_status(settled(2, vec![report(active(2))]));

    assert_eq!(drain(&mut outbox), [State::Run(vec![active(2)])]);
}

#[test]
fn older_state_is_not_taken_for_the_answer_to_a_list_just_passed_on() {
    let mut outbox = Outbox::new(unsettled(0, vec![]));
    outbox.connected();
    outbox.run_requested();

    outbox.set_status(settled(0, vec![report(active(0))]));
    assert_eq!(drain(&mut outbox), [State::NodeConfiguration]);

    outbox.set_status(settled(1, vec![report(active(1))]));
    assert_eq!(drain(&mut outbox), [State::Run(vec![active(1)])]);
}

#[test]
fn only_changed_instances_are_updated() {
    let mut outbox = informed(settled(0, vec![report(active(0)), report(active(1))]));

    outbox.set_status(settled(
        0,
        vec![report(active(0)), report(failed(1, "gone"))],
    ));

    assert_eq!(drain(&mut outbox), [State::Update(vec![failed(1, "gone")])]);
}

#[test]
fn no_update_leaves_while_unsettled() {
    let mut outbox = informed(settled(0, vec![report(active(0))]));

    outbox.set_status(unsettled(0, vec![report(failed(0, "restart"))]));
    assert_eq!(drain(&mut outbox), []);

    outbox.set_status(settled(0, vec![report(failed(0, "gone"))]));
    assert_eq!(drain(&mut outbox), [State::Update(vec![failed(0, "gone")])]);
}

#[test]
fn kept_version_is_told_right_after_the_desired_one() {
    let mut outbox = informed(settled(0, vec![]));
    let desired = InstanceStatus {
        version: 2,
        ..failed(0, "bad digest")
    };

    outbox.set_status(settled(
        1,
        vec![InstanceReport {
            kept: Some(active(0)),
            ..report(desired.clone())
        }],
    ));

    assert_eq!(
        drain(&mut outbox),
        [State::Run(vec![desired]), State::Update(vec![active(0)]),]
    );
}

#[test]
fn healed_fault_is_told_before_the_instance_is_active_again() {
    let mut outbox = informed(settled(0, vec![report(active(0)), report(active(1))]));

    outbox.set_status(settled(
        0,
        vec![
            report(active(0)),
            InstanceReport {
                last_fault: fault(1),
                ..report(active(1))
            },
        ],
    ));

    assert_eq!(
        drain(&mut outbox),
        [
            State::Update(vec![failed(1, "fault 1")]),
            State::Update(vec![active(1)]),
        ]
    );
}

#[test]
fn fault_without_a_connection_is_told_on_the_next_one() {
    let mut outbox = informed(settled(0, vec![report(active(0))]));
    outbox.disconnected();
    outbox.set_status(settled(
        0,
        vec![InstanceReport {
            last_fault: fault(1),
            ..report(active(0))
        }],
    ));

    outbox.connected();

    assert_eq!(
        drain(&mut outbox),
        [
            State::NodeConfiguration,
            State::Run(vec![active(0)]),
            State::Update(vec![failed(0, "fault 1")]),
            State::Update(vec![active(0)]),
        ]
    );
}

#[test]
fn fault_of_a_list_that_settles_is_part_of_its_outcome() {
    let mut outbox = informed(settled(0, vec![]));

    outbox.set_status(settled(
        1,
        vec![InstanceReport {
            last_fault: fault(3),
            ..report(active(0))
        }],
    ));

    assert_eq!(drain(&mut outbox), [State::Run(vec![active(0)])]);
}

#[test]
fn same_failure_for_the_second_time_is_told_again() {
    let broken = |number| {
        vec![InstanceReport {
            last_fault: fault(number),
            ..report(failed(0, "crashed"))
        }]
    };
    let mut outbox = informed(settled(0, broken(1)));

    outbox.set_status(settled(0, broken(2)));

    assert_eq!(
        drain(&mut outbox),
        [State::Update(vec![failed(0, "crashed")])]
    );
}

#[test]
fn instance_that_no_list_announced_is_told_all_the_same() {
    let mut outbox = informed(settled(0, vec![report(active(0))]));

    outbox.set_status(settled(0, vec![report(active(0)), report(active(1))]));

    assert_eq!(drain(&mut outbox), [State::Update(vec![active(1)])]);
}

mod property;
