//! Messages that the transport would not take.

use prost::Message;

use super::v3::proto::SmOutgoingMessages;
use super::v3::proto::sm_outgoing_messages::SmOutgoingMessage;

/// Bytes that are left of an error's text when a status is too large with all
/// of it.
const SHORT: usize = 100;

/// Makes a status that has more than `limit` bytes smaller: CM has to learn how
/// all instances are, in however few words. `Err`: the size of a message that
/// cannot be made small enough.
pub(super) fn fitting(
    mut message: SmOutgoingMessages,
    limit: usize,
) -> Result<SmOutgoingMessages, usize> {
    if message.encoded_len() > limit {
        shorten(&mut message);
    }

    match message.encoded_len() {
        size if size > limit => Err(size),
        _ => Ok(message),
    }
}

fn shorten(message: &mut SmOutgoingMessages) {
    let instances = match &mut message.sm_outgoing_message {
        Some(SmOutgoingMessage::RunInstancesStatus(status)) => &mut status.instances,
        Some(SmOutgoingMessage::UpdateInstancesStatus(status)) => &mut status.instances,
        _ => return,
    };
    for error in instances.iter_mut().filter_map(|i| i.error_info.as_mut()) {
        let end = error.message.floor_char_boundary(SHORT);
        error.message.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmclient::v3;
    use crate::model::{ErrorInfo, InstanceStatus, RunState};

    const LIMIT: usize = 4096;

    fn failed(texts: &[String]) -> Vec<InstanceStatus> {
        let state = |message: &String| {
            RunState::Failed(ErrorInfo {
                message: message.clone(),
                exit_code: 7,
                ..ErrorInfo::default()
            })
        };
        let status = |message| InstanceStatus {
            state: state(message),
            ..status()
        };
        texts.iter().map(status).collect()
    }

    fn status() -> InstanceStatus {
        InstanceStatus {
            ident: Default::default(),
            version: 1,
            state: RunState::Active,
        }
    }

    #[test]
    fn status_that_fits_is_sent_as_it_is() {
        let message = v3::run_instances_status(failed(&["x".repeat(1000)]));

        assert_eq!(fitting(message.clone(), LIMIT), Ok(message));
    }

    #[test]
    fn too_large_status_keeps_all_instances_and_the_start_of_their_errors() {
        let long = "ä".repeat(2000) + "end";
        for make in [v3::run_instances_status, v3::update_instances_status] {
            let texts = [format!("x{long}"), long.clone(), "short".into()];
            let short = [
                "x".to_owned() + &"ä".repeat(49),
                "ä".repeat(50),
                "short".into(),
            ];

            let sent = fitting(make(failed(&texts)), LIMIT);

            assert_eq!(sent, Ok(make(failed(&short))));
        }
    }

    #[test]
    fn what_cannot_be_made_small_enough_is_refused_with_its_size() {
        let many = v3::run_instances_status(vec![status(); LIMIT]);
        let other = SmOutgoingMessages {
            sm_outgoing_message: Some(SmOutgoingMessage::Alert(v3::proto::Alert::default())),
        };

        assert!(fitting(many, LIMIT).unwrap_err() > LIMIT);
        assert_eq!(fitting(other, 1), Err(2));
    }
}
