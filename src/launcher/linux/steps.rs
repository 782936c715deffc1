//! The steps of a start, and their way back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{debug, info};

use super::LinuxHost;
use super::directories::{blocking, failed, find_sources};
use super::in_use;
use crate::config::duration_from_json;
use crate::launcher::files::{remove_file, write_file};
use crate::launcher::rootfs::{Ingredients, mount_root};
use crate::launcher::runtime::find_runtime;
use crate::launcher::spec::{Surroundings, mount_points, runtime_spec, tmp_limit};
use crate::launcher::systemd::{
    CgroupMode, DropIn, StartPolicy, SystemdError, cgroup_mode, container_cgroup, stop_signal,
};
use crate::launcher::{Blueprint, HostError, Target};

/// Where runtimes that run as root keep the state of their containers.
const RUNTIME_STATES: [&str; 2] = ["/run/crun", "/run/runc"];

impl LinuxHost {
    pub(super) async fn register(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let Some(permissions) = blueprint
            .service
            .config
            .permissions
            .as_ref()
            .filter(|permissions| !permissions.is_empty())
        else {
            return Ok(());
        };

        let ident = &blueprint.info.ident;
        let marker = self.registered.join(blueprint.id.to_string());
        // IAM may know it from a call that failed on the way back, and would
        // answer with the permissions of then.
        if marker.exists()
            && let Err(error) = self.iam.unregister_instance(ident).await
        {
            debug!(instance = %blueprint.id, %error, "registration of an earlier start stays");
        }
        // Before IAM is asked: whatever comes of it, it is not forgotten.
        write_file(&marker, b"", 0o600).map_err(failed("write", &marker))?;
        let secret = self
            .iam
            .register_instance(ident, permissions)
            .await
            .map_err(HostError::new)?;
        self.held().entry(blueprint.id).or_default().secret = Some(secret);

        Ok(())
    }

    pub(super) async fn unregister(&self, target: &Target) -> Result<(), HostError> {
        let marker = self.registered.join(target.id.to_string());
        if let Some(ident) = &target.ident
            && marker.exists()
        {
            self.iam
                .unregister_instance(ident)
                .await
                .map_err(HostError::new)?;
        }

        remove_file(&marker).map_err(failed("remove", &marker))
    }

    pub(super) async fn mount(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let bundle = self.bundle(blueprint.id);
        let (settings, records) = (self.settings.clone(), self.records.clone());
        let id = blueprint.id;
        let (info, service) = (blueprint.info.clone(), Arc::clone(&blueprint.service));
        let sources = blocking(move || {
            let sources = find_sources(&settings, &bundle, &info, service.gid)?;
            let points = mount_points(&sources, tmp_limit(&service.config));
            let layers: Vec<_> = std::iter::once(&service.root)
                .chain(&service.layers)
                .map(PathBuf::as_path)
                .collect();
            in_use::note(&records, id, &layers).map_err(failed("write a record in", &records))?;
            let ingredients = Ingredients {
                host_root: Path::new("/"),
                host_binds: &settings.host_binds,
                layers,
                points: &points,
            };
            if let Err(error) = mount_root(&bundle, &ingredients) {
                in_use::forget(&records, id).map_err(failed("remove a record in", &records))?;
                return Err(HostError::new(error));
            }

            Ok(sources)
        })
        .await?;
        self.held().entry(blueprint.id).or_default().sources = Some(sources);

        Ok(())
    }

    pub(super) async fn write_spec(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let (secret, attachment, sources) = {
            let mut held = self.held();
            let held = held.entry(blueprint.id).or_default();
            (
                held.secret.clone(),
                held.attachment.clone(),
                held.sources.clone(),
            )
        };
        let (Some(attachment), Some(sources)) = (attachment, sources) else {
            return Err(HostError::new(
                "network and root filesystem come before the spec",
            ));
        };
        let spec = runtime_spec(
            blueprint,
            Surroundings {
                secret: secret.as_deref(),
                netns: &attachment.netns,
                cgroups_path: &container_cgroup(blueprint.id),
                sources: &sources,
                cpus: self.settings.cpus,
            },
        )
        .map_err(HostError::new)?;
        let spec = serde_json::to_vec_pretty(&spec).map_err(HostError::new)?;

        let bundle = self.bundle(blueprint.id);
        blocking(move || {
            for (name, text, mode) in [
                ("hosts", attachment.hosts.as_bytes(), 0o644),
                ("resolv.conf", attachment.resolv_conf.as_bytes(), 0o644),
                // It may have the secret in it.
                ("config.json", spec.as_slice(), 0o600),
            ] {
                let path = bundle.join(name);
                write_file(&path, text, mode).map_err(failed("write", &path))?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn start_unit(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let service = &blueprint.service;
        let root = &self.settings.systemd.cgroup_root;
        let mode = cgroup_mode(root).map_err(failed("look at", root))?;
        let runtime = find_runtime(&self.settings.working_dir, &self.settings.path, mode)
            .map_err(HostError::new)?;
        if let Some(crun) = &runtime.passed_over
            && !self.told_of_crun.swap(true, Ordering::Relaxed)
        {
            info!(passed_over = %crun.display(), used = %runtime.path.display(),
                "crun cannot use hybrid cgroups");
        }
        let stateful = [
            (&blueprint.info.state_path, &self.settings.state_dir),
            (&blueprint.info.storage_path, &self.settings.storage_dir),
        ];
        let drop_in = DropIn {
            id: blueprint.id,
            runtime: &runtime.path,
            directory: &self.bundle(blueprint.id),
            unified_cgroups: (mode == CgroupMode::Unified).then_some(root.as_path()),
            policy: StartPolicy::read(&service.config.run_parameters, duration_from_json)
                .map_err(HostError::new)?,
            stop_signal: stop_signal(&service.image.config.stop_signal).map_err(HostError::new)?,
            needs: std::iter::once(&service.root)
                .chain(&service.layers)
                .chain(
                    stateful
                        .iter()
                        .filter(|(path, _)| !path.is_empty())
                        .map(|(_, dir)| *dir),
                )
                .cloned()
                .collect(),
            has_remains: RUNTIME_STATES
                .iter()
                .any(|states| Path::new(states).join(blueprint.id.to_string()).exists()),
        };

        self.systemd
            .start(&drop_in)
            .await
            .map_err(|error| match error {
                SystemdError::Ended { exit, .. } => HostError::exited(exit, error),
                other => HostError::new(other),
            })
    }
}
