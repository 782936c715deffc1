//! The steps of a start, and their way back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use super::LinuxHost;
use super::confinement::{controllers, seccomp};
use super::directories::{blocking, failed, find_sources};
use super::in_use;
use super::lent::find_devices;
use super::user_namespace::{check_kernel, keep_flags, prepare};
use crate::config::duration_from_json;
use crate::launcher::files::write_file;
use crate::launcher::rootfs::{Ingredients, mount_root, remove_root};
use crate::launcher::runtime::find_runtime;
use crate::launcher::spec::{
    GrantedDevice, Sources, Surroundings, check_users, mount_points, runtime_spec, tmp_limit,
};
use crate::launcher::systemd::{
    CgroupMode, DropIn, StartPolicy, SystemdError, cgroup_mode, container_cgroup, stop_signal,
};
use crate::launcher::{Blueprint, HostError};
use crate::model::Chain;
use crate::networkmanager::Attachment;

/// Where runtimes that run as root keep the state of their containers.
pub(super) const RUNTIME_STATES: [&str; 2] = ["/run/crun", "/run/runc"];

impl LinuxHost {
    pub(super) async fn mount(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let bundle = self.bundle(blueprint.id);
        let (settings, records) = (self.settings.clone(), self.records.clone());
        let id = blueprint.id;
        let (info, service) = (blueprint.info.clone(), Arc::clone(&blueprint.service));
        let provision = blueprint.provision.clone();
        let bundles = self.bundles.clone();
        // Only an instance with a user namespace needs it now.
        let netns = if self.has_own_users(blueprint) {
            check_users(blueprint).map_err(HostError::new)?;
            let held = self.held();
            let attachment = held.get(&id).and_then(|held| held.attachment.as_ref());
            let attachment =
                attachment.ok_or_else(|| HostError::new("network comes before the root"))?;
            Some(attachment.netns.clone())
        } else {
            None
        };
        let sources = blocking(move || {
            if netns.is_some() {
                check_kernel(Path::new("/proc"))?;
            }
            let sources = find_sources(&settings, &bundle, &info, service.gid, &provision)?;
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
            let mounted = mount_root(&bundle, &ingredients).map_err(HostError::new);
            let prepared = mounted.and_then(|()| {
                netns.map_or(Ok(()), |netns| {
                    prepare(&bundles, &bundle, &netns, &service.config)
                })
            });
            if let Err(error) = prepared {
                match remove_root(&bundle) {
                    Ok(()) => in_use::forget(&records, id)
                        .map_err(failed("remove a record in", &records))?,
                    // What it is made of stays in use.
                    Err(left) => warn!(instance_id = %id, error = %Chain(&left), "root is left"),
                }
                return Err(error);
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
        let bundle = self.bundle(blueprint.id);
        let (plan, place) = (blueprint.clone(), attachment.clone());
        // These first: the spec is also about where they lie.
        let devices = blocking(move || {
            for (name, text) in [("hosts", place.hosts), ("resolv.conf", place.resolv_conf)] {
                let path = bundle.join(name);
                write_file(&path, text.as_bytes(), 0o644).map_err(failed("write", &path))?;
            }
            find_devices(&plan).map_err(HostError::new)
        })
        .await?;
        let secret = secret.as_deref();
        let own_users = self.has_own_users(blueprint);
        let spec = self.config_text(
            blueprint,
            secret,
            &attachment,
            &sources,
            &devices,
            own_users,
        )?;

        let path = self.bundle(blueprint.id).join("config.json");
        // It may have the secret in it.
        blocking(move || write_file(&path, &spec, 0o600).map_err(failed("write", &path))).await
    }

    /// Whether an instance gets a user namespace when it is started now.
    fn has_own_users(&self, blueprint: &Blueprint) -> bool {
        let service = &blueprint.info.ident.service_id;
        self.settings.user_namespaces.include(service.as_str())
    }

    /// The text of `config.json`; `own_users` says whether the instance's root was
    /// made for a user namespace.
    pub(super) fn config_text(
        &self,
        blueprint: &Blueprint,
        secret: Option<&str>,
        attachment: &Attachment,
        sources: &Sources,
        devices: &[GrantedDevice],
        own_users: bool,
    ) -> Result<Vec<u8>, HostError> {
        let seccomp = seccomp(&self.settings.seccomp)?;
        let mut spec = runtime_spec(
            blueprint,
            Surroundings {
                secret,
                netns: &attachment.netns,
                cgroups_path: &container_cgroup(blueprint.id),
                sources,
                devices,
                cpus: self.settings.cpus,
                controllers: controllers(&self.settings.systemd.cgroup_root)?,
                seccomp: seccomp.as_ref(),
                user_namespace: own_users,
            },
        )
        .map_err(HostError::new)?;
        if own_users {
            keep_flags(&mut spec)?;
        }

        serde_json::to_vec(&spec).map_err(HostError::new)
    }

    pub(super) async fn start_unit(&self, blueprint: &Blueprint) -> Result<(), HostError> {
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
        let bundle = self.bundle(blueprint.id);
        let has_remains = RUNTIME_STATES
            .iter()
            .any(|states| Path::new(states).join(blueprint.id.to_string()).exists());
        let drop_in = self.drop_in(blueprint, &runtime.path, &bundle, has_remains)?;

        self.systemd
            .start(&drop_in)
            .await
            .map_err(|error| match error {
                SystemdError::Ended { exit, .. } => HostError::exited(exit, error),
                other => HostError::new(other),
            })
    }

    /// What is particular to the unit of an instance that `runtime` runs.
    pub(super) fn drop_in<'a>(
        &'a self,
        blueprint: &Blueprint,
        runtime: &'a Path,
        bundle: &'a Path,
        has_remains: bool,
    ) -> Result<DropIn<'a>, HostError> {
        let service = &blueprint.service;
        let root = &self.settings.systemd.cgroup_root;
        let mode = cgroup_mode(root).map_err(failed("look at", root))?;
        let stateful = [
            (&blueprint.info.state_path, &self.settings.state_dir),
            (&blueprint.info.storage_path, &self.settings.storage_dir),
        ];

        Ok(DropIn {
            id: blueprint.id,
            runtime,
            directory: bundle,
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
            has_remains,
        })
    }
}
