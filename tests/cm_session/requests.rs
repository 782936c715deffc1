//! What CM asks, and how it is answered.

use std::time::SystemTime;

use aos_servicemanager::cmclient::v3::proto;
use aos_servicemanager::cmclient::v3::proto::sm_incoming_messages::SmIncomingMessage as Incoming;
use aos_servicemanager::cmclient::v3::proto::sm_outgoing_messages::SmOutgoingMessage as Outgoing;
use aos_servicemanager::model::{
    EnvVarStatus, EnvVarsStatus, InstanceFilter, LogPart, LogSource, NodeMonitoring, Request,
    UnitConfigStatus, Usage,
};

use crate::fake_cm::{FakeCm, Session, within};
use crate::pki::Authority;
use crate::sm::{REQUESTS, Sm, active, running};

/// What has to stay while the session is up.
struct Unit {
    _authority: Authority,
    cm: FakeCm,
}

async fn connected() -> (Unit, Session, Sm) {
    let authority = Authority::new();
    let mut cm = FakeCm::start(&authority);
    let sm = Sm::start(&authority, cm.address());
    let session = cm.informed_session().await;
    let unit = Unit {
        _authority: authority,
        cm,
    };

    (unit, session, sm)
}

fn check(version: &str) -> Incoming {
    Incoming::CheckUnitConfig(proto::CheckUnitConfig {
        unit_config: "{}".into(),
        vendor_version: version.into(),
    })
}

fn answer(version: &str) -> UnitConfigStatus {
    UnitConfigStatus {
        vendor_version: version.into(),
        error: String::new(),
    }
}

fn wire_answer(version: &str) -> Outgoing {
    Outgoing::UnitConfigStatus(proto::UnitConfigStatus {
        vendor_version: version.into(),
        error: String::new(),
    })
}

fn get_monitoring() -> Incoming {
    Incoming::GetNodeMonitoring(proto::GetNodeMonitoring::default())
}

fn sample() -> NodeMonitoring {
    NodeMonitoring {
        timestamp: SystemTime::UNIX_EPOCH,
        node: Usage::default(),
        instances: vec![],
    }
}

#[tokio::test]
async fn run_instances_and_networks_are_passed_on_in_order() {
    let (_unit, session, mut sm) = connected().await;

    session
        .send(Incoming::UpdateNetworks(proto::UpdateNetworks {
            networks: vec![proto::NetworkParameters {
                network_id: "net".into(),
                ..Default::default()
            }],
        }))
        .await;
    session
        .send(Incoming::RunInstances(proto::RunInstances {
            force_restart: true,
            ..Default::default()
        }))
        .await;

    let Request::UpdateNetworks(networks) = sm.request().await else {
        panic!("another request");
    };
    assert_eq!(networks[0].network_id.as_str(), "net");
    let Request::RunInstances(desired) = sm.request().await else {
        panic!("another request");
    };
    assert!(desired.force_restart);
}

#[tokio::test]
async fn answers_of_one_type_leave_in_the_order_of_their_requests() {
    let (_unit, mut session, mut sm) = connected().await;
    session.send(check("1")).await;
    session.send(check("2")).await;
    let Request::CheckUnitConfig(_, first) = sm.request().await else {
        panic!("another request");
    };
    let Request::CheckUnitConfig(_, second) = sm.request().await else {
        panic!("another request");
    };

    second.send(answer("2")).unwrap();
    first.send(answer("1")).unwrap();

    assert_eq!(session.next().await, wire_answer("1"));
    assert_eq!(session.next().await, wire_answer("2"));
}

#[tokio::test]
async fn no_request_waits_for_the_answer_of_another() {
    let (_unit, mut session, mut sm) = connected().await;
    session.send(check("slow")).await;
    let Request::CheckUnitConfig(_, slow) = sm.request().await else {
        panic!("another request");
    };

    session.send(get_monitoring()).await;
    let Request::GetNodeMonitoring(quick) = sm.request().await else {
        panic!("another request");
    };
    quick.send(sample()).unwrap();

    assert!(matches!(session.next().await, Outgoing::NodeMonitoring(_)));
    slow.send(answer("slow")).unwrap();
    assert_eq!(session.next().await, wire_answer("slow"));
}

#[tokio::test]
async fn answer_never_leaves_on_another_connection() {
    let (mut unit, session, mut sm) = connected().await;
    session.send(check("old")).await;
    let Request::CheckUnitConfig(_, old) = sm.request().await else {
        panic!("another request");
    };
    drop(session);
    let mut session = unit.cm.informed_session().await;

    assert!(old.send(answer("old")).is_err());
    session.send(check("new")).await;
    let Request::CheckUnitConfig(_, new) = sm.request().await else {
        panic!("another request");
    };
    new.send(answer("new")).unwrap();

    assert_eq!(session.next().await, wire_answer("new"));
}

