//! Events in words, one line each; and the table of a deployment.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::event::{Event, IamCall};
use super::known::{ident_text, is_active, status_text};
use crate::wire::sm::alert::Payload;
use crate::wire::sm::sm_outgoing_messages::SmOutgoingMessage;
use crate::wire::sm::{Alert, InstanceStatus, LogData, MonitoringData, NodeMonitoring};

/// More of a log part is not printed.
const LOG_LIMIT: u64 = 64 * 1024 * 1024;

/// The event in words.
pub(crate) fn of(event: &Event) -> String {
    match event {
        Event::Listening { servers } => {
            let servers: Vec<_> = servers
                .iter()
                .map(|(name, address)| format!("{name} {address}"))
                .collect();
            format!("listening      {}", servers.join(", "))
        }
        Event::Connected { peer } => format!("connected      {peer}"),
        Event::Message(message) => message_text(message),
        Event::Refused { peer, reason } => format!("refused        {peer}: {reason}"),
        Event::Disconnected { reason } => format!("disconnected   {reason}"),
        Event::Sent { message, detail } => {
            let mut text = format!("sent           {message}");
            for (key, value) in detail.as_object().into_iter().flatten() {
                let value = match value {
                    Value::String(value) => value.clone(),
                    value => value.to_string(),
                };
                text.push_str(&format!(" {key}={value}"));
            }
            text
        }
        Event::Iam(call) => format!("IAM            {}", call_text(call)),
        Event::Waited { what } => format!("wait is over   {what}"),
        Event::Failed { error } => format!("FAILED         {error}"),
    }
}

fn call_text(call: &IamCall) -> String {
    let not = |known: &bool| if *known { "" } else { ": not registered" };
    match call {
        IamCall::GetNodeInfo => "GetNodeInfo".to_owned(),
        IamCall::GetCert { kind } => format!("GetCert {kind}"),
        IamCall::RegisterInstance { instance, .. } => format!("RegisterInstance {instance}"),
        IamCall::UnregisterInstance { instance, known } => {
            format!("UnregisterInstance {instance}{}", not(known))
        }
        IamCall::GetPermissions { server, known } => {
            format!("GetPermissions {server}{}", not(known))
        }
    }
}

fn message_text(message: &SmOutgoingMessage) -> String {
    match message {
        SmOutgoingMessage::NodeConfiguration(node) => format!(
            "registered     {} ({}), {} CPUs, {} MB RAM, partitions: {}",
            node.node_id,
            node.node_type,
            node.num_cpus,
            megabytes(node.total_ram),
            list(node.partitions.iter().map(|part| part.name.clone())),
        ),
        SmOutgoingMessage::UnitConfigStatus(status) => format!(
            "unit config    version `{}`{}",
            status.vendor_version,
            reason(&status.error)
        ),
        SmOutgoingMessage::RunInstancesStatus(status) => {
            format!("run status     {}", statuses(&status.instances))
        }
        SmOutgoingMessage::UpdateInstancesStatus(status) => {
            format!("update         {}", statuses(&status.instances))
        }
        SmOutgoingMessage::OverrideEnvVarStatus(status) => {
            let vars = status.env_vars_status.iter().flat_map(|item| {
                let instance = ident_text(item.instance.as_ref());
                item.vars_status
                    .iter()
                    .map(move |var| format!("{instance} {}{}", var.var_id, reason(&var.error)))
            });
            format!("env vars       {}{}", list(vars), reason(&status.error))
        }
        SmOutgoingMessage::Log(log) => log_text(log),
        SmOutgoingMessage::NodeMonitoring(monitoring) => monitoring_text(monitoring),
        SmOutgoingMessage::Alert(alert) => alert_text(alert),
        SmOutgoingMessage::ImageContentRequest(request) => {
            format!("image request  {} {}", request.request_id, request.url)
        }
        SmOutgoingMessage::ClockSyncRequest(_) => "clock request".to_owned(),
    }
}

