//! What happens in a unit, as values with the time they happened.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::wire::sm::sm_incoming_messages::SmIncomingMessage;
use crate::wire::sm::sm_outgoing_messages::SmOutgoingMessage;

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    /// For people, and to compare with other logs.
    pub(crate) wall: OffsetDateTime,
    /// For latencies.
    pub(crate) monotonic: Instant,
}

impl Stamp {
    /// The present moment.
    pub(crate) fn now() -> Self {
        Self {
            wall: OffsetDateTime::now_utc(),
            monotonic: Instant::now(),
        }
    }
}

/// An event, printed as one line.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// The servers can be reached.
    Listening {
        servers: Vec<(&'static str, SocketAddr)>,
    },
    /// SM has opened its stream.
    Connected { peer: String },
    /// SM has sent a message.
    Message(SmOutgoingMessage),
    /// The stream is refused, as CM does.
    Refused { peer: String, reason: String },
    /// The stream has ended.
    Disconnected { reason: String },
    /// A message is on its way to SM.
    Sent {
        message: &'static str,
        detail: Value,
    },
    /// SM has asked IAM.
    Iam(IamCall),
    /// A wait is over.
    Waited { what: String },
    /// A command cannot be carried out, or its wait is over without success.
    Failed { error: String },
}

/// A call of an IAM method.
#[derive(Clone, Debug)]
pub(crate) enum IamCall {
    GetNodeInfo,
    GetCert {
        kind: String,
    },
    RegisterInstance {
        instance: String,
        /// Functional server to permissions.
        permissions: BTreeMap<String, BTreeMap<String, String>>,
    },
    UnregisterInstance {
        instance: String,
        known: bool,
    },
    GetPermissions {
        server: String,
        known: bool,
    },
}

impl Event {
    /// A message that goes to SM, with what matters of it.
    pub(crate) fn sent(message: &SmIncomingMessage) -> Self {
        let detail = match message {
            SmIncomingMessage::RunInstances(run) => json!({
                "instances": run.instances.len(),
                "services": run.services.len(),
                "layers": run.layers.len(),
                "force_restart": run.force_restart,
            }),
            SmIncomingMessage::UpdateNetworks(update) => {
                json!({"networks": update.networks.len()})
            }
            SmIncomingMessage::ConnectionStatus(status) => {
                json!({"cloud_status": status.cloud_status().as_str_name().to_lowercase()})
            }
            SmIncomingMessage::CheckUnitConfig(config) => {
                json!({"vendor_version": config.vendor_version})
            }
            SmIncomingMessage::SetUnitConfig(config) => {
                json!({"vendor_version": config.vendor_version})
            }
            SmIncomingMessage::SystemLogRequest(log) => json!({"log_id": log.log_id}),
            SmIncomingMessage::InstanceLogRequest(log) => json!({"log_id": log.log_id}),
            SmIncomingMessage::InstanceCrashLogRequest(log) => json!({"log_id": log.log_id}),
            SmIncomingMessage::OverrideEnvVars(_)
            | SmIncomingMessage::GetUnitConfigStatus(_)
            | SmIncomingMessage::GetNodeMonitoring(_)
            | SmIncomingMessage::ImageContentInfo(_)
            | SmIncomingMessage::ImageContent(_)
            | SmIncomingMessage::ClockSync(_) => json!({}),
        };
        Self::Sent {
            message: incoming_name(message),
            detail,
        }
    }

