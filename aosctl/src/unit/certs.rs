//! Certificates of the unit: a root, one for the servers, one for SM.
//!
//! What exists is kept. The root's parameters never change, so its stored key
//! is enough to sign more.

use std::fs;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertError {
    /// The file system refused.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file system refused.
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The root's key cannot be used.
    #[error("{} is not a private key; remove it to start anew", path.display())]
    BadKey {
        path: PathBuf,
        #[source]
        source: rcgen::Error,
    },
    /// A name that no certificate can carry.
    #[error("cannot make a certificate for {name}")]
    Make {
        name: &'static str,
        #[source]
        source: rcgen::Error,
    },
}

/// The root that signs the others.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Made just now: what an older root has signed is worthless.
    pub(crate) is_new: bool,
}

impl Authority {
    /// Takes the root of `cert` and `key`, or makes it.
    pub(crate) fn open(cert: &Path, key: &Path) -> Result<Self, CertError> {
        if cert.exists() && key.exists() {
            let text = fs::read_to_string(key).map_err(|source| CertError::Read {
                path: key.to_owned(),
                source,
            })?;
            let pair = KeyPair::from_pem(&text).map_err(|source| CertError::BadKey {
                path: key.to_owned(),
                source,
            })?;
            return Ok(Self {
                issuer: Issuer::new(root_params()?, pair),
                is_new: false,
            });
        }

        let name = "the root";
        let pair = KeyPair::generate().map_err(|source| CertError::Make { name, source })?;
        let params = root_params()?;
        let root = params
            .self_signed(&pair)
            .map_err(|source| CertError::Make { name, source })?;
        write_private(key, &pair.serialize_pem())?;
        write(cert, &root.pem(), 0o644)?;
        Ok(Self {
            issuer: Issuer::new(params, pair),
            is_new: true,
        })
    }

    /// Makes a certificate for servers reached under `hosts`.
    pub(crate) fn make_server(
        &self,
        hosts: &[String],
        cert: &Path,
        key: &Path,
    ) -> Result<(), CertError> {
        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        self.make("the servers", hosts, usage, cert, key)
    }

    /// Makes a certificate for a client.
    pub(crate) fn make_client(&self, cert: &Path, key: &Path) -> Result<(), CertError> {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        self.make("SM", &["localhost".to_owned()], usage, cert, key)
    }

    fn make(
        &self,
        name: &'static str,
        hosts: &[String],
        usage: ExtendedKeyUsagePurpose,
        cert: &Path,
        key: &Path,
    ) -> Result<(), CertError> {
        let failed = |source| CertError::Make { name, source };
        let mut params = CertificateParams::new(hosts).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params.extended_key_usages.push(usage);

        let pair = KeyPair::generate().map_err(failed)?;
        let signed = params.signed_by(&pair, &self.issuer).map_err(failed)?;
        write_private(key, &pair.serialize_pem())?;
        write(cert, &signed.pem(), 0o644)
    }
}

/// The same each time; without an end that a device could reach, since it may
/// have no clock.
fn root_params() -> Result<CertificateParams, CertError> {
    let mut params = CertificateParams::new([]).map_err(|source| CertError::Make {
        name: "the root",
        source,
    })?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "aosctl unit root");
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    Ok(params)
}

fn write_private(path: &Path, text: &str) -> Result<(), CertError> {
    write(path, text, 0o600)
}

/// Writes beside and renames: a file is whole or not there, and its mode is
/// right from its first byte on.
pub(crate) fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertError> {
    let failed = |source| CertError::Write {
        path: path.to_owned(),
        source,
    };
    let beside = path.with_added_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&beside, path))
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn keys_can_be_read_by_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name);

        let root = Authority::open(&path("ca.pem"), &path("ca.key")).unwrap();
        root.make_client(&path("sm.pem"), &path("sm.key")).unwrap();

        assert_eq!(mode(&path("ca.key")), 0o600);
        assert_eq!(mode(&path("sm.key")), 0o600);
        assert_eq!(mode(&path("sm.pem")), 0o644);
    }

    #[test]
    fn a_stored_root_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name);
        let first = Authority::open(&path("ca.pem"), &path("ca.key")).unwrap();
        let cert = fs::read(path("ca.pem")).unwrap();

        let second = Authority::open(&path("ca.pem"), &path("ca.key")).unwrap();

        assert!(first.is_new);
        assert!(!second.is_new);
        assert_eq!(fs::read(path("ca.pem")).unwrap(), cert);
    }

    #[test]
    fn a_damaged_key_of_the_root_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name);
        drop(Authority::open(&path("ca.pem"), &path("ca.key")).unwrap());
        fs::write(path("ca.key"), "no key").unwrap();

        let error = Authority::open(&path("ca.pem"), &path("ca.key"))
            .err()
            .unwrap();

        assert!(error.to_string().contains("ca.key is not a private key"));
    }
}
