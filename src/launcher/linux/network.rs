//! The place of an instance in its network, and the texts that tell it of it.

use std::io;

use super::LinuxHost;
use super::directories::{blocking, failed};
use crate::launcher::files::{rewrite_file, write_file};
use crate::launcher::{Blueprint, HostError};
use crate::model::InstanceId;
use crate::networkmanager::{AttachRequest, Attachment, NetworkError, Speeds, TrafficLimits};

impl LinuxHost {
    pub(super) async fn attach(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let attachment = self
            .networks
            .attach(attach_request(blueprint))
            .await
            .map_err(HostError::new)?;
        self.held().entry(blueprint.id).or_default().attachment = Some(attachment);

        Ok(())
    }

    /// Takes over the place of a running instance.
    pub(super) async fn adopt_network(&self, blueprint: &Blueprint) -> Result<(), HostError> {
        let attachment = self
            .networks
            .adopt(attach_request(blueprint))
            .await
            .map_err(of_network)?;
        let _turn = self.looks.acquire().await;
        self.rewrite_texts(blueprint.id, attachment.clone()).await?;

        self.mend(blueprint, &attachment).await
    }

    /// Gives a running instance the texts of its place. It has them mounted, so
    /// the files stay the same. One that is gone is made again, for the next start
    /// by systemd; the instance goes on with what it has mounted.
    pub(super) async fn rewrite_texts(
        &self,
        id: InstanceId,
        attachment: Attachment,
    ) -> Result<(), HostError> {
        self.held().entry(id).or_default().attachment = Some(attachment.clone());

        let bundle = self.bundle(id);
        blocking(move || {
            for (name, text) in [
                ("hosts", &attachment.hosts),
                ("resolv.conf", &attachment.resolv_conf),
            ] {
                let path = bundle.join(name);
                match rewrite_file(&path, text.as_bytes()) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        write_file(&path, text.as_bytes(), 0o644)
                    }
                    rewritten => rewritten,
                }
                .map_err(failed("rewrite", &path))?;
            }
            Ok(())
        })
        .await
    }
}

/// An error of a running instance's network, and whether a restart helps.
pub(super) fn of_network(error: NetworkError) -> HostError {
    if error.needs_restart() {
        HostError::needing_restart(error)
    } else {
        HostError::new(error)
    }
}

pub(super) fn attach_request(blueprint: &Blueprint) -> AttachRequest {
    let service = &blueprint.service;
    let quotas = &service.config.quotas;
    let lent = blueprint.provision.resources.iter();
    AttachRequest {
        id: blueprint.id,
        ident: blueprint.info.ident.clone(),
        network: blueprint.info.network.clone(),
        provider_id: service.provider_id.clone(),
        hostname: service.config.hostname.clone(),
        extra_hosts: lent.flat_map(|each| each.hosts.iter().cloned()).collect(),
        exposed_ports: service.image.config.exposed_ports.keys().cloned().collect(),
        speeds: Speeds {
            download: quotas.download_speed,
            upload: quotas.upload_speed,
        },
        limits: TrafficLimits {
            download: quotas.download_limit,
            upload: quotas.upload_limit,
        },
    }
}
