//! Registration of instances with IAM.
//!
//! A file stands for each registration, from before IAM is asked for it until IAM
//! has taken it back: nothing is forgotten whenever SM ends. A stop does not wait
//! for an IAM that is away; who is gone by then is told as soon as it is back.
//! The secret itself is in the instance's `config.json` alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tokio::sync::RwLock;
use tracing::{debug, info, warn};

use super::LinuxHost;
use super::directories::{blocking, failed, ids_in, private_directory};
use crate::launcher::files::{remove_file, write_file};
use crate::launcher::{Blueprint, HostError, Target};
use crate::model::{Chain, InstanceId, InstanceIdent};

/// Those who are gone without IAM's knowing, below the registrations.
const GONE: &str = "gone";

/// The variable that holds the secret.
const SECRET: &str = "AOS_SECRET=";

/// Where registrations are noted.
#[derive(Debug)]
pub(super) struct Registrations {
    /// One file for each instance that IAM knows, with its ident.
    pub(super) known: PathBuf,
    gone: PathBuf,
    /// IAM knows instances by their idents, which come again under other ids:
    /// nobody is registered while one who is gone is taken back.
    turns: RwLock<()>,
}

impl Registrations {
    pub(super) fn below(run_dir: &Path) -> Result<Self, HostError> {
        let known = private_directory(run_dir, "registered")?;
        Ok(Self {
            gone: private_directory(&known, GONE)?,
            known,
            turns: RwLock::default(),
        })
    }

    fn marker(&self, id: InstanceId) -> PathBuf {
        self.known.join(id.to_string())
    }

    fn gone(&self, id: InstanceId) -> PathBuf {
        self.gone.join(id.to_string())
    }
}

type Permissions = BTreeMap<String, BTreeMap<String, String>>;

fn permissions(blueprint: &Blueprint) -> Option<&Permissions> {
    let permissions = blueprint.service.config.permissions.as_ref();
    permissions.filter(|_| blueprint.needs_secret())
}

impl LinuxHost {
    pub(super) async fn register(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let Some(permissions) = permissions(blueprint) else {
            return Ok(());
        };

        let _turn = self.registrations.turns.read().await;
        let ident = &blueprint.info.ident;
        let marker = self.registrations.marker(blueprint.id);
        let gone = who(&self.registrations.gone)?.into_iter();
        let own: Vec<_> = gone.filter(|(_, own)| own == ident).collect();
        // IAM may know it from an earlier start, or from a call that failed on the
        // way back, and would answer with the permissions of then.
        if (marker.exists() || !own.is_empty())
            && let Err(error) = self.iam.unregister_instance(ident).await
        {
            debug!(instance_id = %blueprint.id, error = %Chain(&error),
                "registration of an earlier start stays");
        }
        // Before IAM is asked: whatever comes of it, it is not forgotten.
        write_ident(&marker, ident)?;
        for (id, _) in own {
            remove(&self.registrations.gone(id))?;
        }
        let secret = self
            .iam
            .register_instance(ident, permissions)
            .await
            .map_err(HostError::new)?;
        self.held().entry(blueprint.id).or_default().secret = Some(secret);

        Ok(())
    }

    pub(super) async fn unregister(&self, target: &Target) -> Result<(), HostError> {
        let marker = self.registrations.marker(target.id);
        if !marker.exists() {
            return Ok(());
        }
        let ident = target.ident.clone().or_else(|| read_ident(&marker));
        if let Some(ident) = ident
            && !self.take_back(target.id, &ident).await
        {
            info!(instance_id = %target.id, %ident, "IAM is told that it is gone when it is back");
            write_ident(&self.registrations.gone(target.id), &ident)?;
        }

        remove(&marker)
    }

    /// Tells IAM of those who are gone, one after the other, as long as it listens.
    pub(super) async fn unregister_gone(&self) {
        let gone = match who(&self.registrations.gone) {
            Ok(gone) => gone,
            Err(error) => {
                warn!(error = %Chain(&error), "cannot find out who is gone without IAM's knowing");
                return;
            }
        };
        for (id, ident) in gone {
            let _turn = self.registrations.turns.write().await;
            let path = self.registrations.gone(id);
            if !path.exists() {
                continue;
            }
            if !self.take_back(id, &ident).await {
                return;
            }
            if let Err(error) = remove(&path) {
                warn!(error = %Chain(&error), "IAM is told again that an instance is gone");
            }
        }
    }

