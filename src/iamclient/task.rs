//! The loop that keeps what IAM told up to date.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Response, Status};
use tracing::warn;

use super::Iam;
use super::handle::{CALL_LIMIT, Channels};
use super::store::{self, Location, Told};
use super::v4::GetCertRequest;
use super::v4::iam_public_service_client::IamPublicServiceClient;
use super::{CertificateError, IamError, IamSettings, certificate};
use crate::model::{Backoff, Chain, NodeInfo, TlsIdentity};
use crate::peer::{Dialer, Lifeline, PeerError, Refusal, Standing, Troubles};
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
    public: watch::Sender<Option<Channel>>,
    protected: watch::Sender<Option<Channel>>,
    /// How often IAM was reached again after a trouble.
    returns: watch::Sender<u64>,
    /// Calls that did not get through, and connections that broke.
    broken: watch::Sender<u64>,
    told: Told,
    /// Whether the database has it.
    is_kept: bool,
    /// What the channel to the protected server was made with: SM's certificate
    /// and the root certificate.
    protected_with: Option<(TlsIdentity, Option<Vec<u8>>)>,
    /// The root certificate that the channel to the public server was made with.
    public_with: Option<Vec<u8>>,
    /// What others think they know of IAM may be wrong.
    is_news: bool,
    /// Somebody waits for the protected server.
    is_waited_for: bool,
    backoff: Backoff,
    troubles: Troubles,
    standing: Standing,
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
    pub(super) fn new(settings: IamSettings, database: Database) -> (Self, Iam) {
        let (node_info, known_node) = watch::channel(None);
        let (identity, known_identity) = watch::channel(None);
        let (returns, known_returns) = watch::channel(0);
        let (public, public_channel) = watch::channel(None);
        let (protected, protected_channel) = watch::channel(None);
        let broken = watch::Sender::new(0);
        let channels = Channels {
            public: public_channel,
            protected: protected_channel,
            troubles: broken.clone(),
        };
        let standing = Standing::default();
        let iam = Iam::new(
            known_node,
            known_identity,
            known_returns,
            standing.watch(),
            channels,
        );
        let task = Self {
            settings,
            database,
            node_info,
            identity,
            public,
            protected,
            returns,
            broken,
            told: Told::default(),
            is_kept: false,
            protected_with: None,
            public_with: None,
            is_news: true,
            is_waited_for: false,
            backoff: Backoff::default(),
            troubles: Troubles::with("IAM"),
            standing,
            certificate_troubles: Troubles::with("the certificate of SM"),
        };

        (task, iam)
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

        let mut broken = self.broken.subscribe();
        loop {
            self.standing.trying();
            let delay = match self.look().await {
                Ok(()) => {
                    self.troubles.over();
                    self.standing.connected();
                    self.is_waited_for = false;
                    if std::mem::take(&mut self.is_news) {
                        self.returns
                            .send_modify(|times| *times = times.wrapping_add(1));
                    }
                    // What breaks right after IAM has answered is looked at again, but
                    // not over and over at once.
                    if timeout(REFRESH, broken.changed()).await.is_err() {
                        self.backoff.reset();
                        continue;
                    }
                    self.is_news = true;
                    self.is_waited_for = true;
                    self.backoff.delay(fastrand::f64())
                }
                Err(error) => {
                    self.is_news = true;
                    self.troubles.failed(&error);
                    let delay = self.backoff.delay(fastrand::f64());
                    self.standing.failed(&error, delay);
                    delay
                }
            };
            sleep(delay).await;
            // What broke until now is part of the same trouble.
            self.is_waited_for |= broken.has_changed().unwrap_or_default();
            broken.mark_unchanged();
        }
    }

    /// Asks IAM and publishes what it told.
    async fn look(&mut self) -> Result<(), IamError> {
        let asked = self.ask().await;
        let outcome = match asked {
            Ok(told) => {
                self.remember(told).await;
                Ok(())
            }
            Err(error) => Err(error),
        };
        self.publish().await;
        outcome?;

        self.watch_public().await?;
        if self.is_waited_for {
            self.reach_protected().await?;
        }
        Ok(())
    }

    /// Whether a connection to the protected server can be made, for those who
    /// wait for it.
    async fn reach_protected(&self) -> Result<(), IamError> {
        let identity = self.identity.borrow().clone();
        let identity = identity.ok_or(IamError::NoIdentity { call: "any" })?;
        let IamSettings {
            protected_url,
            ca_cert,
            ..
        } = &self.settings;
        let dialer = Dialer::new(protected_url, ca_cert, Some(&identity)).await?;
        dialer.connect().await?;

        Ok(())
    }

    /// Makes a new channel for questions about secrets when the root certificate
    /// has changed.
    async fn watch_public(&mut self) -> Result<(), IamError> {
        let IamSettings {
            public_url,
            ca_cert,
            ..
        } = &self.settings;
        let root = tokio::fs::read(ca_cert).await.ok();
        if self.public_with.is_some() && self.public_with == root {
            return Ok(());
        }

        let dialer = Dialer::new(public_url, ca_cert, None).await?;
        let channel = dialer.watched_by(self.lifeline()).connect_lazy();
        self.public.send_replace(Some(channel));
        self.public_with = root;

        Ok(())
    }

    fn lifeline(&self) -> Lifeline {
        Lifeline::new(self.broken.clone())
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
        let channel = dialer.watched_by(self.lifeline()).connect_lazy();
        self.protected.send_replace(Some(channel));
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
        Err(_) => Err(IamError::Timeout {
            call,
            limit: CALL_LIMIT,
        }),
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
