//! From the URLs that IAM gives to a certificate and key that fit together.

use std::io;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::store::Location;
use crate::model::TlsIdentity;

/// Why SM's certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// IAM gave something else than a URL of a file. The URL may hold a PIN and
    /// is not shown.
    #[error("keys and certificates with {scheme}: URLs are not supported yet")]
    Unsupported {
        /// What is before the colon.
        scheme: String,
    },
    /// IAM gave no usable URL.
    #[error("{url:?} is not a URL of an absolute path")]
    Url {
        /// What it gave.
        url: String,
    },
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is not PEM, or holds nothing of the kind.
    #[error("{path} holds no {what}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is looked for.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The key is of an unknown kind, or of another certificate: perhaps one of
    /// the two is renewed and the other not yet.
    #[error("key {key} does not fit certificate {certificate}")]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// Reads certificate chain and key. They may be in one file.
pub(super) async fn read(location: &Location) -> Result<TlsIdentity, CertificateError> {
    let certificate_path = path(&location.certificate)?;
    let key_path = path(&location.key)?;
    let certificates = read_file(&certificate_path).await?;
    let key = read_file(&key_path).await?;

    let chain = chain(&certificate_path, &certificates)?;
    let private_key =
        PrivateKeyDer::from_pem_slice(&key).map_err(|source| CertificateError::Parse {
            path: key_path.clone(),
            what: "private key",
            source,
        })?;
    CertifiedKey::from_der(chain, private_key, &ring::default_provider()).map_err(|source| {
        CertificateError::Pair {
            certificate: certificate_path,
            key: key_path,
            source,
        }
    })?;

    Ok(TlsIdentity { certificates, key })
}

fn chain(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let parse = |source| CertificateError::Parse {
        path: path.to_owned(),
        what: "certificate",
        source,
    };
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(parse)?;

    if chain.is_empty() {
        return Err(parse(pem::Error::NoItemsFound));
    }
    Ok(chain)
}

async fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    tokio::fs::read(path)
        .await
        .map_err(|source| CertificateError::Read {
            path: path.to_owned(),
            source,
        })
}

/// The path in a `file:` URL.
fn path(url: &str) -> Result<PathBuf, CertificateError> {
    let bad = || CertificateError::Url {
        url: url.to_owned(),
    };
    let (scheme, rest) = url.split_once(':').ok_or_else(bad)?;
    if !scheme.eq_ignore_ascii_case("file") {
        return Err(CertificateError::Unsupported {
            scheme: scheme.to_owned(),
        });
    }

    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
        None => rest,
    };
    let path = percent_decode_str(path).decode_utf8().map_err(|_| bad())?;

    if path.starts_with('/') && !path.contains('\0') {
        Ok(PathBuf::from(path.as_ref()))
    } else {
        Err(bad())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey as Generated, KeyPair};
    use tempfile::TempDir;

    use super::*;
    use crate::model::Chain;

    fn generate() -> Generated<KeyPair> {
        rcgen::generate_simple_self_signed(vec!["sm".into()]).unwrap()
    }

    /// Writes two files and tells where they are.
    fn files(directory: &TempDir, certificate: &str, key: &str) -> Location {
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            format!("file://{}", path.display())
        };

        Location {
            certificate: write("cert.pem", certificate),
            key: write("key.pem", key),
        }
    }

    #[tokio::test]
    async fn certificate_and_its_key_are_read() {
        let directory = TempDir::new().unwrap();
        let pair = generate();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());

        let identity = read(&files(&directory, &certificate, &key)).await.unwrap();

        assert_eq!(identity.certificates, certificate.as_bytes());
        assert_eq!(identity.key, key.as_bytes());
    }

    #[tokio::test]
    async fn one_file_may_hold_both() {
        let directory = TempDir::new().unwrap();
        let pair = generate();
        let both = pair.signing_key.serialize_pem() + &pair.cert.pem();

        assert!(read(&files(&directory, &both, &both)).await.is_ok());
    }

    #[tokio::test]
    async fn keys_of_older_forms_are_read() {
        // Made for this test alone: rcgen writes neither form.
        for pem in [
            include_str!("testdata/ec.pem"),
            include_str!("testdata/rsa.pem"),
        ] {
            let directory = TempDir::new().unwrap();

            let identity = read(&files(&directory, pem, pem)).await;

            assert!(identity.is_ok(), "{identity:?}");
        }
    }

    #[tokio::test]
    async fn key_of_another_certificate_is_refused() {
        let directory = TempDir::new().unwrap();
        let location = files(
            &directory,
            &generate().cert.pem(),
            &generate().signing_key.serialize_pem(),
        );

        let error = read(&location).await.unwrap_err();

        assert!(matches!(error, CertificateError::Pair { .. }), "{error}");
    }

    #[tokio::test]
    async fn file_without_certificate_or_key_is_named() {
        let directory = TempDir::new().unwrap();
        let pair = generate();
        let key = pair.signing_key.serialize_pem();

        let no_certificate = read(&files(&directory, &key, &key)).await.unwrap_err();
        let no_key = read(&files(&directory, &pair.cert.pem(), ""))
            .await
            .unwrap_err();

        assert!(
            no_certificate
                .to_string()
                .ends_with("cert.pem holds no certificate")
        );
        assert!(no_key.to_string().ends_with("key.pem holds no private key"));
    }

    #[tokio::test]
    async fn missing_file_is_named_with_its_cause() {
        let location = Location {
            certificate: "file:///does/not/exist".into(),
            key: "file:///does/not/exist".into(),
        };

        let error = read(&location).await.unwrap_err();

        let text = Chain(&error).to_string();
        assert!(text.starts_with("cannot read /does/not/exist: "), "{text}");
    }

    #[test]
    fn path_of_a_file_url() {
        assert_eq!(path("file:///a/b.pem").unwrap(), Path::new("/a/b.pem"));
        assert_eq!(path("file:/a/b.pem").unwrap(), Path::new("/a/b.pem"));
        assert_eq!(path("FILE://localhost/a").unwrap(), Path::new("/a"));
        assert_eq!(path("file:///a%20b").unwrap(), Path::new("/a b"));
    }

    #[test]
    fn other_urls_are_refused_without_showing_a_pin() {
        for url in ["", "/a", "file:", "file:a", "file://other/a", "file:///%00"] {
            assert!(
                matches!(path(url), Err(CertificateError::Url { .. })),
                "{url}"
            );
        }
        for (url, scheme) in [
            ("pkcs11:token=t?pin-value=1234", "pkcs11"),
            ("tpm:0x81", "tpm"),
        ] {
            assert_eq!(
                path(url).unwrap_err().to_string(),
                format!("keys and certificates with {scheme}: URLs are not supported yet")
            );
        }
    }
}
