//! What SM sends, as CM expects it.

use super::decode::ANY_INDEX;
use super::proto;
use super::proto::alert::Payload;
use super::proto::sm_outgoing_messages::SmOutgoingMessage as Message;
use super::time;
use crate::model::{
    Alert, AlertKind, EnvVarsStatus, ErrorInfo, InstanceFilter, InstanceIdent, InstanceStatus,
    LogPart, NodeFacts, NodeInfo, NodeMonitoring, ResourceErrors, RunState, UnitConfigStatus,
    Usage,
};

fn outgoing(message: Message) -> proto::SmOutgoingMessages {
    proto::SmOutgoingMessages {
        sm_outgoing_message: Some(message),
    }
}

/// The first message of a connection.
#[must_use]
pub fn node_configuration(node: &NodeInfo, facts: &NodeFacts) -> proto::SmOutgoingMessages {
    outgoing(Message::NodeConfiguration(proto::NodeConfiguration {
        node_id: node.node_id.clone(),
        node_type: node.node_type.clone(),
        remote_node: facts.remote_node,
        runner_features: facts.runner_features.clone(),
        num_cpus: facts.num_cpus,
        total_ram: facts.total_ram,
        partitions: facts
            .partitions
            .iter()
            .map(|partition| proto::Partition {
                name: partition.name.clone(),
                types: partition.types.clone(),
                total_size: partition.total_size,
            })
            .collect(),
    }))
}

/// The state of all instances of a list.
#[must_use]
pub fn run_instances_status(instances: Vec<InstanceStatus>) -> proto::SmOutgoingMessages {
    outgoing(Message::RunInstancesStatus(proto::RunInstancesStatus {
        instances: instances.into_iter().map(instance_status).collect(),
    }))
}

/// The state of the instances that changed.
#[must_use]
pub fn update_instances_status(instances: Vec<InstanceStatus>) -> proto::SmOutgoingMessages {
    outgoing(Message::UpdateInstancesStatus(
        proto::UpdateInstancesStatus {
            instances: instances.into_iter().map(instance_status).collect(),
        },
    ))
}

fn instance_status(status: InstanceStatus) -> proto::InstanceStatus {
    // CM judges by the presence of the error alone.
    let (run_state, error_info) = match status.state {
        RunState::Active => ("active", None),
        RunState::Failed(error) => ("failed", Some(error_info(error))),
    };

    proto::InstanceStatus {
        instance: Some(ident(&status.ident)),
        aos_version: status.version,
        run_state: run_state.into(),
        error_info,
    }
}

fn error_info(error: ErrorInfo) -> proto::ErrorInfo {
    proto::ErrorInfo {
        aos_code: error.aos_code,
        exit_code: error.exit_code,
        message: error.message,
    }
}

fn ident(ident: &InstanceIdent) -> proto::InstanceIdent {
    proto::InstanceIdent {
        service_id: ident.service_id.as_str().to_owned(),
        subject_id: ident.subject_id.as_str().to_owned(),
        instance: ident.index,
    }
}

/// Answer to the three unit configuration requests.
#[must_use]
pub fn unit_config_status(status: UnitConfigStatus) -> proto::SmOutgoingMessages {
    outgoing(Message::UnitConfigStatus(proto::UnitConfigStatus {
        vendor_version: status.vendor_version,
        error: status.error,
    }))
}

/// Answer to `OverrideEnvVars`. CM looks at the errors of the variables only.
#[must_use]
pub fn override_env_vars_status(statuses: Vec<EnvVarsStatus>) -> proto::SmOutgoingMessages {
    outgoing(Message::OverrideEnvVarStatus(proto::OverrideEnvVarStatus {
        env_vars_status: statuses
            .into_iter()
            .map(|status| proto::EnvVarInstanceStatus {
                instance: Some(filter(status.filter)),
                vars_status: status
                    .vars
                    .into_iter()
                    .map(|var| proto::EnvVarStatus {
                        var_id: var.id,
                        error: var.error,
                    })
                    .collect(),
            })
            .collect(),
        error: String::new(),
    }))
}

fn filter(filter: InstanceFilter) -> proto::InstanceIdent {
    proto::InstanceIdent {
        service_id: filter
            .service_id
            .map_or_else(String::new, |id| id.as_str().to_owned()),
        subject_id: filter
            .subject_id
            .map_or_else(String::new, |id| id.as_str().to_owned()),
        instance: filter.index.unwrap_or(ANY_INDEX),
    }
}

/// One part of a log.
#[must_use]
pub fn log_part(part: LogPart) -> proto::SmOutgoingMessages {
    outgoing(Message::Log(proto::LogData {
        log_id: part.log_id,
        part_count: part.part_count,
        part: part.part,
        data: part.data,
        error: part.error,
    }))
}

/// A sample, asked for or periodic.
#[must_use]
pub fn node_monitoring(sample: NodeMonitoring) -> proto::SmOutgoingMessages {
    outgoing(Message::NodeMonitoring(proto::NodeMonitoring {
        timestamp: Some(time::to_wire(sample.timestamp)),
        monitoring_data: Some(usage(sample.node)),
        instance_monitoring: sample
            .instances
            .into_iter()
            .map(|instance| proto::InstanceMonitoring {
                instance: Some(ident(&instance.ident)),
                monitoring_data: Some(usage(instance.usage)),
            })
            .collect(),
    }))
}