fn statuses(instances: &[InstanceStatus]) -> String {
    let active = instances.iter().filter(|status| is_active(status)).count();
    let each = list(instances.iter().map(status_text));
    format!("{active} of {} active: {each}", instances.len())
}

/// The head of a part; its lines follow, indented.
fn log_text(log: &LogData) -> String {
    let mut text = format!(
        "log            {} part {} of {}, {} bytes{}",
        log.log_id,
        log.part,
        log.part_count,
        log.data.len(),
        reason(&log.error)
    );
    let mut lines = Vec::new();
    let read = MultiGzDecoder::new(&log.data[..])
        .take(LOG_LIMIT)
        .read_to_end(&mut lines);
    if read.is_err() && !log.data.is_empty() {
        text.push_str(", not gzip");
    }
    for line in String::from_utf8_lossy(&lines).lines() {
        text.push_str("\n    ");
        text.push_str(line);
    }
    text
}

fn monitoring_text(monitoring: &NodeMonitoring) -> String {
    let instances = monitoring.instance_monitoring.iter().map(|item| {
        let instance = ident_text(item.instance.as_ref());
        format!("{instance} {}", usage(item.monitoring_data.as_ref()))
    });
    format!(
        "monitoring     node {}; {}",
        usage(monitoring.monitoring_data.as_ref()),
        list(instances)
    )
}

fn usage(data: Option<&MonitoringData>) -> String {
    let Some(data) = data else {
        return "nothing".to_owned();
    };
    let disks = data.disk.iter();
    let disks = disks.map(|disk| format!("{} {} MB", disk.name, megabytes(disk.used_size)));
    format!(
        "CPU {} %, RAM {} MB, disks [{}], in {} B, out {} B",
        data.cpu,
        megabytes(data.ram),
        list(disks),
        data.in_traffic,
        data.out_traffic
    )
}

fn alert_text(alert: &Alert) -> String {
    let detail = match &alert.payload {
        None => String::new(),
        Some(Payload::SystemQuotaAlert(alert)) => format!("{} {}", alert.parameter, alert.value),
        Some(Payload::InstanceQuotaAlert(alert)) => {
            let instance = ident_text(alert.instance.as_ref());
            format!("{instance} {} {}", alert.parameter, alert.value)
        }
        Some(Payload::ResourceValidateAlert(alert)) => list(
            alert
                .errors
                .iter()
                .map(|error| format!("{}: {}", error.name, error.error_msg.join(", "))),
        ),
        Some(Payload::DeviceAllocateAlert(alert)) => {
            let instance = ident_text(alert.instance.as_ref());
            format!("{instance} {}: {}", alert.device, alert.message)
        }
        Some(Payload::SystemAlert(alert)) => alert.message.clone(),
        Some(Payload::CoreAlert(alert)) => format!("{}: {}", alert.core_component, alert.message),
        Some(Payload::InstanceAlert(alert)) => {
            let instance = ident_text(alert.instance.as_ref());
            format!("{instance} v{}: {}", alert.aos_version, alert.message)
        }
    };
    format!("alert          {} {detail}", alert.tag)
}

/// One line an instance, with aligned columns.
pub(crate) fn table(instances: &[InstanceStatus]) -> String {
    let rows: Vec<[String; 4]> = instances
        .iter()
        .map(|status| {
            let error = status.error_info.as_ref();
            [
                ident_text(status.instance.as_ref()),
                status.aos_version.to_string(),
                status.run_state.clone(),
                error.map_or_else(String::new, |error| match error.exit_code {
                    0 => error.message.clone(),
                    code => format!("{} (exit code {code})", error.message),
                }),
            ]
        })
        .collect();
    let head = ["INSTANCE", "VERSION", "STATE", "ERROR"].map(str::to_owned);
    let mut widths = [0; 4];
    for row in rows.iter().chain([&head]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in [&head].into_iter().chain(&rows) {
        let cells = row.iter().zip(widths);
        let line: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join("; ")
}

fn reason(error: &str) -> String {
    if error.is_empty() {
        String::new()
    } else {
        format!(": {error}")
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}
