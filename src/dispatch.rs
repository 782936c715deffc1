//! One match: each request of CM to the handle that serves it.
//!
//! Nothing here waits for work to be done: a request that takes time carries
//! its own way back. So requests take effect in the order in which they came,
//! and none waits behind another.

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::launcher::Launcher;
use crate::model::{
    EnvVarStatus, EnvVarsOverride, EnvVarsStatus, LogPart, LogRequest, Request, Responder,
    UnitConfigStatus, UnitConfigText,
};
use crate::networkmanager::Networks;
use crate::resourcemanager::Resources;

const NO_UNIT_CONFIG: &str = "unit configurations are not supported by this release yet";
const NO_ENV_VARS: &str = "overriding environment variables is not supported by this release yet";
const NO_LOGS: &str = "sending logs is not supported by this release yet";

/// Passes requests on until CM's session ends.
#[derive(Debug)]
pub struct Dispatch {
    requests: mpsc::Receiver<Request>,
    launcher: Launcher,
    networks: Networks,
    resources: Resources,
}

impl Dispatch {
    /// Serves `requests` with these handles.
    #[must_use]
    pub fn new(
        requests: mpsc::Receiver<Request>,
        launcher: Launcher,
        networks: Networks,
        resources: Resources,
    ) -> Self {
        Self {
            requests,
            launcher,
            networks,
            resources,
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
            Request::GetUnitConfigStatus(answer) => reply(answer, UnitConfigStatus::default()),
            Request::CheckUnitConfig(config, answer) | Request::SetUnitConfig(config, answer) => {
                reply(answer, refuse_unit_config(config));
            }
            Request::OverrideEnvVars(overrides, answer) => {
                reply(answer, overrides.into_iter().map(refuse_override).collect());
            }
            Request::Logs(request) => refuse_log(request),
            Request::GetNodeMonitoring(answer) => {
                let resources = self.resources.clone();
                tokio::spawn(async move { reply(answer, resources.node_monitoring().await) });
            }
            Request::CloudConnection(online) => info!(online, "cloud connection"),
        }
    }
}

/// An answer belongs to the connection that the request came on.
fn reply<T>(answer: Responder<T>, value: T) {
    if answer.send(value).is_err() {
        debug!("the connection that asked is gone, and the answer with it");
    }
}

fn refuse_unit_config(config: UnitConfigText) -> UnitConfigStatus {
    UnitConfigStatus {
        vendor_version: config.vendor_version,
        error: NO_UNIT_CONFIG.to_owned(),
    }
}

fn refuse_override(request: EnvVarsOverride) -> EnvVarsStatus {
    let refuse = |id| EnvVarStatus {
        id,
        error: NO_ENV_VARS.to_owned(),
    };

    EnvVarsStatus {
        filter: request.filter,
        vars: request.vars.into_iter().map(|var| refuse(var.id)).collect(),
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
    use crate::model::{EnvVar, InstanceFilter, LogSource};

    #[test]
    fn a_refused_unit_config_keeps_the_version_it_was_asked_about() {
        let config = UnitConfigText {
            text: "{}".into(),
            vendor_version: "7".into(),
        };

        let status = refuse_unit_config(config);

        assert_eq!(
            (status.vendor_version.as_str(), status.error.is_empty()),
            ("7", false)
        );
    }

    #[test]
    fn each_overridden_variable_is_refused_under_its_own_id() {
        let filter = InstanceFilter {
            index: Some(3),
            ..InstanceFilter::default()
        };
        let var = |id: &str| EnvVar {
            id: id.into(),
            variable: "A=b".into(),
            expires: None,
        };
        let request = EnvVarsOverride {
            filter: filter.clone(),
            vars: vec![var("x"), var("y")],
        };

        let status = refuse_override(request);

        assert_eq!(status.filter, filter);
        let ids: Vec<_> = status.vars.iter().map(|var| var.id.as_str()).collect();
        assert_eq!(ids, ["x", "y"]);
        assert!(status.vars.iter().all(|var| var.error == NO_ENV_VARS));
    }

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
