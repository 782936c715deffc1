//! From content and desire to the blueprint of an instance. Pure.
//!
//! What it is made of falls into two: what an instance has to be started anew
//! for is in its fingerprint, what a running one can be given is its [`Reach`].

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::probes::{self, ProbeError};
use super::spec::{SpecError, check};
use super::systemd::{PolicyError, SignalError, StartPolicy, stop_signal};
use super::{Blueprint, Order};
use crate::config::{DurationError, duration_from_json};
use crate::model::{
    FirewallRule, InstanceInfo, NetworkId, NetworkParameters, ProviderId, Provision, ServiceContent,
};

/// Raise it when the same inputs are to make another container: running
/// instances are not equal to the desired ones then, and are started again.
const FORMAT: u32 = 1;

/// The service cannot be run as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlueprintError {
    /// Its image or what it asks for.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Its stop signal.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// Its run parameters.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// How long it may run without the cloud.
    #[error("invalid offlineTtl")]
    OfflineTtl(#[source] DurationError),
    /// Its probes.
    #[error("invalid probes")]
    Probes(#[from] ProbeError),
}

/// What of the machine's configuration goes into every instance.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Machine<'a> {
    /// Host directories that are shown.
    pub host_binds: &'a [String],
    /// Lines of `/etc/hosts`.
    pub hosts: &'a [String],
}

/// What of an instance's network a running one can be given. Ports, speeds and
/// limits come from the service: another service is another fingerprint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reach<'a> {
    /// A rule that is there twice permits nothing more.
    rules: BTreeSet<&'a FirewallRule>,
    /// In the order in which they are asked.
    dns_servers: &'a [String],
}

impl Blueprint {
    /// What of it a running instance can be given.
    pub(crate) fn reach(&self) -> Reach<'_> {
        let NetworkParameters {
            // In the fingerprint.
            network_id: _,
            subnet: _,
            ip: _,
            // It counts in the network's own parameters alone.
            vlan_id: _,
            dns_servers,
            rules,
        } = &self.info.network;

        Reach {
            rules: rules.iter().collect(),
            dns_servers,
        }
    }
}

/// What of the desired instance only a start can give it, in one way of saying
/// it. It has the place of `InstanceInfo` in the fingerprint.
pub(crate) fn fixed(info: &InstanceInfo, provider: &ProviderId) -> InstanceInfo {
    let network = &info.network;
    let named_by_provider = network.network_id.as_str() == provider.as_str();

    InstanceInfo {
        priority: 0,
        network: NetworkParameters {
            network_id: if named_by_provider {
                NetworkId::default()
            } else {
                network.network_id.clone()
            },
            subnet: network.subnet.clone(),
            ip: network.ip.clone(),
            ..NetworkParameters::default()
        },
        ..info.clone()
    }
}

/// All inputs of a start. Their order is that of the fingerprint.
#[derive(Serialize)]
struct Inputs<'a> {
    format: u32,
    info: InstanceInfo,
    manifest_digest: &'a str,
    root: &'a PathBuf,
    layers: &'a [PathBuf],
    gid: u32,
    provider_id: &'a str,
    machine: Machine<'a>,
    /// Left out where there are none, as releases before did: their instances are
    /// taken over.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    variables: &'a [String],
}

/// Draws the blueprint, or says why the service cannot be run. What the unit
/// configuration has for it comes beside: it is no part of the fingerprint, so
/// that another configuration restarts nobody.
pub(crate) fn draw(
    order: &Order,
    service: Arc<ServiceContent>,
    machine: &Machine<'_>,
) -> Result<Blueprint, BlueprintError> {
    check(&service.image, &service.config)?;
    stop_signal(&service.image.config.stop_signal)?;
    let policy = StartPolicy::read(&service.config.run_parameters, duration_from_json)?;
    let probes = probes::read(&service.config.probes, duration_from_json)?;

    Ok(Blueprint {
        id: order.id,
        info: order.info.clone(),
        variables: order.variables.clone(),
        provision: Provision::default(),
        offline_ttl: offline_ttl(&service)?,
        start_window: policy.window(),
        start_burst: policy.burst,
        probes,
        fingerprint: fingerprint(order, &service, machine),
        service,
    })
}

/// No time, or none at all, is no limit.
fn offline_ttl(service: &ServiceContent) -> Result<Option<Duration>, BlueprintError> {
    let ttl = service.config.offline_ttl.as_ref().map(duration_from_json);
    let ttl = ttl.transpose().map_err(BlueprintError::OfflineTtl)?;
    Ok(ttl.filter(|ttl| !ttl.is_zero()))
}

fn fingerprint(order: &Order, service: &ServiceContent, machine: &Machine<'_>) -> String {
    let inputs = Inputs {
        format: FORMAT,
        info: fixed(&order.info, &service.provider_id),
        manifest_digest: &service.manifest_digest,
        root: &service.root,
        layers: &service.layers,
        gid: service.gid,
        provider_id: service.provider_id.as_str(),
        machine: *machine,
        variables: &order.variables,
    };
    let text = serde_json::to_vec(&inputs).expect("paths of our own are text, and so is the rest");

    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests;
