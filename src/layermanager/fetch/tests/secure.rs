//! Servers that speak TLS.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use super::ground::{Ground, id_of, noise, patience};
use super::server::{Reply, Server};

/// An authority of the unit, and where its certificate is.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// What a server with this name and time needs.
    fn acceptor(&self, name: &str, expired: bool) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

#[tokio::test]
async fn authority_of_the_unit_is_trusted() {
    let authority = Authority::new("unit");
    let content = noise(500_000);
    let file = content.clone();
    let server = Server::with(Some(authority.acceptor("127.0.0.1", false)), move |asked| {
        let reply = Reply::file(asked, &file, "\"a\"");
        if asked.offset() == 0 {
            reply.without_last(100_000)
        } else {
            reply
        }
    })
    .await;
    let ground = Ground::with(patience(), Some(authority.path()));

    let bytes = ground.install(&server.url(), &id_of(&content)).await;

    assert_eq!(bytes, Ok(content));
    assert_eq!(server.offsets(), [0, 400_000]);
}

#[tokio::test]
async fn server_that_is_not_trusted_is_told_at_once() {
    let (authority, stranger) = (Authority::new("unit"), Authority::new("stranger"));
    for (acceptor, reason) in [
        (stranger.acceptor("127.0.0.1", false), "UnknownIssuer"),
        (authority.acceptor("127.0.0.2", false), "not valid for name"),
    ] {
        let server = Server::with(Some(acceptor), |_| Reply::status("404 Not Found")).await;
        let ground = Ground::with(patience(), Some(authority.path()));

        let told = ground
            .install(&server.url(), &id_of(b"package"))
            .await
            .unwrap_err();

        assert!(told.starts_with("no TLS with the server: "), "{told}");
        assert!(told.contains(reason), "{told}");
        assert!(server.asked().is_empty());
    }
}

#[tokio::test]
async fn certificate_whose_time_is_not_now_is_tried_again() {
    let authority = Authority::new("unit");
    let acceptor = authority.acceptor("127.0.0.1", true);
    let server = Server::with(Some(acceptor), |_| Reply::status("404 Not Found")).await;
    let ground = Ground::with(patience(), Some(authority.path()));

    let told = ground
        .install(&server.url(), &id_of(b"package"))
        .await
        .unwrap_err();

    assert!(
        told.starts_with("no progress in 4 attempts")
            && told.contains("s: no TLS with the server: "),
        "{told}"
    );
}

#[tokio::test]
async fn server_without_tls_is_not_talked_to() {
    let server = Server::of(b"package").await;
    let authority = Authority::new("unit");
    let ground = Ground::with(patience(), Some(authority.path()));
    let url = server.url().replace("http:", "https:");

    let told = ground.install(&url, &id_of(b"package")).await.unwrap_err();

    assert!(told.contains("no TLS with the server"), "{told}");
}

#[tokio::test]
async fn redirect_from_tls_to_none_is_refused() {
    let authority = Authority::new("unit");
    let acceptor = authority.acceptor("127.0.0.1", false);
    let server = Server::with(Some(acceptor), |_| {
        Reply::new(
            "302 Found",
            &[("Location", "http://127.0.0.1/a".into())],
            b"",
        )
    })
    .await;
    let ground = Ground::with(patience(), Some(authority.path()));

    let told = ground.install(&server.url(), &id_of(b"package")).await;

    assert_eq!(told, Err("redirect from https to http is refused".into()));
}

#[tokio::test]
async fn authority_that_cannot_be_read_leaves_the_system_s() {
    let authority = Authority::new("unit");
    let acceptor = authority.acceptor("127.0.0.1", false);
    let server = Server::with(Some(acceptor), |_| Reply::status("404 Not Found")).await;
    let broken = authority.directory.path().join("broken.pem");
    std::fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    for path in [PathBuf::from("/missing/ca.pem"), broken] {
        let ground = Ground::with(patience(), Some(path));

        let told = ground
            .install(&server.url(), &id_of(b"package"))
            .await
            .unwrap_err();

        let reasons = [
            "UnknownIssuer",
            "no root certificates, neither of the system nor of the unit",
        ];
        assert!(reasons.iter().any(|reason| told.contains(reason)), "{told}");
    }
}
