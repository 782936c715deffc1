//! Certificates for a unit of one test.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use aos_servicemanager::model::TlsIdentity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// A root of trust with a directory for its files.
pub(crate) struct Authority {
    /// Where the servers of this unit are: an address of this machine that no
    /// other test uses, so that a port that is free stays free.
    pub(crate) host: IpAddr,
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("root.pem"), issuer.pem()).unwrap();

        let host = Ipv4Addr::new(
            127,
            fastrand::u8(1..),
            fastrand::u8(..),
            fastrand::u8(1..255),
        );

        Self {
            host: host.into(),
            issuer,
            directory,
        }
    }

    /// The file of the root certificate.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    /// A new certificate for a peer of that name.
    pub(crate) fn issue(&self, name: &str) -> TlsIdentity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.into()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();

        TlsIdentity {
            certificates: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        }
    }

    /// TLS of a server on this machine; `mutual`: for our own clients only.
    pub(crate) fn server_tls(&self, mutual: bool) -> ServerTlsConfig {
        let TlsIdentity { certificates, key } = self.issue(&self.host.to_string());
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificates, key));

        if mutual {
            tls.client_ca_root(Certificate::from_pem(self.issuer.pem()))
        } else {
            tls
        }
    }
}
