//! The session under test, with its surroundings.

use std::net::SocketAddr;
use std::path::PathBuf;

use aos_servicemanager::cmclient::{CmClient, CmInputs, CmSettings};
use aos_servicemanager::model::{
    InstanceIdent, InstanceReport, InstanceStatus, NodeFacts, NodeInfo, Report, Request, RunState,
    RunStatus, TlsIdentity,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::fake_cm::within;
use crate::pki::Authority;

/// Requests that wait before the session notices that nobody takes them.
pub(crate) const REQUESTS: usize = 2;

pub(crate) struct Sm {
    pub(crate) status: watch::Sender<RunStatus>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) identity: watch::Sender<Option<TlsIdentity>>,
    pub(crate) node_info: watch::Sender<Option<NodeInfo>>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) task: JoinHandle<()>,
}

impl Sm {
    /// With a certificate of the authority and one active instance.
    pub(crate) fn start(authority: &Authority, cm: SocketAddr) -> Self {
        let sm = Self::start_unknown(authority.root(), cm);
        sm.node_info.send_replace(Some(node_info()));
        sm.identity.send_replace(Some(authority.issue("sm")));
        sm
    }

    /// Without knowing who it is.
    pub(crate) fn start_unknown(root: PathBuf, cm: SocketAddr) -> Self {
        let (status, status_receiver) = watch::channel(running(&[active(0)]));
        let (reports, reports_receiver) = mpsc::channel(16);
        let (identity, identity_receiver) = watch::channel(None);
        let (node_info, node_info_receiver) = watch::channel(None);
        let (requests_sender, requests) = mpsc::channel(REQUESTS);
        let settings = CmSettings {
            url: cm.to_string(),
            ca_cert: root,
        };
        let inputs = CmInputs {
            status: status_receiver,
            reports: reports_receiver,
            identity: identity_receiver,
            node_info: node_info_receiver,
            facts: NodeFacts {
                num_cpus: 4,
                ..NodeFacts::default()
            },
        };
        let client = CmClient::new(settings, inputs, requests_sender);

        Self {
            status,
            reports,
            identity,
            node_info,
            requests,
            task: tokio::spawn(client.run()),
        }
    }

    pub(crate) async fn request(&mut self) -> Request {
        within("a request", self.requests.recv()).await.unwrap()
    }
}

pub(crate) fn node_info() -> NodeInfo {
    NodeInfo {
        node_id: "node".into(),
        node_type: "main".into(),
    }
}

pub(crate) fn active(index: i64) -> InstanceStatus {
    InstanceStatus {
        ident: InstanceIdent {
            service_id: "service".into(),
            subject_id: "subject".into(),
            index,
        },
        version: 1,
        state: RunState::Active,
    }
}

/// The stored list, settled.
pub(crate) fn running(instances: &[InstanceStatus]) -> RunStatus {
    RunStatus {
        generation: 0,
        settled: true,
        instances: instances
            .iter()
            .map(|status| InstanceReport {
                desired: status.clone(),
                kept: None,
                last_fault: None,
            })
            .collect(),
    }
}
