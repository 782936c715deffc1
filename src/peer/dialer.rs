//! One way to connect, for all peers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::lifeline::{Lifeline, Watched};
use crate::model::TlsIdentity;

/// Name look-up, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The kernel probes an idle connection after this time, ...
const PROBE_AFTER: Duration = Duration::from_secs(10);
/// ... again after this, ...
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// ... and gives up after so many probes without an answer.
const PROBES: u32 = 2;
/// Data that is not acknowledged for so long ends the connection too.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// HTTP/2 pings find a peer whose kernel lives but whose process hangs. They are
/// rare because the peers' gRPC library takes more than two within 5 minutes for
/// an attack and ends the connection.
const PING_INTERVAL: Duration = Duration::from_secs(6 * 60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a peer cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The configuration is wrong.
    #[error("server address {0:?} is not host:port")]
    Address(String),
    /// The root certificate is not there.
    #[error("cannot read root certificate {path}")]
    ReadRoot {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The root certificate is not one.
    #[error("root certificate {path} is not a PEM certificate")]
    ParseRoot {
        /// The file.
        path: PathBuf,
        /// Why; `None`: no certificate in it.
        #[source]
        source: Option<pem::Error>,
    },
    /// Root, certificate, key or server name are refused by TLS.
    #[error("cannot set up TLS for {address}")]
    Tls {
        /// The peer.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// No connection, or no trust.
    #[error("cannot connect to {address}")]
    Connect {
        /// The peer.
        address: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Ready to connect to one peer.
#[derive(Debug)]
pub struct Dialer {
    address: String,
    endpoint: Endpoint,
    connector: Watched<HttpConnector>,
}

impl Dialer {
    /// Reads the root certificate and prepares TLS to `address` (`host:port`),
    /// mutual if there is an `identity`.
    ///
    /// # Errors
    ///
    /// The address or one of the certificates cannot be used.
    pub async fn new(
        address: &str,
        root: &Path,
        identity: Option<&TlsIdentity>,
    ) -> Result<Self, PeerError> {
        let host = host(address).ok_or_else(|| PeerError::Address(address.to_owned()))?;
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(read_root(root).await?)
            .domain_name(host);
        if let Some(identity) = identity {
            tls = tls.identity(Identity::from_pem(&identity.certificates, &identity.key));
        }

        let endpoint = Endpoint::from_shared(format!("https://{address}"))
            .and_then(|endpoint| endpoint.tls_config(tls))
            .map_err(|source| PeerError::Tls {
                address: address.to_owned(),
                source,
            })?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);

        Ok(Self {
            address: address.to_owned(),
            endpoint,
            connector: Watched {
                connector: connector(),
                lifeline: None,
            },
        })
    }

    /// Has each connection say when it ends.
    #[must_use]
    pub fn watched_by(mut self, lifeline: Lifeline) -> Self {
        self.connector.lifeline = Some(lifeline);
        self
    }

    /// Connects now.
    ///
    /// # Errors
    ///
    /// The peer does not answer within 10 s, or one of the two does not trust
    /// the other.
    pub async fn connect(self) -> Result<Channel, PeerError> {
        self.endpoint
            .connect_with_connector(self.connector)
            .await
            .map_err(|source| PeerError::Connect {
                address: self.address,
                source,
            })
    }

    /// Connects with the first call, and again whenever the connection is lost.
    #[must_use]
    pub fn connect_lazy(self) -> Channel {
        self.endpoint.connect_with_connector_lazy(self.connector)
    }
}

/// The server's name in its certificate.
fn host(address: &str) -> Option<&str> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(ipv6) => ipv6.strip_suffix(']')?,
        None if host.contains([':', '/', '@']) => return None,
        None => host,
    };

    (!host.is_empty() && port != 0).then_some(host)
}

async fn read_root(path: &Path) -> Result<Certificate, PeerError> {
    let pem = tokio::fs::read(path)
        .await
        .map_err(|source| PeerError::ReadRoot {
            path: path.to_owned(),
            source,
        })?;

    match CertificateDer::pem_slice_iter(&pem).next() {
        Some(Ok(_)) => Ok(Certificate::from_pem(pem)),
        Some(Err(source)) => Err(PeerError::ParseRoot {
            path: path.to_owned(),
            source: Some(source),
        }),
        None => Err(PeerError::ParseRoot {
            path: path.to_owned(),
            source: None,
        }),
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // TLS is laid over it.
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(PROBE_AFTER));
    connector.set_keepalive_interval(Some(PROBE_INTERVAL));
    connector.set_keepalive_retries(Some(PROBES));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Chain;

    #[test]
    fn host_of_a_good_address() {
        assert_eq!(host("aoscm:8093"), Some("aoscm"));
        assert_eq!(host("127.0.0.1:1"), Some("127.0.0.1"));
        assert_eq!(host("[::1]:8093"), Some("::1"));
    }

    #[test]
    fn no_host_of_a_bad_address() {
        for address in [
            "",
            "aoscm",
            ":8093",
            "aoscm:",
            "aoscm:0",
            "aoscm:65536",
            "https://aoscm:8093",
            "::1:8093",
            "[::1:8093",
        ] {
            assert_eq!(host(address), None, "{address}");
        }
    }

    #[tokio::test]
    async fn missing_root_certificate_is_named() {
        let missing = Path::new("/does/not/exist.pem");

        let error = Dialer::new("cm:1", missing, None).await.unwrap_err();

        let text = Chain(&error).to_string();
        assert!(
            text.starts_with("cannot read root certificate /does/not/exist.pem: "),
            "{text}"
        );
    }

    #[tokio::test]
    async fn file_without_certificate_is_no_root() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello").unwrap();

        let error = Dialer::new("cm:1", file.path(), None).await.unwrap_err();

        assert!(matches!(error, PeerError::ParseRoot { source: None, .. }));
    }
}