#[tokio::test]
async fn full_queue_of_requests_does_not_stop_what_sm_tells() {
    let (_unit, mut session, mut sm) = connected().await;
    for number in 0..=REQUESTS + 1 {
        session.send(check(&number.to_string())).await;
    }

    sm.status.send_replace(running(&[active(1)]));

    assert!(matches!(
        session.next().await,
        Outgoing::UpdateInstancesStatus(_)
    ));
    for number in 0..=REQUESTS + 1 {
        let Request::CheckUnitConfig(config, _) = sm.request().await else {
            panic!("another request");
        };
        assert_eq!(config.vendor_version, number.to_string());
    }
}

#[tokio::test]
async fn filter_of_overridden_variables_comes_back_as_it_was() {
    let (_unit, mut session, mut sm) = connected().await;
    let instance = proto::InstanceIdent {
        service_id: "service".into(),
        subject_id: String::new(),
        instance: -1,
    };
    session
        .send(Incoming::OverrideEnvVars(proto::OverrideEnvVars {
            env_vars: vec![proto::OverrideInstanceEnvVar {
                instance: Some(instance.clone()),
                vars: vec![],
            }],
        }))
        .await;

    let Request::OverrideEnvVars(vars, responder) = sm.request().await else {
        panic!("another request");
    };
    let statuses = vars.into_iter().map(|item| EnvVarsStatus {
        filter: item.filter,
        vars: vec![EnvVarStatus {
            id: "id".into(),
            error: "expired".into(),
        }],
    });
    responder.send(statuses.collect()).unwrap();

    let Outgoing::OverrideEnvVarStatus(status) = session.next().await else {
        panic!("another message");
    };
    assert_eq!(status.env_vars_status[0].instance, Some(instance));
    assert_eq!(status.env_vars_status[0].vars_status[0].error, "expired");
}

#[tokio::test]
async fn log_parts_follow_each_other() {
    let (_unit, mut session, mut sm) = connected().await;
    session
        .send(Incoming::InstanceLogRequest(proto::InstanceLogRequest {
            log_id: "log".into(),
            ..Default::default()
        }))
        .await;
    let Request::Logs(request) = sm.request().await else {
        panic!("another request");
    };
    assert_eq!(
        request.source,
        LogSource::Instances(InstanceFilter::default())
    );

    for part in 1..=3 {
        let part = LogPart {
            log_id: request.log_id.clone(),
            part_count: 3,
            part,
            ..LogPart::default()
        };
        within("room", request.parts.send(part)).await.unwrap();
    }

    for part in 1..=3 {
        let Outgoing::Log(log) = session.next().await else {
            panic!("another message");
        };
        assert_eq!(
            (log.log_id.as_str(), log.part, log.part_count),
            ("log", part, 3)
        );
    }
}

#[tokio::test]
async fn log_of_a_lost_connection_is_given_up() {
    let (_unit, session, mut sm) = connected().await;
    session
        .send(Incoming::SystemLogRequest(
            proto::SystemLogRequest::default(),
        ))
        .await;
    let Request::Logs(request) = sm.request().await else {
        panic!("another request");
    };

    drop(session);

    within("the end of the log", request.parts.closed()).await;
}

#[tokio::test]
async fn messages_of_others_and_of_later_protocols_are_passed_over() {
    let (_unit, session, mut sm) = connected().await;

    session
        .send_raw(Ok(proto::SmIncomingMessages::default()))
        .await;
    session
        .send(Incoming::ClockSync(proto::ClockSync::default()))
        .await;
    session
        .send(Incoming::ConnectionStatus(proto::ConnectionStatus {
            cloud_status: 1,
        }))
        .await;

    assert!(matches!(sm.request().await, Request::CloudConnection(true)));
}

#[tokio::test]
async fn list_of_nearly_4_mib_is_taken_and_a_larger_one_ends_the_connection_only() {
    let (mut unit, session, mut sm) = connected().await;
    let list = |bytes| {
        Incoming::RunInstances(proto::RunInstances {
            services: vec![proto::ServiceInfo {
                url: "x".repeat(bytes),
                ..Default::default()
            }],
            ..Default::default()
        })
    };

    session.send(list(4 * 1024 * 1024 - 100)).await;
    assert!(matches!(sm.request().await, Request::RunInstances(_)));
    sm.status.send_modify(|status| status.generation = 1);
    session.send(list(4 * 1024 * 1024)).await;

    let session = unit.cm.informed_session().await;
    session.send(get_monitoring()).await;
    assert!(matches!(sm.request().await, Request::GetNodeMonitoring(_)));
}

#[tokio::test]
async fn message_of_more_than_4_mib_is_left_out() {
    let (_unit, mut session, mut sm) = connected().await;
    session
        .send(Incoming::SystemLogRequest(
            proto::SystemLogRequest::default(),
        ))
        .await;
    let Request::Logs(request) = sm.request().await else {
        panic!("another request");
    };

    for size in [4 * 1024 * 1024, 7] {
        let part = LogPart {
            data: vec![0; size],
            ..LogPart::default()
        };
        within("room", request.parts.send(part)).await.unwrap();
    }

    let Outgoing::Log(log) = session.next().await else {
        panic!("another message");
    };
    assert_eq!(log.data.len(), 7);
}
