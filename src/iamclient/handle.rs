//! What other components ask of IAM.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Response, Status};
use tracing::debug;

use super::task::IamTask;
use super::v4::iam_permissions_service_client::IamPermissionsServiceClient;
use super::v4::iam_public_permissions_service_client::IamPublicPermissionsServiceClient;
use super::v4::{self, PermissionsRequest, RegisterInstanceRequest, UnregisterInstanceRequest};
use super::{IamError, IamSettings};
use crate::model::{Backoff, Chain, InstanceIdent, NodeInfo, PeerState, TlsIdentity};
use crate::peer::Refusal;
use crate::storage::Database;

/// No call takes longer.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(30);

/// How long a registration is tried again while IAM cannot be reached. Then the
/// instance waits until IAM is back, and holds up nobody.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the other calls may take: nobody waits for what comes of them.
const SHORT_LIMIT: Duration = Duration::from_secs(5);

/// The channels to IAM's servers, and what the loop is told of them.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    /// For what anybody may ask.
    pub(super) public: watch::Receiver<Option<Channel>>,
    /// With the present certificate.
    pub(super) protected: watch::Receiver<Option<Channel>>,
    /// Changes when a call did not get through.
    pub(super) troubles: watch::Sender<u64>,
}

/// Handle of IAM.
#[derive(Clone, Debug)]
pub struct Iam {
    node_info: watch::Receiver<Option<NodeInfo>>,
    identity: watch::Receiver<Option<TlsIdentity>>,
    returns: watch::Receiver<u64>,
    standing: watch::Receiver<PeerState>,
    channels: Channels,
}

impl Iam {
    /// The handle, and the task that has to run behind it. The task ends when
    /// the last handle is gone.
    #[must_use]
    pub fn start(settings: &IamSettings, database: Database) -> (Self, IamTask) {
        let (task, iam) = IamTask::new(settings.clone(), database);
        (iam, task)
    }

    pub(super) fn new(
        node_info: watch::Receiver<Option<NodeInfo>>,
        identity: watch::Receiver<Option<TlsIdentity>>,
        returns: watch::Receiver<u64>,
        standing: watch::Receiver<PeerState>,
        channels: Channels,
    ) -> Self {
        Self {
            node_info,
            identity,
            returns,
            standing,
            channels,
        }
    }

    /// Who the node is; `None` until IAM has told it for the first time.
    #[must_use]
    pub fn node_info(&self) -> watch::Receiver<Option<NodeInfo>> {
        self.node_info.clone()
    }

    /// SM's certificate; `None` until it has been read for the first time.
    #[must_use]
    pub fn identity(&self) -> watch::Receiver<Option<TlsIdentity>> {
        self.identity.clone()
    }

    /// Changes when IAM is reached for the first time, and each time that it is
    /// reached again after a call failed or a connection broke: it may be another
    /// process then, that knows no secret.
    #[must_use]
    pub fn returns(&self) -> watch::Receiver<u64> {
        self.returns.clone()
    }

