//! What SM tells by itself.

use std::time::SystemTime;

use aos_servicemanager::cmclient::v3::proto::sm_incoming_messages::SmIncomingMessage as Incoming;
use aos_servicemanager::cmclient::v3::proto::sm_outgoing_messages::SmOutgoingMessage;
use aos_servicemanager::cmclient::v3::proto::{
    InstanceStatus as WireStatus, NodeConfiguration, SystemLogRequest,
};
use aos_servicemanager::model::{
    Alert, AlertKind, ErrorInfo, InstanceStatus, Report, Request, RunState, RunStatus,
};

use crate::fake_cm::{FakeCm, within};
use crate::pki::Authority;
use crate::sm::{Sm, active, running};

fn failed(index: i64) -> InstanceStatus {
    InstanceStatus {
        state: RunState::Failed(ErrorInfo::new("crashed")),
        ..active(index)
    }
}

fn alert(kind: AlertKind) -> Report {
    Report::Alert(Alert {
        timestamp: SystemTime::UNIX_EPOCH,
        kind,
    })
}

fn states(instances: &[WireStatus]) -> Vec<(i64, &str)> {
    instances
        .iter()
        .map(|status| {
            let index = status.instance.as_ref().unwrap().instance;
            (index, status.run_state.as_str())
        })
        .collect()
}

#[tokio::test]
async fn session_begins_with_the_node_and_its_instances_before_cm_says_a_word() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let _sm = Sm::start(&authority, cm.address());

    let mut session = cm.session().await;

    assert_eq!(
        session.next().await,
        SmOutgoingMessage::NodeConfiguration(NodeConfiguration {
            node_id: "node".into(),
            node_type: "main".into(),
            num_cpus: 4,
            ..NodeConfiguration::default()
        })
    );
    let SmOutgoingMessage::RunInstancesStatus(run) = session.next().await else {
        panic!("another message");
    };
    assert_eq!(states(&run.instances), [(0, "active")]);
}

#[tokio::test]
async fn changes_are_told_as_they_come() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let sm = Sm::start(&authority, cm.address());
    let mut session = cm.informed_session().await;

    sm.status.send_replace(running(&[failed(0)]));

    let SmOutgoingMessage::UpdateInstancesStatus(update) = session.next().await else {
        panic!("another message");
    };
    assert_eq!(states(&update.instances), [(0, "failed")]);
}

#[tokio::test]
async fn next_connection_tells_the_present_state_and_not_the_lost_one() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let address = cm.address();
    let sm = Sm::start(&authority, address);
    cm.informed_session().await;
    cm.stop().await;

    sm.status.send_replace(running(&[failed(0)]));
    let mut cm = FakeCm::start_at(&authority, address);
    let mut session = cm.session().await;

    session.next().await;
    let SmOutgoingMessage::RunInstancesStatus(run) = session.next().await else {
        panic!("another message");
    };
    assert_eq!(states(&run.instances), [(0, "failed")]);
}

#[tokio::test]
async fn instances_are_told_after_a_reconnect_only_when_they_have_settled() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let sm = Sm::start(&authority, cm.address());
    drop(cm.informed_session().await);
    sm.status.send_replace(RunStatus {
        settled: false,
        ..running(&[failed(0)])
    });

    let mut session = cm.session().await;
    assert!(matches!(
        session.next().await,
        SmOutgoingMessage::NodeConfiguration(_)
    ));
    sm.reports
        .send(alert(AlertKind::System("disk".into())))
        .await
        .unwrap();
    assert!(matches!(session.next().await, SmOutgoingMessage::Alert(_)));
    sm.status.send_replace(running(&[active(0)]));

    let SmOutgoingMessage::RunInstancesStatus(run) = session.next().await else {
        panic!("another message");
    };
    assert_eq!(states(&run.instances), [(0, "active")]);
}

#[tokio::test]
async fn alerts_wait_for_a_connection_except_those_that_cm_acts_on_at_once() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let address = cm.address();
    let mut sm = Sm::start(&authority, address);
    let session = cm.informed_session().await;
    session
        .send(Incoming::SystemLogRequest(SystemLogRequest::default()))
        .await;
    let Request::Logs(log) = sm.request().await else {
        panic!("another request");
    };
    cm.stop().await;
    within("the end of the connection", log.parts.closed()).await;

    sm.reports
        .send(alert(AlertKind::SystemQuota {
            parameter: "cpu".into(),
            value: 90,
        }))
        .await
        .unwrap();
    sm.reports
        .send(alert(AlertKind::System("disk".into())))
        .await
        .unwrap();
    let mut cm = FakeCm::start_at(&authority, address);
    let mut session = cm.informed_session().await;

    let SmOutgoingMessage::Alert(told) = session.next().await else {
        panic!("another message");
    };
    assert_eq!(told.tag, "systemAlert");
}

#[tokio::test]
async fn closed_reports_end_the_session_after_the_last_one_is_delivered() {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let sm = Sm::start(&authority, cm.address());
    let mut session = cm.informed_session().await;

    sm.reports
        .send(alert(AlertKind::System("last".into())))
        .await
        .unwrap();
    drop(sm.reports);

    assert!(matches!(session.next().await, SmOutgoingMessage::Alert(_)));
    assert_eq!(session.next_or_end().await, None);
    drop(session);
    within("the end", sm.task).await.unwrap();
}

#[tokio::test]
async fn closed_reports_end_the_session_also_without_cm() {
    let authority = Authority::new();
    let cm = FakeCm::start(&authority);
    let address = cm.address();
    cm.stop().await;
    let sm = Sm::start(&authority, address);

    drop(sm.reports);

    within("the end", sm.task).await.unwrap();
}
