//! The directory of a unit: addresses, certificates, SM's configuration.
//!
//! `unit.json` holds the addresses of the last `init`, so that the other
//! commands need only the directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::certs::{Authority, CertError, write};
use crate::cli::InitArgs;

const ADDRESSES_FILE: &str = "unit.json";
const CONFIG_FILE: &str = "aos_servicemanager.cfg";
const DEFAULT_WORKING_DIR: &str = "/var/aos/workdirs/sm";

/// The type of certificate that SM asks IAM for.
const CERT_STORAGE: &str = "sm";

/// Why a unit's directory cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    /// The directory itself.
    #[error("cannot make the directory {}", path.display())]
    Create {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Never made.
    #[error("{} is not the directory of a unit; make it with `aosctl unit init`", path.display())]
    NotAUnit {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file with strange content.
    #[error("{} is damaged; correct or remove it", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// A file that cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Not `HOST:PORT`.
    #[error("`{0}` is not an address of the form HOST:PORT")]
    BadAddress(String),
    /// Certificates.
    #[error(transparent)]
    Certificates(#[from] CertError),
}

/// Where the servers listen, and where SM finds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) cm: String,
    pub(crate) iam_public: String,
    pub(crate) iam_protected: String,
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            cm: "127.0.0.1:8093".to_owned(),
            iam_public: "127.0.0.1:8090".to_owned(),
            iam_protected: "127.0.0.1:8089".to_owned(),
        }
    }
}

/// Paths of the unit's files; absolute, since SM is told of some.
#[derive(Clone, Debug)]
pub(crate) struct UnitDirectory {
    root: PathBuf,
    pub(crate) addresses: Addresses,
}

impl UnitDirectory {
    /// Makes what is missing and keeps what is there.
    pub(crate) fn init(args: &InitArgs) -> Result<Self, DirectoryError> {
        fs::create_dir_all(&args.dir)
            .and_then(|()| args.dir.canonicalize())
            .map_err(|source| DirectoryError::Create {
                path: args.dir.clone(),
                source,
            })
            .and_then(|root| Self::fill(root, args))
    }

    fn fill(root: PathBuf, args: &InitArgs) -> Result<Self, DirectoryError> {
        let stored: Option<Addresses> = read_json(&root.join(ADDRESSES_FILE))?;
        let mut addresses = stored.clone().unwrap_or_default();
        for (wanted, address) in [
            (&args.cm, &mut addresses.cm),
            (&args.iam_public, &mut addresses.iam_public),
            (&args.iam_protected, &mut addresses.iam_protected),
        ] {
            if let Some(wanted) = wanted {
                address.clone_from(wanted);
            }
        }
        let hosts = hosts_of(&addresses)?;
        let unit = Self { root, addresses };

        let authority = Authority::open(&unit.root_cert(), &unit.path("rootCA.key"))?;
        let made_for_others = match &stored {
            Some(stored) => hosts_of(stored)? != hosts,
            None => true,
        };
        if authority.is_new || made_for_others || !is_pair(&unit.server_cert(), &unit.server_key())
        {
            authority.make_server(&hosts, &unit.server_cert(), &unit.server_key())?;
        }
        if authority.is_new || !is_pair(&unit.sm_cert(), &unit.sm_key()) {
            authority.make_client(&unit.sm_cert(), &unit.sm_key())?;
        }
        unit.write_config(args.working_dir.as_deref())?;
        // Last: a unit with addresses has all the rest.
        let text = pretty(&unit.addresses);
        write(&unit.path(ADDRESSES_FILE), &text, 0o644)?;
        Ok(unit)
    }

    /// Opens a directory that `init` has made.
    pub(crate) fn open(dir: &Path) -> Result<Self, DirectoryError> {
        let not_a_unit = |source| DirectoryError::NotAUnit {
            path: dir.to_owned(),
            source,
        };
        let root = dir.canonicalize().map_err(not_a_unit)?;
        let addresses = read_json(&root.join(ADDRESSES_FILE))?
            .ok_or_else(|| not_a_unit(io::ErrorKind::NotFound.into()))?;
        Ok(Self { root, addresses })
    }

    /// Sets the keys that the unit decides, and keeps all others: the file
    /// may have been edited.
    fn write_config(&self, working_dir: Option<&Path>) -> Result<(), DirectoryError> {
        let path = self.config();
        let mut config: Map<String, Value> = read_json(&path)?.unwrap_or_default();
        let text = |path: &Path| Value::from(path.to_string_lossy());
        config.insert("caCert".into(), text(&self.root_cert()));
        config.insert("certStorage".into(), CERT_STORAGE.into());
        for (key, address) in [
            ("cmServerUrl", &self.addresses.cm),
            ("iamPublicServerUrl", &self.addresses.iam_public),
            ("iamProtectedServerUrl", &self.addresses.iam_protected),
        ] {
            config.insert(key.into(), address.as_str().into());
        }
        match working_dir {
            Some(dir) => {
                config.insert("workingDir".into(), text(dir));
            }
            None => {
                config
                    .entry("workingDir")
                    .or_insert_with(|| DEFAULT_WORKING_DIR.into());
            }
        }
        Ok(write(&path, &pretty(&config), 0o644)?)
    }

