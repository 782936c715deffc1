//! What other components ask of IAM.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Response, Status};
use tracing::debug;

use super::task::IamTask;
use super::v4::iam_permissions_service_client::IamPermissionsServiceClient;
use super::v4::{self, RegisterInstanceRequest, UnregisterInstanceRequest};
use super::{IamError, IamSettings};
use crate::model::{Backoff, Chain, InstanceIdent, NodeInfo, TlsIdentity};
use crate::peer::Refusal;
use crate::storage::Database;

/// No call takes longer.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(30);

type PermissionsClient = IamPermissionsServiceClient<Channel>;

/// Handle of IAM.
#[derive(Clone, Debug)]
pub struct Iam {
    node_info: watch::Receiver<Option<NodeInfo>>,
    identity: watch::Receiver<Option<TlsIdentity>>,
    /// To the protected server, with the present certificate.
    protected: watch::Receiver<Option<Channel>>,
}

impl Iam {
    /// The handle, and the task that has to run behind it. The task ends when
    /// the last handle is gone.
    #[must_use]
    pub fn start(settings: &IamSettings, database: Database) -> (Self, IamTask) {
        let (node_info_sender, node_info) = watch::channel(None);
        let (identity_sender, identity) = watch::channel(None);
        let (protected_sender, protected) = watch::channel(None);
        let task = IamTask::new(
            settings.clone(),
            database,
            node_info_sender,
            identity_sender,
            protected_sender,
        );

        (
            Self {
                node_info,
                identity,
                protected,
            },
            task,
        )
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

    /// Registers an instance with what it may do (server, then key and value).
    /// Returns its secret. IAM answers a second registration with the secret and
    /// the permissions of the first.
    ///
    /// # Errors
    ///
    /// IAM refuses, or cannot be reached within 30 s.
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

        let response = self
            .call("RegisterInstance", |mut client| {
                let request = request.clone();
                async move { client.register_instance(request).await }
            })
            .await?;

        Ok(response.secret)
    }

    /// Takes the secret of an instance back.
    ///
    /// # Errors
    ///
    /// IAM refuses, or cannot be reached within 30 s.
    pub async fn unregister_instance(&self, ident: &InstanceIdent) -> Result<(), IamError> {
        let request = UnregisterInstanceRequest {
            instance: Some(wire_ident(ident)?),
        };

        self.call("UnregisterInstance", |mut client| {
            let request = request.clone();
            async move { client.unregister_instance(request).await }
        })
        .await
    }

    /// Calls the protected server, again and again while it cannot be reached.
    async fn call<T, F>(
        &self,
        name: &'static str,
        call: impl Fn(PermissionsClient) -> F,
    ) -> Result<T, IamError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        // What to say when the time is over.
        let mut error = IamError::NoIdentity { call: name };
        let mut protected = self.protected.clone();
        let mut backoff = Backoff::default();

        let attempts = async {
            loop {
                let channel = match protected.wait_for(Option::is_some).await {
                    Ok(channel) => channel.clone(),
                    Err(_) => return Err(IamError::NoIdentity { call: name }),
                };
                let Some(channel) = channel else { continue };

                error = IamError::Timeout { call: name };
                let failure = match call(IamPermissionsServiceClient::new(channel)).await {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(status) => Refusal::from(status),
                };
                let may_be_repeated = failure.is_transport();
                let failed = IamError::Call {
                    call: name,
                    source: failure,
                };
                if !may_be_repeated {
                    return Err(failed);
                }

                debug!(error = %Chain(&failed), "IAM is called again");
                error = failed;
                sleep(backoff.delay(fastrand::f64())).await;
            }
        };

        match timeout(CALL_LIMIT, attempts).await {
            Ok(result) => result,
            Err(_) => Err(error),
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
