//! What CM sends, as the components understand it.

use std::time::SystemTime;

use super::proto;
use super::proto::sm_incoming_messages::SmIncomingMessage as Message;
use super::time;
use crate::model::{
    DesiredState, EnvVar, EnvVarsOverride, FirewallRule, InstanceFilter, InstanceIdent,
    InstanceInfo, LayerInfo, LogSource, NetworkId, NetworkParameters, ProviderId, ServiceId,
    ServiceInfo, SubjectId, UnitConfigText, Version,
};

/// Stands for all instances in a filter.
pub(super) const ANY_INDEX: i64 = -1;

/// A decoded message: a [`crate::model::Request`] that knows nothing yet of
/// where its answer goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// Make the node run exactly this.
    RunInstances(DesiredState),
    /// Make the node have exactly these networks.
    UpdateNetworks(Vec<NetworkParameters>),
    /// Which unit configuration is in force?
    GetUnitConfigStatus,
    /// Would this unit configuration be accepted?
    CheckUnitConfig(UnitConfigText),
    /// Use this unit configuration.
    SetUnitConfig(UnitConfigText),
    /// Replace all overridden environment variables.
    OverrideEnvVars(Vec<EnvVarsOverride>),
    /// Send a log.
    Logs(LogQuery),
    /// What is used now?
    GetNodeMonitoring,
    /// Whether CM reaches the cloud.
    CloudConnection(bool),
    /// Nothing that concerns SM; the name of the message.
    Ignored(&'static str),
}

/// Which log is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// CM's name for it.
    pub log_id: String,
    /// What to read.
    pub source: LogSource,
    /// From this moment; `None`: from the beginning.
    pub from: Option<SystemTime>,
    /// Up to this moment; `None`: up to now.
    pub till: Option<SystemTime>,
}

/// Decodes one message. Each field that is left out has its default, and a log
/// or a variable without an instance concerns all of them.
#[must_use]
pub fn decode(message: proto::SmIncomingMessages) -> Incoming {
    let Some(message) = message.sm_incoming_message else {
        return Incoming::Ignored("a message of a later protocol");
    };

    match message {
        Message::GetUnitConfigStatus(_) => Incoming::GetUnitConfigStatus,
        Message::CheckUnitConfig(config) => Incoming::CheckUnitConfig(UnitConfigText {
            text: config.unit_config,
            vendor_version: config.vendor_version,
        }),
        Message::SetUnitConfig(config) => Incoming::SetUnitConfig(UnitConfigText {
            text: config.unit_config,
            vendor_version: config.vendor_version,
        }),
        Message::RunInstances(run) => Incoming::RunInstances(desired_state(run)),
        Message::OverrideEnvVars(vars) => Incoming::OverrideEnvVars(env_vars(vars)),
        Message::SystemLogRequest(log) => logs(log.log_id, LogSource::System, (log.from, log.till)),
        Message::InstanceLogRequest(log) => logs(
            log.log_id,
            LogSource::Instances(filter(log.instance)),
            (log.from, log.till),
        ),
        Message::InstanceCrashLogRequest(log) => logs(
            log.log_id,
            LogSource::Crash(filter(log.instance)),
            (log.from, log.till),
        ),
        Message::GetNodeMonitoring(_) => Incoming::GetNodeMonitoring,
        Message::ConnectionStatus(status) => {
            let connected = proto::ConnectionEnum::Connected;
            Incoming::CloudConnection(status.cloud_status == i32::from(connected))
        }
        Message::UpdateNetworks(update) => {
            Incoming::UpdateNetworks(update.networks.into_iter().map(network).collect())
        }
        Message::ImageContentInfo(_) => Incoming::Ignored("ImageContentInfo"),
        Message::ImageContent(_) => Incoming::Ignored("ImageContent"),
        Message::ClockSync(_) => Incoming::Ignored("ClockSync"),
    }
}

fn desired_state(run: proto::RunInstances) -> DesiredState {
    DesiredState {
        services: run.services.into_iter().map(service).collect(),
        layers: run.layers.into_iter().map(layer).collect(),
        instances: run.instances.into_iter().map(instance).collect(),
        force_restart: run.force_restart,
    }
}

fn service(info: proto::ServiceInfo) -> ServiceInfo {
    ServiceInfo {
        id: ServiceId::new(info.service_id),
        version: version(info.version_info),
        provider_id: ProviderId::new(info.provider_id),
        url: info.url,
        gid: info.gid,
        sha256: info.sha256,
        sha512: info.sha512,
        size: info.size,
    }
}

fn layer(info: proto::LayerInfo) -> LayerInfo {
    LayerInfo {
        layer_id: info.layer_id,
        digest: info.digest,
        version: version(info.version_info),
        url: info.url,
        sha256: info.sha256,
        sha512: info.sha512,
        size: info.size,
    }
}

fn version(info: Option<proto::VersionInfo>) -> Version {
    let info = info.unwrap_or_default();

    Version {
        aos: info.aos_version,
        vendor: info.vendor_version,
        description: info.description,
    }
}

fn instance(info: proto::InstanceInfo) -> InstanceInfo {
    InstanceInfo {
        ident: ident(info.instance.unwrap_or_default()),
        uid: info.uid,
        priority: info.priority,
        storage_path: info.storage_path,
        state_path: info.state_path,
        network: network(info.network_parameters.unwrap_or_default()),
    }
}

fn ident(ident: proto::InstanceIdent) -> InstanceIdent {
    InstanceIdent {
        service_id: ServiceId::new(ident.service_id),
        subject_id: SubjectId::new(ident.subject_id),
        index: ident.instance,
    }
}

