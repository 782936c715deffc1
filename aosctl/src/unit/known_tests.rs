use super::*;
use crate::wire::sm::{
    ErrorInfo, InstanceInfo, NodeConfiguration, RunInstancesStatus, UpdateInstancesStatus,
};

fn ident(index: i64) -> Option<InstanceIdent> {
    Some(InstanceIdent {
        service_id: "web".to_owned(),
        subject_id: "subject".to_owned(),
        instance: index,
    })
}

fn status(index: i64, version: u64, error: Option<&str>) -> InstanceStatus {
    InstanceStatus {
        instance: ident(index),
        aos_version: version,
        run_state: if error.is_some() { FAILED } else { ACTIVE }.to_owned(),
        error_info: error.map(|message| ErrorInfo {
            message: message.to_owned(),
            exit_code: 2,
            ..ErrorInfo::default()
        }),
    }
}

fn run_status(instances: &[InstanceStatus]) -> SmOutgoingMessage {
    SmOutgoingMessage::RunInstancesStatus(RunInstancesStatus {
        instances: instances.to_vec(),
    })
}

fn update(status: InstanceStatus) -> SmOutgoingMessage {
    SmOutgoingMessage::UpdateInstancesStatus(UpdateInstancesStatus {
        instances: vec![status],
    })
}

fn run(count: i64) -> RunInstances {
    RunInstances {
        instances: (0..count)
            .map(|index| InstanceInfo {
                instance: ident(index),
                ..InstanceInfo::default()
            })
            .collect(),
        ..RunInstances::default()
    }
}

fn registered() -> Known {
    let mut known = Known::default();
    known.told(&SmOutgoingMessage::NodeConfiguration(
        NodeConfiguration::default(),
    ));
    known
}

fn active(text: &str) -> Goal {
    Goal::Active(Target::parse(text).unwrap())
}

#[test]
fn first_status_takes_the_node_into_service() {
    let mut known = registered();
    assert!(known.reached(&Goal::Registered));
    assert!(!known.reached(&Goal::InService));

    known.told(&run_status(&[]));

    assert!(known.reached(&Goal::InService));
    assert!(known.reached(&Goal::Status));
}

#[test]
fn run_makes_older_knowledge_void() {
    let mut known = registered();
    known.told(&run_status(&[status(0, 1, None)]));
    assert!(known.reached(&active("web/subject/0")));

    known.run_sent(&run(1));

    assert!(!known.reached(&active("web/subject/0")));
    assert!(!known.reached(&Goal::Status));
    assert_eq!(
        known.describe(),
        "SM has told nothing since the run was sent"
    );
}

#[test]
fn status_of_other_instances_is_no_answer() {
    let mut known = registered();
    known.run_sent(&run(2));

    known.told(&run_status(&[status(0, 1, None)]));
    assert!(!known.reached(&Goal::Status));
    known.told(&run_status(&[status(1, 1, None), status(0, 1, None)]));

    assert!(known.reached(&Goal::Status));
    assert_eq!(known.answer().unwrap().len(), 2);
}

#[test]
fn update_changes_an_instance_and_no_answer() {
    let mut known = registered();
    known.run_sent(&run(1));
    known.told(&run_status(&[status(0, 1, None)]));

    known.told(&update(status(0, 1, Some("exited"))));

    let failed = Goal::Failed(Target::parse("web/subject/0").unwrap());
    assert!(known.reached(&failed));
    assert!(!known.reached(&active("web/subject/0")));
    assert!(is_active(&known.answer().unwrap()[0]));
    assert_eq!(
        known.describe(),
        "web/subject/0 v1 failed: exited (exit code 2)"
    );
}

#[test]
fn version_of_the_target_counts() {
    let mut known = registered();

    known.told(&run_status(&[status(0, 1, None)]));

    assert!(known.reached(&active("web/subject/0@1")));
    assert!(!known.reached(&active("web/subject/0@2")));
    assert!(!known.reached(&active("web/subject/1")));
}

#[test]
fn lost_connection_makes_all_knowledge_void() {
    let mut known = registered();
    known.run_sent(&run(1));
    known.told(&run_status(&[status(0, 1, None)]));

    known.disconnected();

    assert!(!known.reached(&Goal::Registered));
    assert!(!known.reached(&Goal::Status));
    assert!(!known.reached(&active("web/subject/0")));
    assert_eq!(known.describe(), "SM is not registered");
}

#[test]
fn active_with_an_error_is_not_active() {
    let mut known = registered();
    let mut strange = status(0, 1, Some("why"));
    strange.run_state = ACTIVE.to_owned();

    known.told(&run_status(&[strange]));

    assert!(!known.reached(&active("web/subject/0")));
}