    /// The name in JSON; that of a message is its field's on the wire.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Listening { .. } => "listening",
            Self::Connected { .. } => "connected",
            Self::Message(message) => outgoing_name(message),
            Self::Refused { .. } => "refused",
            Self::Disconnected { .. } => "disconnected",
            Self::Sent { .. } => "sent",
            Self::Iam(IamCall::GetNodeInfo) => "iam_get_node_info",
            Self::Iam(IamCall::GetCert { .. }) => "iam_get_cert",
            Self::Iam(IamCall::RegisterInstance { .. }) => "iam_register_instance",
            Self::Iam(IamCall::UnregisterInstance { .. }) => "iam_unregister_instance",
            Self::Iam(IamCall::GetPermissions { .. }) => "iam_get_permissions",
            Self::Waited { .. } => "waited",
            Self::Failed { .. } => "failed",
        }
    }

    /// What is said beside name and time, as a JSON object.
    pub(crate) fn fields(&self) -> Value {
        match self {
            Self::Listening { servers } => servers
                .iter()
                .map(|(name, address)| ((*name).to_owned(), address.to_string().into()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Self::Connected { peer } => json!({"peer": peer}),
            Self::Message(message) => match to_value(message) {
                Value::Object(of_message) => of_message.into_values().next().unwrap_or_default(),
                other => other,
            },
            Self::Refused { peer, reason } => json!({"peer": peer, "reason": reason}),
            Self::Disconnected { reason } => json!({"reason": reason}),
            Self::Sent { message, detail } => {
                let mut fields = json!({"message": message});
                if let (Value::Object(fields), Value::Object(detail)) = (&mut fields, detail) {
                    fields.extend(detail.clone());
                }
                fields
            }
            Self::Iam(IamCall::GetNodeInfo) => json!({}),
            Self::Iam(IamCall::GetCert { kind }) => json!({"type": kind}),
            Self::Iam(IamCall::RegisterInstance {
                instance,
                permissions,
            }) => json!({"instance": instance, "permissions": permissions}),
            Self::Iam(IamCall::UnregisterInstance { instance, known }) => {
                json!({"instance": instance, "known": known})
            }
            Self::Iam(IamCall::GetPermissions { server, known }) => {
                json!({"functional_server_id": server, "known": known})
            }
            Self::Waited { what } => json!({"for": what}),
            Self::Failed { error } => json!({"error": error}),
        }
    }
}

/// Wire types and plain data always have a JSON form.
pub(crate) fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn outgoing_name(message: &SmOutgoingMessage) -> &'static str {
    match message {
        SmOutgoingMessage::NodeConfiguration(_) => "node_configuration",
        SmOutgoingMessage::UnitConfigStatus(_) => "unit_config_status",
        SmOutgoingMessage::RunInstancesStatus(_) => "run_instances_status",
        SmOutgoingMessage::UpdateInstancesStatus(_) => "update_instances_status",
        SmOutgoingMessage::OverrideEnvVarStatus(_) => "override_env_var_status",
        SmOutgoingMessage::Log(_) => "log",
        SmOutgoingMessage::NodeMonitoring(_) => "node_monitoring",
        SmOutgoingMessage::Alert(_) => "alert",
        SmOutgoingMessage::ImageContentRequest(_) => "image_content_request",
        SmOutgoingMessage::ClockSyncRequest(_) => "clock_sync_request",
    }
}

fn incoming_name(message: &SmIncomingMessage) -> &'static str {
    match message {
        SmIncomingMessage::GetUnitConfigStatus(_) => "get_unit_config_status",
        SmIncomingMessage::CheckUnitConfig(_) => "check_unit_config",
        SmIncomingMessage::SetUnitConfig(_) => "set_unit_config",
        SmIncomingMessage::RunInstances(_) => "run_instances",
        SmIncomingMessage::OverrideEnvVars(_) => "override_env_vars",
        SmIncomingMessage::SystemLogRequest(_) => "system_log_request",
        SmIncomingMessage::InstanceLogRequest(_) => "instance_log_request",
        SmIncomingMessage::InstanceCrashLogRequest(_) => "instance_crash_log_request",
        SmIncomingMessage::GetNodeMonitoring(_) => "get_node_monitoring",
        SmIncomingMessage::ConnectionStatus(_) => "connection_status",
        SmIncomingMessage::ImageContentInfo(_) => "image_content_info",
        SmIncomingMessage::ImageContent(_) => "image_content",
        SmIncomingMessage::UpdateNetworks(_) => "update_networks",
        SmIncomingMessage::ClockSync(_) => "clock_sync",
    }
}