    /// How we stand with IAM: it is asked each minute.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<PeerState> {
        self.standing.clone()
    }

    /// Registers an instance with what it may do (server, then key and value).
    /// Returns its secret. IAM answers a second registration with the secret and
    /// the permissions of the first.
    ///
    /// # Errors
    ///
    /// IAM refuses, cannot be reached within 5 s, or takes longer than 30 s.
    pub async fn register_instance(
        &self,
        ident: &InstanceIdent,
        permissions: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Result<String, IamError> {
        let request = RegisterInstanceRequest {
            instance: Some(wire_ident(ident)?),
            permissions: permissions
                .iter()
                .map(|(server, permissions)| {
                    let permissions = permissions.clone();
                    (server.clone(), v4::Permissions { permissions })
                })
                .collect(),
        };
        let call = Call {
            name: "RegisterInstance",
            limit: CALL_LIMIT,
            patience: PATIENCE,
        };

        let response = self
            .call(call, &self.channels.protected, |channel| {
                let request = request.clone();
                async move {
                    IamPermissionsServiceClient::new(channel)
                        .register_instance(request)
                        .await
                }
            })
            .await?;

        Ok(response.secret)
    }

    /// Takes the secret of an instance back.
    ///
    /// # Errors
    ///
    /// IAM refuses, or does not answer within 5 s.
    pub async fn unregister_instance(&self, ident: &InstanceIdent) -> Result<(), IamError> {
        let request = UnregisterInstanceRequest {
            instance: Some(wire_ident(ident)?),
        };
        let call = Call {
            name: "UnregisterInstance",
            limit: SHORT_LIMIT,
            patience: Duration::ZERO,
        };

        self.call(call, &self.channels.protected, |channel| {
            let request = request.clone();
            async move {
                IamPermissionsServiceClient::new(channel)
                    .unregister_instance(request)
                    .await
            }
        })
        .await
    }

    /// Whether IAM knows a secret, and what it allows at a server.
    ///
    /// # Errors
    ///
    /// IAM does not answer within 5 s.
    pub async fn knows_secret(&self, secret: &str, server: &str) -> Result<bool, IamError> {
        let request = PermissionsRequest {
            secret: secret.to_owned(),
            functional_server_id: server.to_owned(),
        };
        let call = Call {
            name: "GetPermissions",
            limit: SHORT_LIMIT,
            patience: Duration::ZERO,
        };

        let answer = self.call(call, &self.channels.public, |channel| {
            let request = request.clone();
            async move {
                IamPublicPermissionsServiceClient::new(channel)
                    .get_permissions(request)
                    .await
            }
        });
        match answer.await {
            Ok(_) => Ok(true),
            // IAM's releases do not agree on the code for it.
            Err(IamError::Call { source, .. }) if !source.is_transport() => {
                debug!(error = %Chain(&source), "IAM does not know a secret");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Calls a server of IAM, for a while again and again if it cannot be reached.
    async fn call<T, F>(
        &self,
        call: Call,
        server: &watch::Receiver<Option<Channel>>,
        ask: impl Fn(Channel) -> F,
    ) -> Result<T, IamError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let name = call.name;
        let answer = match timeout(call.limit, call.attempts(server.clone(), ask)).await {
            Ok(answer) => answer,
            Err(_) => Err(IamError::Timeout {
                call: name,
                limit: call.limit,
            }),
        };

        if answer.as_ref().is_err_and(IamError::is_trouble) {
            let troubles = &self.channels.troubles;
            troubles.send_modify(|times| *times = times.wrapping_add(1));
        }
        answer
    }
}

/// A call, and how much it is worth.
#[derive(Clone, Copy, Debug)]
struct Call {
    name: &'static str,
    /// No longer than this in all.
    limit: Duration,
    /// For how long it is tried again when IAM cannot be reached.
    patience: Duration,
}

impl Call {
    async fn attempts<T, F>(
        self,
        mut server: watch::Receiver<Option<Channel>>,
        ask: impl Fn(Channel) -> F,
    ) -> Result<T, IamError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let name = self.name;
        let deadline = Instant::now() + self.patience;
        let mut backoff = Backoff::default();
        loop {
            let known = async { server.wait_for(Option::is_some).await.ok()?.clone() };
            let channel = timeout(PATIENCE, known).await.unwrap_or_default();
            let channel = channel.ok_or(IamError::NoIdentity { call: name })?;

            let source = match ask(channel).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => Refusal::from(status),
            };
            let may_be_repeated = source.is_transport();
            let failed = IamError::Call { call: name, source };
            let delay = backoff.delay(fastrand::f64());
            if !may_be_repeated || Instant::now() + delay > deadline {
                return Err(failed);
            }

            debug!(error = %Chain(&failed), "IAM is called again");
            sleep(delay).await;
        }
    }
}

fn wire_ident(ident: &InstanceIdent) -> Result<v4::InstanceIdent, IamError> {
    Ok(v4::InstanceIdent {
        service_id: ident.service_id.as_str().to_owned(),
        subject_id: ident.subject_id.as_str().to_owned(),
        instance: u64::try_from(ident.index).map_err(|_| IamError::Index { index: ident.index })?,
    })
}