    /// Takes a registration back. Returns whether there is none any more.
    async fn take_back(&self, id: InstanceId, ident: &InstanceIdent) -> bool {
        match self.iam.unregister_instance(ident).await {
            Ok(()) => true,
            Err(error) if error.is_trouble() => {
                debug!(instance_id = %id, error = %Chain(&error), "IAM cannot be told");
                false
            }
            // It was another IAM that knew it; there is nothing to be taken back.
            Err(error) => {
                info!(instance_id = %id, %ident, error = %Chain(&error), "IAM does not know it");
                true
            }
        }
    }

    /// Whether IAM still knows the secret that a running instance has. IAM's word
    /// that it does not may mean many things; that it gives another one, only one.
    pub(super) async fn secret_is_known(&self, blueprint: &Blueprint) -> Result<bool, HostError> {
        let Some(permissions) = permissions(blueprint) else {
            return Ok(true);
        };
        let is_overridden = |variable: &String| variable.starts_with(SECRET);
        let Some((server, _)) = permissions.first_key_value() else {
            return Ok(true);
        };
        if blueprint.variables.iter().any(is_overridden) {
            return Ok(true);
        }
        let config = self.bundle(blueprint.id).join("config.json");
        let Some(secret) = blocking(move || secret_in(&config)).await? else {
            return Ok(false);
        };

        let known = self.iam.knows_secret(&secret, server).await;
        if known.map_err(HostError::new)? {
            return Ok(true);
        }
        let ident = &blueprint.info.ident;
        let again = self.iam.register_instance(ident, permissions).await;
        Ok(again.map_err(HostError::new)? == secret)
    }
}

fn who(directory: &Path) -> Result<Vec<(InstanceId, InstanceIdent)>, HostError> {
    let ids = ids_in(directory)?.into_iter();
    Ok(ids
        .filter_map(|id| Some((id, read_ident(&directory.join(id.to_string()))?)))
        .collect())
}

fn write_ident(path: &Path, ident: &InstanceIdent) -> Result<(), HostError> {
    let text = serde_json::to_vec(ident).map_err(HostError::new)?;
    write_file(path, &text, 0o600).map_err(failed("write", path))
}

/// Nothing where an older release has left an empty file.
fn read_ident(path: &Path) -> Option<InstanceIdent> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn remove(path: &Path) -> Result<(), HostError> {
    remove_file(path).map_err(failed("remove", path))
}

#[derive(Deserialize)]
struct Config {
    process: Process,
}

#[derive(Deserialize)]
struct Process {
    env: Vec<String>,
}

/// The secret in a configuration of the runtime. No error shows what is in it.
fn secret_in(path: &Path) -> Result<Option<String>, HostError> {
    let text = fs::read(path).map_err(failed("read", path))?;
    let config: Config = serde_json::from_slice(&text)
        .map_err(|error| io::Error::other(format!("line {} is not as expected", error.line())))
        .map_err(failed("read", path))?;

    let secret = |entry: &String| entry.strip_prefix(SECRET).map(str::to_owned);
    Ok(config.process.env.iter().find_map(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_found_in_the_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let with = |text: &str| {
            fs::write(&path, text).unwrap();
            secret_in(&path)
        };

        let env = r#"{"process": {"env": ["A=b", "AOS_SECRET=hush=hush"], "cwd": "/"}}"#;
        assert_eq!(with(env).unwrap().as_deref(), Some("hush=hush"));
        assert_eq!(with(r#"{"process": {"env": ["A=b"]}}"#).unwrap(), None);
    }

    #[test]
    fn configuration_that_cannot_be_read_is_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let missing = secret_in(&path).unwrap_err();
        fs::write(&path, r#"{"process": {"env": ["AOS_SECRET=hush", 7]}}"#).unwrap();

        let bad = Chain(&secret_in(&path).unwrap_err()).to_string();

        assert!(Chain(&missing).to_string().starts_with("cannot read /"));
        assert!(bad.contains("is not as expected"), "{bad}");
        assert!(!bad.contains("hush"), "{bad}");
    }

    #[test]
    fn who_is_gone_is_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let registrations = Registrations::below(directory.path()).unwrap();
        let ident = InstanceIdent {
            service_id: "service".into(),
            subject_id: "subject".into(),
            index: 7,
        };
        let id = InstanceId::from_u128(5);
        write_ident(&registrations.gone(id), &ident).unwrap();
        fs::write(registrations.gone(InstanceId::from_u128(6)), "").unwrap();

        let again = Registrations::below(directory.path()).unwrap();

        assert_eq!(who(&again.gone).unwrap(), [(id, ident)]);
        assert_eq!(ids_in(&again.known).unwrap(), []);
    }
}
