//! The servers of the unit, with their certificates.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use super::cm::{Cm, Events, accept};
use super::directory::UnitDirectory;
use super::event::Event;
use super::iam::{Facts, Iam};
use super::iam_router::IamRouter;
use super::package_source::file_url;
use crate::cli::ServeArgs;
use crate::wire::sm::sm_service_server::SmServiceServer;

/// Why the unit cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("cannot read {}; run `aosctl unit init` again", path.display())]
    Certificate {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{server} cannot use the certificates of the unit")]
    Tls {
        server: &'static str,
        #[source]
        source: tonic::transport::Error,
    },
    #[error("{server} cannot listen on {address}")]
    Listen {
        server: &'static str,
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{server} has ended")]
    Ended {
        server: &'static str,
        #[source]
        source: tonic::transport::Error,
    },
}

/// Whom to play.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roles {
    pub(crate) cm: bool,
    pub(crate) iam: bool,
}

/// Running servers. Dropped, they end.
#[derive(Debug)]
pub(crate) struct Servers {
    tasks: JoinSet<Result<(), ServeError>>,
    /// Where they can be reached.
    pub(crate) listening: Event,
}

impl Servers {
    /// Starts the servers; when this returns they can be connected to.
    pub(crate) async fn start(
        unit: &UnitDirectory,
        args: &ServeArgs,
        roles: Roles,
        events: Events,
    ) -> Result<Self, ServeError> {
        let identity = Identity::from_pem(read(&unit.server_cert())?, read(&unit.server_key())?);
        let open = ServerTlsConfig::new().identity(identity);
        let mutual = open
            .clone()
            .client_ca_root(Certificate::from_pem(read(&unit.root_cert())?));
        let mut tasks = JoinSet::new();
        let mut servers = Vec::new();

        if roles.cm {
            let server = "CM";
            let listener = listen(server, &unit.addresses.cm).await?;
            servers.extend(listener.local_addr().map(|address| ("cm", address)));
            let builder = builder(server, mutual.clone())?;
            let service = SmServiceServer::new(Cm::new(events.clone()));
            let connections = accept(listener, events.clone());
            tasks.spawn(async move {
                let served = builder.serve_with_incoming(service, connections).await;
                served.map_err(|source| ServeError::Ended { server, source })
            });
        }
        if roles.iam {
            let facts = Facts {
                node_id: args.node_id.clone(),
                node_type: args.node_type.clone(),
                cert_url: file_url(&unit.sm_cert()),
                key_url: file_url(&unit.sm_key()),
            };
            let iam = Iam::new(facts, events);
            let (public, protected) = (IamRouter::public(&iam), IamRouter::protected(&iam));
            let addresses = &unit.addresses;
            for (server, name, address, tls, service) in [
                (
                    "IAM's public server",
                    "iam_public",
                    &addresses.iam_public,
                    open,
                    public,
                ),
                (
                    "IAM's protected server",
                    "iam_protected",
                    &addresses.iam_protected,
                    mutual,
                    protected,
                ),
            ] {
                let listener = listen(server, address).await?;
                servers.extend(listener.local_addr().map(|address| (name, address)));
                let builder = builder(server, tls)?;
                let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
                tasks.spawn(async move {
                    let served = builder.serve_with_incoming(service, connections).await;
                    served.map_err(|source| ServeError::Ended { server, source })
                });
            }
        }
        let listening = Event::Listening { servers };
        Ok(Self { tasks, listening })
    }

    /// Waits for a server to end, which none does by itself.
    pub(crate) async fn ended(&mut self) -> ServeError {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(Err(error))) => return error,
                Some(Err(error)) if error.is_panic() => {
                    std::panic::resume_unwind(error.into_panic())
                }
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

fn builder(server: &'static str, tls: ServerTlsConfig) -> Result<Server, ServeError> {
    Server::builder()
        .tls_config(tls)
        .map_err(|source| ServeError::Tls { server, source })
}

async fn listen(server: &'static str, address: &str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen {
            server,
            address: address.to_owned(),
            source,
        })
}

fn read(path: &Path) -> Result<String, ServeError> {
    fs::read_to_string(path).map_err(|source| ServeError::Certificate {
        path: path.to_owned(),
        source,
    })
}