fn network(parameters: proto::NetworkParameters) -> NetworkParameters {
    NetworkParameters {
        network_id: NetworkId::new(parameters.network_id),
        subnet: parameters.subnet,
        ip: parameters.ip,
        vlan_id: parameters.vlan_id,
        dns_servers: parameters.dns_servers,
        rules: parameters.rules.into_iter().map(rule).collect(),
    }
}

fn rule(rule: proto::FirewallRule) -> FirewallRule {
    FirewallRule {
        dst_ip: rule.dst_ip,
        dst_port: rule.dst_port,
        proto: rule.proto,
        src_ip: rule.src_ip,
    }
}

fn filter(ident: Option<proto::InstanceIdent>) -> InstanceFilter {
    let Some(ident) = ident else {
        return InstanceFilter::default();
    };

    InstanceFilter {
        service_id: Some(ident.service_id)
            .filter(|id| !id.is_empty())
            .map(ServiceId::new),
        subject_id: Some(ident.subject_id)
            .filter(|id| !id.is_empty())
            .map(SubjectId::new),
        index: Some(ident.instance).filter(|index| *index != ANY_INDEX),
    }
}

fn env_vars(message: proto::OverrideEnvVars) -> Vec<EnvVarsOverride> {
    message
        .env_vars
        .into_iter()
        .map(|item| EnvVarsOverride {
            filter: filter(item.instance),
            vars: item.vars.into_iter().map(env_var).collect(),
        })
        .collect()
}

fn env_var(var: proto::EnvVarInfo) -> EnvVar {
    EnvVar {
        id: var.var_id,
        variable: var.variable,
        expires: var.ttl.as_ref().map(time::from_wire),
    }
}

fn logs(
    log_id: String,
    source: LogSource,
    (from, till): (
        Option<prost_types::Timestamp>,
        Option<prost_types::Timestamp>,
    ),
) -> Incoming {
    Incoming::Logs(LogQuery {
        log_id,
        source,
        from: from.as_ref().map(time::from_wire),
        till: till.as_ref().map(time::from_wire),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use prost::Message as _;
    use prost_types::Timestamp;

    use super::*;

    fn incoming(message: Message) -> Incoming {
        decode(proto::SmIncomingMessages {
            sm_incoming_message: Some(message),
        })
    }

    fn ident_of(service: &str, subject: &str, instance: i64) -> proto::InstanceIdent {
        proto::InstanceIdent {
            service_id: service.into(),
            subject_id: subject.into(),
            instance,
        }
    }

    #[test]
    fn log_request_without_instance_concerns_all() {
        let log = incoming(Message::InstanceLogRequest(proto::InstanceLogRequest {
            log_id: "log".into(),
            ..Default::default()
        }));

        assert_eq!(
            log,
            Incoming::Logs(LogQuery {
                log_id: "log".into(),
                source: LogSource::Instances(InstanceFilter::default()),
                from: None,
                till: None,
            })
        );
    }

    #[test]
    fn empty_names_and_minus_one_select_all() {
        assert_eq!(
            filter(Some(ident_of("", "", -1))),
            InstanceFilter::default()
        );
    }

    #[test]
    fn index_zero_and_other_negative_ones_are_indices() {
        assert_eq!(filter(Some(ident_of("s", "", 0))).index, Some(0));
        assert_eq!(filter(Some(ident_of("s", "", -2))).index, Some(-2));
    }

    #[test]
    fn run_instances_keeps_items_that_lack_their_sub_messages() {
        let run = incoming(Message::RunInstances(proto::RunInstances {
            services: vec![proto::ServiceInfo::default()],
            layers: vec![proto::LayerInfo::default()],
            instances: vec![proto::InstanceInfo::default()],
            force_restart: true,
        }));

        assert_eq!(
            run,
            Incoming::RunInstances(DesiredState {
                services: vec![ServiceInfo::default()],
                layers: vec![LayerInfo::default()],
                instances: vec![InstanceInfo::default()],
                force_restart: true,
            })
        );
    }

    #[test]
    fn variable_without_expiry_never_ends() {
        let vars = env_vars(proto::OverrideEnvVars {
            env_vars: vec![proto::OverrideInstanceEnvVar {
                instance: None,
                vars: vec![
                    proto::EnvVarInfo::default(),
                    proto::EnvVarInfo {
                        ttl: Some(Timestamp {
                            seconds: 7,
                            nanos: 0,
                        }),
                        ..Default::default()
                    },
                ],
            }],
        });

        assert_eq!(vars[0].vars[0].expires, None);
        assert_eq!(
            vars[0].vars[1].expires,
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(7))
        );
    }

    #[test]
    fn only_connected_means_connected() {
        for (wire, connected) in [(0, false), (1, true), (2, false), (-1, false)] {
            let status = proto::ConnectionStatus { cloud_status: wire };

            assert_eq!(
                incoming(Message::ConnectionStatus(status)),
                Incoming::CloudConnection(connected)
            );
        }
    }

    #[test]
    fn messages_of_others_are_ignored_by_name() {
        assert_eq!(
            incoming(Message::ClockSync(proto::ClockSync::default())),
            Incoming::Ignored("ClockSync")
        );
        assert_eq!(
            decode(proto::SmIncomingMessages::default()),
            Incoming::Ignored("a message of a later protocol")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(message) = proto::SmIncomingMessages::decode(bytes.as_slice()) {
                drop(decode(message));
            }
        }
    }
}