fn usage(usage: Usage) -> proto::MonitoringData {
    proto::MonitoringData {
        ram: usage.ram,
        cpu: usage.cpu,
        disk: usage
            .disks
            .into_iter()
            .map(|disk| proto::PartitionUsage {
                name: disk.name,
                used_size: disk.used_size,
            })
            .collect(),
        in_traffic: usage.in_traffic,
        out_traffic: usage.out_traffic,
    }
}

/// An alert, with the tag that its kind has in the cloud.
#[must_use]
pub fn alert(alert: Alert) -> proto::SmOutgoingMessages {
    let (tag, payload) = match alert.kind {
        AlertKind::SystemQuota { parameter, value } => (
            "systemQuotaAlert",
            Payload::SystemQuotaAlert(proto::SystemQuotaAlert { parameter, value }),
        ),
        AlertKind::InstanceQuota {
            ident: instance,
            parameter,
            value,
        } => (
            "instanceQuotaAlert",
            Payload::InstanceQuotaAlert(proto::InstanceQuotaAlert {
                instance: Some(ident(&instance)),
                parameter,
                value,
            }),
        ),
        AlertKind::ResourceValidate(errors) => (
            "resourceValidateAlert",
            Payload::ResourceValidateAlert(proto::ResourceValidateAlert {
                errors: errors.into_iter().map(resource_errors).collect(),
            }),
        ),
        AlertKind::DeviceAllocate {
            ident: instance,
            device,
            message,
        } => (
            "deviceAllocateAlert",
            Payload::DeviceAllocateAlert(proto::DeviceAllocateAlert {
                instance: Some(ident(&instance)),
                device,
                message,
            }),
        ),
        AlertKind::System(message) => (
            "systemAlert",
            Payload::SystemAlert(proto::SystemAlert { message }),
        ),
        AlertKind::Core { component, message } => (
            "coreAlert",
            Payload::CoreAlert(proto::CoreAlert {
                core_component: component,
                message,
            }),
        ),
        AlertKind::Instance {
            ident: instance,
            version,
            message,
        } => (
            "serviceInstanceAlert",
            Payload::InstanceAlert(proto::InstanceAlert {
                instance: Some(ident(&instance)),
                aos_version: version,
                message,
            }),
        ),
    };

    outgoing(Message::Alert(proto::Alert {
        timestamp: Some(time::to_wire(alert.timestamp)),
        tag: tag.into(),
        payload: Some(payload),
    }))
}

fn resource_errors(resource: ResourceErrors) -> proto::ResourceValidateErrors {
    proto::ResourceValidateErrors {
        name: resource.name,
        error_msg: resource.errors,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::EnvVarStatus;

    fn message(outgoing: proto::SmOutgoingMessages) -> Message {
        outgoing.sm_outgoing_message.unwrap()
    }

    fn status(state: RunState) -> proto::InstanceStatus {
        let status = InstanceStatus {
            ident: InstanceIdent::default(),
            version: 3,
            state,
        };
        match message(run_instances_status(vec![status])) {
            Message::RunInstancesStatus(mut run) => run.instances.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn error_goes_with_failed_and_only_with_it() {
        let active = status(RunState::Active);
        let failed = status(RunState::Failed(ErrorInfo::default()));

        assert_eq!(
            (active.run_state.as_str(), active.error_info),
            ("active", None)
        );
        assert_eq!(
            (failed.run_state.as_str(), failed.error_info),
            ("failed", Some(proto::ErrorInfo::default()))
        );
    }

    #[test]
    fn each_kind_of_alert_has_its_tag() {
        let ident = InstanceIdent::default;
        let text = String::new;
        let tags = [
            AlertKind::SystemQuota {
                parameter: text(),
                value: 1,
            },
            AlertKind::InstanceQuota {
                ident: ident(),
                parameter: text(),
                value: 1,
            },
            AlertKind::ResourceValidate(vec![]),
            AlertKind::DeviceAllocate {
                ident: ident(),
                device: text(),
                message: text(),
            },
            AlertKind::System(text()),
            AlertKind::Core {
                component: text(),
                message: text(),
            },
            AlertKind::Instance {
                ident: ident(),
                version: 1,
                message: text(),
            },
        ]
        .map(|kind| {
            let timestamp = SystemTime::UNIX_EPOCH;
            match message(alert(Alert { timestamp, kind })) {
                Message::Alert(alert) => alert.tag,
                other => panic!("{other:?}"),
            }
        });

        assert_eq!(
            tags,
            [
                "systemQuotaAlert",
                "instanceQuotaAlert",
                "resourceValidateAlert",
                "deviceAllocateAlert",
                "systemAlert",
                "coreAlert",
                "serviceInstanceAlert",
            ]
        );
    }

    #[test]
    fn filter_that_selects_all_goes_back_as_it_came() {
        let statuses = vec![EnvVarsStatus {
            filter: InstanceFilter::default(),
            vars: vec![EnvVarStatus {
                id: "id".into(),
                error: "why".into(),
            }],
        }];

        let Message::OverrideEnvVarStatus(answer) = message(override_env_vars_status(statuses))
        else {
            panic!("another message");
        };

        let instance = answer.env_vars_status[0].instance.clone().unwrap();
        assert_eq!(instance.service_id, "");
        assert_eq!(instance.subject_id, "");
        assert_eq!(instance.instance, -1);
        assert_eq!(answer.env_vars_status[0].vars_status[0].error, "why");
        assert_eq!(answer.error, "");
    }
}
