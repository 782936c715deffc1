//! From content and desire to the blueprint of an instance. Pure.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Blueprint;
use super::spec::{SpecError, check};
use super::systemd::{PolicyError, SignalError, StartPolicy, stop_signal};
use crate::config::duration_from_json;
use crate::model::{InstanceId, InstanceInfo, ServiceContent};

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
}

/// What of the machine's configuration goes into every instance.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Machine<'a> {
    /// Host directories that are shown.
    pub host_binds: &'a [String],
    /// Lines of `/etc/hosts`.
    pub hosts: &'a [String],
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
}

/// Draws the blueprint, or says why the service cannot be run.
pub(crate) fn draw(
    id: InstanceId,
    info: &InstanceInfo,
    service: ServiceContent,
    machine: &Machine<'_>,
) -> Result<Blueprint, BlueprintError> {
    check(&service.image, &service.config)?;
    stop_signal(&service.image.config.stop_signal)?;
    let policy = StartPolicy::read(&service.config.run_parameters, duration_from_json)?;

    Ok(Blueprint {
        id,
        info: info.clone(),
        start_window: policy.window(),
        start_burst: policy.burst,
        fingerprint: fingerprint(info, &service, machine),
        service: Arc::new(service),
    })
}

fn fingerprint(info: &InstanceInfo, service: &ServiceContent, machine: &Machine<'_>) -> String {
    let inputs = Inputs {
        format: FORMAT,
        info: InstanceInfo {
            priority: 0,
            ..info.clone()
        },
        manifest_digest: &service.manifest_digest,
        root: &service.root,
        layers: &service.layers,
        gid: service.gid,
        provider_id: service.provider_id.as_str(),
        machine: *machine,
    };
    let text = serde_json::to_vec(&inputs).expect("paths of our own are text, and so is the rest");

    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aos_package::{ExecutionConfig, ImageConfig, ServiceConfig};
    use serde_json::json;

    use super::*;
    use crate::model::{InstanceIdent, ServiceKey};

    fn service() -> ServiceContent {
        ServiceContent {
            layer_digests: Vec::new(),
            key: ServiceKey {
                id: "service".into(),
                version: 1,
            },
            provider_id: "provider".into(),
            gid: 3000,
            manifest_digest: "sha256:00".to_owned(),
            root: "/content/root".into(),
            layers: vec!["/content/layer".into()],
            image: ImageConfig {
                os: "linux".to_owned(),
                config: ExecutionConfig {
                    cmd: vec!["app".to_owned()],
                    ..ExecutionConfig::default()
                },
                ..ImageConfig::default()
            },
            config: ServiceConfig::default(),
        }
    }

    fn info() -> InstanceInfo {
        InstanceInfo {
            ident: InstanceIdent {
                service_id: "service".into(),
                ..InstanceIdent::default()
            },
            uid: 5000,
            priority: 7,
            ..InstanceInfo::default()
        }
    }

    fn print(
        info: &InstanceInfo,
        service: ServiceContent,
        binds: &[&str],
        hosts: &[&str],
    ) -> String {
        let owned = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        let (host_binds, hosts) = (owned(binds), owned(hosts));
        let machine = Machine {
            host_binds: &host_binds,
            hosts: &hosts,
        };

        draw(InstanceId::from_u128(1), info, service, &machine)
            .unwrap()
            .fingerprint
    }

    #[test]
    fn priority_alone_changes_no_fingerprint() {
        let one = info();
        let other = InstanceInfo {
            priority: 1,
            ..info()
        };

        assert_eq!(
            print(&one, service(), &[], &[]),
            print(&other, service(), &[], &[])
        );
    }

    #[test]
    fn each_input_changes_the_fingerprint() {
        let mut prints = vec![
            print(&info(), service(), &[], &[]),
            print(&info(), service(), &["usr"], &[]),
            print(&info(), service(), &[], &["usr"]),
            print(&InstanceInfo { uid: 1, ..info() }, service(), &[], &[]),
            print(
                &InstanceInfo {
                    state_path: "x".to_owned(),
                    ..info()
                },
                service(),
                &[],
                &[],
            ),
            print(
                &InstanceInfo {
                    storage_path: "x".to_owned(),
                    ..info()
                },
                service(),
                &[],
                &[],
            ),
        ];
        let mut network = info();
        network.network.ip = "10.0.0.2".to_owned();
        prints.push(print(&network, service(), &[], &[]));
        let changes: [fn(&mut ServiceContent); 5] = [
            |service| service.gid = 1,
            |service| service.manifest_digest.push('1'),
            |service| service.provider_id = "other".into(),
            |service| service.root = "/other".into(),
            |service| service.layers.clear(),
        ];
        for change in changes {
            let mut service = service();
            change(&mut service);
            prints.push(print(&info(), service, &[], &[]));
        }

        let all = prints.len();
        prints.sort();
        prints.dedup();

        assert_eq!(prints.len(), all);
    }

    #[test]
    fn window_and_burst_are_those_of_the_service() {
        let mut service = service();
        service.config.run_parameters.start_interval = Some(json!("5s"));
        service.config.run_parameters.start_burst = Some(9);
        let machine = Machine {
            host_binds: &[],
            hosts: &[],
        };

        let blueprint = draw(InstanceId::from_u128(1), &info(), service, &machine).unwrap();

        assert_eq!(blueprint.start_window, Duration::from_secs(6));
        assert_eq!(blueprint.start_burst, 9);
    }

    type Damage = fn(&mut ServiceContent);

    #[test]
    fn what_cannot_run_gets_no_blueprint() {
        let cases: [(Damage, &str); 3] = [
            (
                |service| service.image.config.stop_signal = "SIGNONE".to_owned(),
                "unknown stop signal \"SIGNONE\" in image config",
            ),
            (
                |service| service.config.run_parameters.start_burst = Some(0),
                "invalid run parameters: startBurst is 0, not 1 to 4294967295",
            ),
            (
                |service| service.image.os = "plan9".to_owned(),
                "unsupported OS in image config plan9",
            ),
        ];

        for (damage, text) in cases {
            let mut service = service();
            damage(&mut service);
            let machine = Machine {
                host_binds: &[],
                hosts: &[],
            };

            let refused = draw(InstanceId::from_u128(1), &info(), service, &machine);

            assert_eq!(refused.unwrap_err().to_string(), text);
        }
    }
}
