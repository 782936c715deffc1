use std::time::Duration;

use serde_json::json;
use time::macros::datetime;

use super::*;
use crate::wire::sm::sm_outgoing_messages::SmOutgoingMessage;
use crate::wire::sm::{
    Alert, ErrorInfo, InstanceIdent, LogData, RunInstancesStatus, SystemAlert, alert,
};

fn moments() -> (Instant, Stamp) {
    let start = Instant::now();
    let at = Stamp {
        wall: datetime!(2026-11-21 13:47:04.000_123 UTC),
        monotonic: start + Duration::from_micros(1_500_250),
    };
    (start, at)
}

fn json_of(message: SmOutgoingMessage) -> Value {
    let (start, at) = moments();
    json_object(start, at, &Event::Message(message)).into()
}

fn text_of(message: SmOutgoingMessage) -> String {
    let (start, at) = moments();
    text_line(start, at, &Event::Message(message))
}

fn failed() -> SmOutgoingMessage {
    SmOutgoingMessage::RunInstancesStatus(RunInstancesStatus {
        instances: vec![InstanceStatus {
            instance: Some(InstanceIdent {
                service_id: "web".to_owned(),
                subject_id: "s".to_owned(),
                instance: 0,
            }),
            aos_version: 3,
            run_state: "failed".to_owned(),
            error_info: Some(ErrorInfo {
                exit_code: 2,
                message: "it fell".to_owned(),
                ..ErrorInfo::default()
            }),
        }],
    })
}

#[test]
fn message_is_an_object_with_the_names_of_the_wire_and_its_time() {
    assert_eq!(
        json_of(failed()),
        json!({
            "event": "run_instances_status",
            "time": "2026-11-21T13:47:04.000123Z",
            "t_ms": 1500.25,
            "instances": [{
                "instance": {"service_id": "web", "subject_id": "s", "instance": 0},
                "aos_version": 3,
                "run_state": "failed",
                "error_info": {"aos_code": 0, "exit_code": 2, "message": "it fell"},
            }],
        })
    );
}

#[test]
fn absent_error_is_absent() {
    let status = InstanceStatus::default();
    let message = SmOutgoingMessage::RunInstancesStatus(RunInstancesStatus {
        instances: vec![status],
    });

    assert_eq!(json_of(message)["instances"][0].get("error_info"), None);
}

#[test]
fn payload_of_an_alert_is_a_field_beside_its_tag() {
    let alert = SmOutgoingMessage::Alert(Alert {
        timestamp: Some(prost_types::Timestamp {
            seconds: 1,
            nanos: 0,
        }),
        tag: "systemAlert".to_owned(),
        payload: Some(alert::Payload::SystemAlert(SystemAlert {
            message: "hot".to_owned(),
        })),
    });

    let object = json_of(alert);

    assert_eq!(object["event"], "alert");
    assert_eq!(object["timestamp"], "1970-01-01T00:00:01Z");
    assert_eq!(object["system_alert"]["message"], "hot");
}

#[test]
fn bytes_of_a_log_are_base64_for_programs_and_a_count_for_people() {
    let log = SmOutgoingMessage::Log(LogData {
        log_id: "l1".to_owned(),
        part_count: 1,
        part: 1,
        data: vec![1, 2, 3],
        error: String::new(),
    });

    assert_eq!(json_of(log.clone())["data"], "AQID");
    assert!(text_of(log).ends_with("l1 part 1 of 1, 3 bytes, not gzip"));
}

#[test]
fn people_get_one_short_line() {
    assert_eq!(
        text_of(failed()),
        "13:47:04.000123      1.500  run status     \
         0 of 1 active: web/s/0 v3 failed: it fell (exit code 2)"
    );
}

#[test]
fn table_has_a_line_for_each_instance() {
    let SmOutgoingMessage::RunInstancesStatus(status) = failed() else {
        unreachable!()
    };

    assert_eq!(
        text::table(&status.instances),
        "INSTANCE  VERSION  STATE   ERROR\n\
         web/s/0   3        failed  it fell (exit code 2)\n"
    );
}
