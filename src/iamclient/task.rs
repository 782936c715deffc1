//! The loop that keeps what IAM told up to date.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Response, Status};
use tracing::warn;

use super::handle::CALL_LIMIT;
use super::store::{self, Location, Told};
use super::v4::GetCertRequest;
use super::v4::iam_public_service_client::IamPublicServiceClient;
use super::{CertificateError, IamError, IamSettings, certificate};
use crate::model::{Backoff, Chain, NodeInfo, TlsIdentity};
use crate::peer::{Dialer, PeerError, Refusal, Troubles};
use crate::storage::Database;

/// A renewed certificate is noticed within this time.
const REFRESH: Duration = Duration::from_secs(60);

/// Why what IAM told cannot be used.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// Asks IAM, reads the certificate and publishes both.
pub struct IamTask {
    settings: IamSettings,
    database: Database,
    node_info: watch::Sender<Option<NodeInfo>>,
    identity: watch::Sender<Option<TlsIdentity>>,
    protected: watch::Sender<Option<Channel>>,
    told: Told,
    /// Whether the database has it.
    is_kept: bool,
    /// What the channel to the protected server was made with: SM's certificate
    /// and the root certificate.
    protected_with: Option<(TlsIdentity, Option<Vec<u8>>)>,
    backoff: Backoff,
    troubles: Troubles,
    certificate_troubles: Troubles,
}

impl fmt::Debug for IamTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IamTask")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl IamTask {
    pub(super) fn new(
        settings: IamSettings,
        database: Database,
        node_info: watch::Sender<Option<NodeInfo>>,
        identity: watch::Sender<Option<TlsIdentity>>,
        protected: watch::Sender<Option<Channel>>,
    ) -> Self {
        Self {
            settings,
            database,
            node_info,
            identity,
            protected,
            told: Told::default(),
            is_kept: false,
            protected_with: None,
            backoff: Backoff::default(),
            troubles: Troubles::with("IAM"),
            certificate_troubles: Troubles::with("the certificate of SM"),
        }
    }

    /// Runs until the last handle is gone. No trouble with IAM ends it.
    pub async fn run(mut self) {
        let handles = self.protected.clone();
        tokio::select! {
            () = handles.closed() => {}
            () = self.keep_up_to_date() => {}
        }
    }

    async fn keep_up_to_date(&mut self) {
        match store::load(&self.database).await {
            Ok(told) => {
                self.told = told;
                self.is_kept = true;
            }
            Err(error) => warn!(error = %Chain(&error), "what IAM told before is lost"),
        }
        // Before IAM is asked, which may take long when it is not there.
        self.publish().await;

        loop {
            let delay = match self.ask().await {
                Ok(told) => {
                    self.troubles.over();
                    self.backoff.reset();
                    self.remember(told).await;
                    REFRESH
                }
                Err(error) => {
                    self.troubles.failed(&error);
                    self.backoff.delay(fastrand::f64())
                }
            };
            self.publish().await;
            sleep(delay).await;
        }
    }

    async fn ask(&self) -> Result<Told, IamError> {
        let settings = &self.settings;
        let dialer = Dialer::new(&settings.public_url, &settings.ca_cert, None).await?;
        let mut client = IamPublicServiceClient::new(dialer.connect().await?);

        let node = limited("GetNodeInfo", client.get_node_info(())).await?;
        let certificate = limited(
            "GetCert",
            client.get_cert(GetCertRequest {
                r#type: settings.cert_storage.clone(),
                ..GetCertRequest::default()
            }),
        )
        .await?;

        Ok(Told {
            node_info: Some(NodeInfo {
                node_id: node.node_id,
                node_type: node.node_type,
            }),
            location: Some(Location {
                certificate: certificate.cert_url,
                key: certificate.key_url,
            }),
        })
    }

    async fn remember(&mut self, told: Told) {
        if self.is_kept && self.told == told {
            return;
        }

        let kept = store::save(&self.database, told.clone()).await;
        if let Err(error) = &kept {
            warn!(error = %Chain(error), "what IAM told cannot be kept");
        }
        self.is_kept = kept.is_ok();
        self.told = told;
    }

    /// Publishes what is known and has changed. When the certificate cannot be
    /// used, the old one, if there is one, is as good as before.
    async fn publish(&mut self) {
        publish(&self.node_info, self.told.node_info.as_ref());

        match self.publish_certificate().await {
            Ok(()) => self.certificate_troubles.over(),
            Err(error) => {
                self.certificate_troubles.failed(&error);
            }
        }
    }

    async fn publish_certificate(&mut self) -> Result<(), PublishError> {
        let Some(location) = &self.told.location else {
            return Ok(());
        };
        let identity = certificate::read(location).await?;
        publish(&self.identity, Some(&identity));

        Ok(self.connect_protected(identity).await?)
    }

    /// Makes a new channel to the protected server when one of the certificates
    /// has changed.
    async fn connect_protected(&mut self, identity: TlsIdentity) -> Result<(), PeerError> {
        let root = tokio::fs::read(&self.settings.ca_cert).await.ok();
        let with = Some((identity, root));
        if self.protected_with == with {
            return Ok(());
        }

        let IamSettings {
            protected_url,
            ca_cert,
            ..
        } = &self.settings;
        let identity = with.as_ref().map(|(identity, _)| identity);
        let dialer = Dialer::new(protected_url, ca_cert, identity).await?;
        self.protected.send_replace(Some(dialer.connect_lazy()));
        self.protected_with = with;

        Ok(())
    }
}

async fn limited<T>(
    call: &'static str,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, IamError> {
    match timeout(CALL_LIMIT, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(IamError::Call {
            call,
            source: Refusal::from(status),
        }),
        Err(_) => Err(IamError::Timeout { call }),
    }
}

fn publish<T: Clone + PartialEq>(sender: &watch::Sender<Option<T>>, value: Option<&T>) {
    sender.send_if_modified(|present| {
        let changed = present.as_ref() != value;
        if changed {
            *present = value.cloned();
        }
        changed
    });
}