    pub(crate) fn root_cert(&self) -> PathBuf {
        self.path("rootCA.pem")
    }

    pub(crate) fn server_cert(&self) -> PathBuf {
        self.path("server.pem")
    }

    pub(crate) fn server_key(&self) -> PathBuf {
        self.path("server.key")
    }

    pub(crate) fn sm_cert(&self) -> PathBuf {
        self.path("sm.pem")
    }

    pub(crate) fn sm_key(&self) -> PathBuf {
        self.path("sm.key")
    }

    /// SM's configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.path(CONFIG_FILE)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

fn is_pair(cert: &Path, key: &Path) -> bool {
    cert.exists() && key.exists()
}

/// The names under which the servers are reached.
fn hosts_of(addresses: &Addresses) -> Result<Vec<String>, DirectoryError> {
    let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    for address in [
        &addresses.cm,
        &addresses.iam_public,
        &addresses.iam_protected,
    ] {
        let bad = || DirectoryError::BadAddress(address.clone());
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        port.parse::<u16>().map_err(|_| bad())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(bad());
        }
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }
    Ok(hosts)
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>, DirectoryError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(DirectoryError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let value = serde_json::from_str(&text).map_err(|source| DirectoryError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(value))
}

fn pretty(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("its keys are strings");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &Path) -> InitArgs {
        InitArgs {
            dir: dir.to_owned(),
            cm: None,
            iam_public: None,
            iam_protected: None,
            working_dir: None,
        }
    }

    fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn config(dir: &Path) -> Value {
        serde_json::from_slice(&fs::read(dir.join(CONFIG_FILE)).unwrap()).unwrap()
    }

    #[test]
    fn second_init_changes_no_file() {
        let dir = tempfile::tempdir().unwrap();
        UnitDirectory::init(&args(dir.path())).unwrap();
        let before = files(dir.path());

        UnitDirectory::init(&args(dir.path())).unwrap();

        assert_eq!(before.len(), 8);
        assert_eq!(files(dir.path()), before);
    }

    #[test]
    fn configuration_points_at_the_unit_and_keeps_what_was_edited() {
        let dir = tempfile::tempdir().unwrap();
        UnitDirectory::init(&args(dir.path())).unwrap();
        let mut edited = config(dir.path());
        edited["serviceTtlDays"] = 3.into();
        edited["cmServerUrl"] = "elsewhere:1".into();
        fs::write(dir.path().join(CONFIG_FILE), edited.to_string()).unwrap();

        UnitDirectory::init(&InitArgs {
            cm: Some("aoscm:9000".to_owned()),
            working_dir: Some("/data/sm".into()),
            ..args(dir.path())
        })
        .unwrap();

        let config = config(dir.path());
        assert_eq!(config["serviceTtlDays"], 3);
        assert_eq!(config["cmServerUrl"], "aoscm:9000");
        assert_eq!(config["workingDir"], "/data/sm");
        assert_eq!(config["iamPublicServerUrl"], "127.0.0.1:8090");
    }

    #[test]
    fn addresses_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        UnitDirectory::init(&InitArgs {
            cm: Some("127.0.0.1:7".to_owned()),
            ..args(dir.path())
        })
        .unwrap();

        let again = UnitDirectory::init(&args(dir.path())).unwrap();
        let opened = UnitDirectory::open(dir.path()).unwrap();

        assert_eq!(again.addresses.cm, "127.0.0.1:7");
        assert_eq!(opened.addresses, again.addresses);
    }

    #[test]
    fn new_host_gets_a_new_server_certificate_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let unit = UnitDirectory::init(&args(dir.path())).unwrap();
        let server = fs::read(unit.server_cert()).unwrap();
        let sm = fs::read(unit.sm_cert()).unwrap();

        UnitDirectory::init(&InitArgs {
            cm: Some("aoscm:8093".to_owned()),
            ..args(dir.path())
        })
        .unwrap();

        assert_ne!(fs::read(unit.server_cert()).unwrap(), server);
        assert_eq!(fs::read(unit.sm_cert()).unwrap(), sm);
    }

    #[test]
    fn address_without_port_is_refused() {
        let dir = tempfile::tempdir().unwrap();

        let error = UnitDirectory::init(&InitArgs {
            iam_public: Some("localhost".to_owned()),
            ..args(dir.path())
        })
        .unwrap_err();

        assert!(error.to_string().contains("`localhost`"), "{error}");
    }

    #[test]
    fn directory_without_init_is_refused_with_a_hint() {
        let dir = tempfile::tempdir().unwrap();

        let error = UnitDirectory::open(dir.path()).unwrap_err();

        assert!(error.to_string().contains("aosctl unit init"), "{error}");
    }
}
