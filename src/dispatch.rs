//! One match: each request of CM to the handle that serves it.
//!
//! Nothing here waits for work to be done: a request that takes time carries
//! its own way back. So requests take effect in the order in which they came,
//! and none waits behind another.

use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::launcher::Launcher;
use crate::model::{LogPart, LogRequest, Request, Responder};
use crate::networkmanager::Networks;
use crate::resourcemanager::{Resources, UnitConfigs};

const NO_LOGS: &str = "sending logs is not supported by this release yet";

/// Passes requests on until CM's session ends.
#[derive(Debug)]
pub struct Dispatch {
    requests: mpsc::Receiver<Request>,
    launcher: Launcher,
    networks: Networks,
    resources: Resources,
    unit_configs: UnitConfigs,
}

impl Dispatch {
    /// Serves `requests` with these handles.
    #[must_use]
    pub fn new(
        requests: mpsc::Receiver<Request>,
        launcher: Launcher,
        networks: Networks,
        resources: Resources,
        unit_configs: UnitConfigs,
    ) -> Self {
        Self {
            requests,
            launcher,
            networks,
            resources,
            unit_configs,
        }
    }

    /// Runs until the last sender of requests is gone.
    pub async fn run(mut self) {
        while let Some(request) = self.requests.recv().await {
            self.serve(request).await;
        }
    }

    async fn serve(&self, request: Request) {
        match request {
            Request::RunInstances(list) => self.launcher.run(list).await,
            Request::UpdateNetworks(networks) => self.networks.update(networks).await,
            Request::GetUnitConfigStatus(answer) => self.unit_configs.status(answer).await,
            Request::CheckUnitConfig(text, answer) => self.unit_configs.check(text, answer).await,
            Request::SetUnitConfig(text, answer) => self.unit_configs.set(text, answer).await,
            Request::OverrideEnvVars(overrides, answer) => {
                self.launcher.override_variables(overrides, answer).await;
            }
            Request::Logs(request) => refuse_log(request),
            Request::GetNodeMonitoring(answer) => {
                let resources = self.resources.clone();
                tokio::spawn(async move { reply(answer, resources.node_monitoring().await) });
            }
            Request::CloudConnection(online) => self.launcher.cloud(online).await,
        }
    }
}

/// An answer belongs to the connection that the request came on.
fn reply<T>(answer: Responder<T>, value: T) {
    if answer.send(value).is_err() {
        debug!("the connection that asked is gone, and the answer with it");
    }
}

fn refuse_log(request: LogRequest) {
    let part = LogPart {
        log_id: request.log_id,
        error: NO_LOGS.to_owned(),
        ..LogPart::default()
    };

    // The channel is new: only a connection that is gone can refuse.
    if let Err(error) = request.parts.try_send(part) {
        warn!(%error, "an answer to a log request is lost");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LogSource;

    #[test]
    fn a_log_request_gets_one_error_part() {
        let (parts, mut received) = mpsc::channel(1);
        let source = LogSource::System;

        refuse_log(LogRequest {
            log_id: "l".into(),
            source,
            from: None,
            till: None,
            parts,
        });

        let part = received.try_recv().unwrap();
        assert_eq!(
            (part.log_id.as_str(), part.part, part.part_count),
            ("l", 0, 0)
        );
        assert_eq!(part.error, NO_LOGS);
    }
}
