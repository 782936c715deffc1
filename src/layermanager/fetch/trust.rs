//! Which servers are trusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::error::AttemptError;
use crate::model::Chain;

/// Reads the system's root certificates and those of the unit. Blocks. Done for
/// each connection, as for the peers: renewed files need no restart.
pub(super) fn client_config(ca_cert: Option<PathBuf>) -> Result<Arc<ClientConfig>, AttemptError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "root certificates of the system that cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_cert {
        add_file(&mut roots, &path);
    }
    if roots.is_empty() {
        return Err(AttemptError::NoRoots);
    }

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| AttemptError::Tls(std::io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A unit without its own root still has the system's.
fn add_file(roots: &mut RootCertStore, path: &Path) {
    let certificates = match CertificateDer::pem_file_iter(path) {
        Ok(certificates) => certificates,
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, error = %Chain(&error), "cannot read root certificates");
            return;
        }
    };
    for certificate in certificates {
        let added = match certificate {
            Ok(certificate) => roots.add(certificate).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = added {
            let path = path.display();
            tracing::warn!(%path, error, "this root certificate cannot be used");
        }
    }
}
