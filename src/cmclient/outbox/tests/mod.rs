//! Rules of the outbox, one by one and by property.

use proptest::prelude::*;

use super::*;
use crate::model::ErrorInfo;

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
        instance: InstanceId::from_u128(1),
        version: 1,
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

/// A status with one instance that runs after so many faults.
fn healed(generation: u64, faults: u64) -> RunStatus {
    settled(
        generation,
        vec![InstanceReport {
            last_fault: fault(faults),
            ..report(active(0))
        }],
    )
}

/// All instances of a list, then the fault of one.
fn answer_and_fault(text: &str) -> [State; 3] {
    [
        State::Run(vec![active(0)]),
        State::Update(vec![failed(0, text)]),
        State::Update(vec![active(0)]),
    ]
}

#[test]
fn fault_while_a_list_settles_is_told_after_its_answer() {
    let mut outbox = informed(healed(0, 2));

    outbox.set_status(unsettled(1, healed(1, 3).instances));
    let meanwhile = drain(&mut outbox);
    outbox.set_status(healed(1, 3));

    assert_eq!(meanwhile, []);
    assert_eq!(drain(&mut outbox), answer_and_fault("fault 3"));
}

#[test]
fn fault_that_was_told_is_not_told_again_with_another_list() {
    let mut outbox = informed(healed(0, 2));

    outbox.set_status(healed(1, 2));

    assert_eq!(drain(&mut outbox), [State::Run(vec![active(0)])]);
}

#[test]
fn fault_before_the_first_connection_is_told() {
    let mut outbox = Outbox::new(unsettled(0, vec![report(active(0))]));
    outbox.set_status(healed(0, 1));

    outbox.connected();

    let told = drain(&mut outbox);
    assert_eq!(told[0], State::NodeConfiguration);
    assert_eq!(told[1..], answer_and_fault("fault 1"));
}

#[test]
fn instance_that_comes_back_counts_its_faults_anew() {
    let mut outbox = informed(healed(0, 5));
    let mut back = healed(1, 1);
    let fault = back.instances[0].last_fault.as_mut().unwrap();
    fault.instance = InstanceId::from_u128(2);

    outbox.set_status(back);

    assert_eq!(drain(&mut outbox), answer_and_fault("fault 1"));
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
