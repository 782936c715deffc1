//! What a running instance lost while SM was away, and can be given again.
//!
//! The instance runs without it, but systemd could not start it again, or SM
//! would forget what it is made of. What was drawn by another release of SM is
//! drawn anew.

use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::directories::{blocking, failed, find_sources};
use super::lent::find_devices;
use super::steps::RUNTIME_STATES;
use super::{LinuxHost, in_use};
use crate::launcher::files::write_file;
use crate::launcher::rootfs::has_sysfs;
use crate::launcher::runtime::find_runtime;
use crate::launcher::systemd::{DropIn, cgroup_mode};
use crate::launcher::{Blueprint, HostError};
use crate::model::Chain;
use crate::networkmanager::Attachment;

impl LinuxHost {
    /// Mends what can be mended; the rest needs a restart.
    pub(super) async fn mend(
        &self,
        blueprint: &Blueprint,
        attachment: &Attachment,
    ) -> Result<(), HostError> {
        self.mend_record(blueprint).await?;
        self.mend_config(blueprint, attachment).await?;
        self.mend_drop_in(blueprint).await
    }

    /// What it is made of has to be known, or nothing could ever be removed.
    async fn mend_record(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let (records, id) = (self.records.clone(), blueprint.id);
        let service = blueprint.service.clone();
        blocking(move || {
            if records.join(id.to_string()).exists() {
                return Ok(());
            }
            info!(instance_id = %id, "record of the content is written again");
            let content: Vec<_> = std::iter::once(&service.root)
                .chain(&service.layers)
                .map(PathBuf::as_path)
                .collect();
            in_use::note(&records, id, &content).map_err(failed("write a record in", &records))
        })
        .await
    }

    /// The runtime reads it when systemd starts the instance again.
    async fn mend_config(
        &self,
        blueprint: &Blueprint,
        attachment: &Attachment,
    ) -> Result<(), HostError> {
        let bundle = self.bundle(blueprint.id);
        let path = bundle.join("config.json");
        if path.exists() {
            return Ok(());
        }
        let permissions = blueprint.service.config.permissions.as_ref();
        if permissions.is_some_and(|permissions| !permissions.is_empty()) {
            return Err(HostError::needing_restart(
                "its config.json is gone, and its secret with it",
            ));
        }

        info!(instance_id = %blueprint.id, "config.json is written again");
        let (settings, info) = (self.settings.clone(), blueprint.info.clone());
        let plan = blueprint.clone();
        let (sources, devices, own_users) = blocking(move || {
            let gid = plan.service.gid;
            let sources = find_sources(&settings, &bundle, &info, gid, &plan.provision)?;
            let devices = find_devices(&plan).map_err(HostError::new)?;
            // Its root is as it was, whatever the configuration says by now.
            let own_users = has_sysfs(&bundle).map_err(failed("look for mounts below", &bundle))?;
            Ok((sources, devices, own_users))
        })
        .await?;
        let text = self.config_text(blueprint, None, attachment, &sources, &devices, own_users)?;
        blocking(move || write_file(&path, &text, 0o600).map_err(failed("write", &path))).await
    }

    /// What started the instance has to end it, so the runtime stays the one that
    /// the drop-in names.
    async fn mend_drop_in(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let id = blueprint.id;
        let present = self.systemd.drop_in(id).await.map_err(HostError::new)?;
        let named = present.as_deref().and_then(DropIn::runtime_of);
        let runtime = match named.filter(|runtime| runtime.is_file()) {
            Some(runtime) => runtime,
            None => self.runtime_that_runs(blueprint)?,
        };
        let has_remains = present.as_deref().is_some_and(DropIn::deletes_remains);
        let bundle = self.bundle(id);
        let drop_in = self.drop_in(blueprint, &runtime, &bundle, has_remains)?;
        if present.as_deref() == Some(drop_in.text().as_str()) {
            return Ok(());
        }

        info!(instance_id = %id, was_there = present.is_some(), "drop-in of the unit is drawn anew");
        if let Err(error) = self.systemd.redraw(&drop_in).await {
            // It runs, and the next start of SM tries again.
            warn!(instance_id = %id, error = %Chain(&error), "systemd has the unit as it was");
        }
        Ok(())
    }

    /// The runtime that is found, if it is of the kind that has the container.
    fn runtime_that_runs(&self, blueprint: &Blueprint) -> Result<PathBuf, HostError> {
        let root = &self.settings.systemd.cgroup_root;
        let mode = cgroup_mode(root).map_err(failed("look at", root))?;
        let settings = &self.settings;
        let runtime = find_runtime(&settings.working_dir, &settings.path, mode)
            .map_err(HostError::needing_restart)?;
        let name = runtime.path.file_name();
        let has_it = RUNTIME_STATES.iter().map(Path::new).any(|states| {
            states.file_name() == name && states.join(blueprint.id.to_string()).exists()
        });
        if has_it {
            return Ok(runtime.path);
        }

        Err(HostError::needing_restart(format!(
            "nobody knows which runtime runs it: {} does not",
            runtime.path.display()
        )))
    }
}
