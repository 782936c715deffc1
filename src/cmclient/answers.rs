//! Answers that CM waits for.
//!
//! CM matches an answer by its message type alone: those of one type leave in
//! the order of their requests, those of different types never wait for each
//! other.

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::oneshot;
use tracing::warn;

use super::v3;
use crate::model::{EnvVarsStatus, NodeMonitoring, Responder, UnitConfigStatus};

/// Answers that may be awaited before no more requests are read.
const CAPACITY: usize = 256;

/// The pending answers of one connection.
#[derive(Debug, Default)]
pub(super) struct Answers {
    unit_config: FuturesOrdered<oneshot::Receiver<UnitConfigStatus>>,
    env_vars: FuturesOrdered<oneshot::Receiver<Vec<EnvVarsStatus>>>,
    monitoring: FuturesOrdered<oneshot::Receiver<NodeMonitoring>>,
}

impl Answers {
    pub(super) fn expect_unit_config(&mut self) -> Responder<UnitConfigStatus> {
        expect(&mut self.unit_config)
    }

    pub(super) fn expect_env_vars(&mut self) -> Responder<Vec<EnvVarsStatus>> {
        expect(&mut self.env_vars)
    }

    pub(super) fn expect_monitoring(&mut self) -> Responder<NodeMonitoring> {
        expect(&mut self.monitoring)
    }

    pub(super) fn has_room(&self) -> bool {
        self.len() < CAPACITY
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.unit_config.len() + self.env_vars.len() + self.monitoring.len()
    }

    /// Waits for the next answer, for ever if there is none to come. Nothing is
    /// lost when the wait is given up.
    pub(super) async fn next(&mut self) -> v3::proto::SmOutgoingMessages {
        loop {
            let answer = tokio::select! {
                Some(answer) = self.unit_config.next() => answer.map(v3::unit_config_status),
                Some(answer) = self.env_vars.next() => answer.map(v3::override_env_vars_status),
                Some(answer) = self.monitoring.next() => answer.map(v3::node_monitoring),
                else => std::future::pending().await,
            };

            match answer {
                Ok(message) => return message,
                Err(_) => warn!("a request of CM got no answer"),
            }
        }
    }
}

fn expect<T>(answers: &mut FuturesOrdered<oneshot::Receiver<T>>) -> Responder<T> {
    let (responder, answer) = oneshot::channel();
    answers.push_back(answer);
    responder
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use futures_util::FutureExt;

    use super::*;
    use crate::model::Usage;

    fn config(version: &str) -> UnitConfigStatus {
        UnitConfigStatus {
            vendor_version: version.into(),
            error: String::new(),
        }
    }

    fn sample() -> NodeMonitoring {
        NodeMonitoring {
            timestamp: SystemTime::UNIX_EPOCH,
            node: Usage::default(),
            instances: vec![],
        }
    }

    #[tokio::test]
    async fn answers_of_one_type_keep_the_order_of_their_requests() {
        let mut answers = Answers::default();
        let first = answers.expect_unit_config();
        let second = answers.expect_unit_config();

        second.send(config("2")).unwrap();
        assert_eq!(answers.next().now_or_never(), None);
        first.send(config("1")).unwrap();

        assert_eq!(answers.next().await, v3::unit_config_status(config("1")));
        assert_eq!(answers.next().await, v3::unit_config_status(config("2")));
        assert!(answers.is_empty());
    }

    #[tokio::test]
    async fn answers_of_different_types_do_not_wait_for_each_other() {
        let mut answers = Answers::default();
        let _slow = answers.expect_unit_config();
        let quick = answers.expect_monitoring();

        quick.send(sample()).unwrap();

        assert_eq!(answers.next().await, v3::node_monitoring(sample()));
    }

    #[tokio::test]
    async fn dropped_responder_does_not_hold_up_the_next_answer() {
        let mut answers = Answers::default();
        drop(answers.expect_env_vars());
        let second = answers.expect_env_vars();

        second.send(vec![]).unwrap();

        assert_eq!(answers.next().await, v3::override_env_vars_status(vec![]));
    }

    #[tokio::test]
    async fn there_is_no_room_for_more_than_the_capacity() {
        let mut answers = Answers::default();

        let _responders = [(); CAPACITY].map(|()| answers.expect_monitoring());

        assert!(!answers.has_room());
    }
}
