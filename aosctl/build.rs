//! Generates the wire types of the peers from `proto/` into `OUT_DIR`.
//!
//! `protox` compiles the files, so that no `protoc` is needed on the machine.
//! What SM sends can be printed as JSON with the field names of the wire.

use std::error::Error;

const PROTOS: [&str; 2] = [
    "servicemanager/v3/servicemanager.proto",
    "iamanager/v4/iamanager.proto",
];

/// Bytes that are text in JSON only as base64.
const BYTES: [&str; 2] = ["LogData.data", "ImageContent.data"];

/// Digests.
const DIGESTS: [&str; 5] = [
    "ServiceInfo.sha256",
    "ServiceInfo.sha512",
    "LayerInfo.sha256",
    "LayerInfo.sha512",
    "ImageFile.sha256",
];

const TIMES: [&str; 10] = [
    "ClockSync.current_time",
    "EnvVarInfo.ttl",
    "SystemLogRequest.from",
    "SystemLogRequest.till",
    "InstanceLogRequest.from",
    "InstanceLogRequest.till",
    "InstanceCrashLogRequest.from",
    "InstanceCrashLogRequest.till",
    "NodeMonitoring.timestamp",
    "Alert.timestamp",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../proto");

    let mut builder = tonic_prost_build::configure()
        .btree_map(".")
        .type_attribute(".servicemanager.v3", "#[derive(serde::Serialize)]")
        .enum_attribute(
            ".servicemanager.v3",
            "#[serde(rename_all = \"snake_case\")]",
        )
        .field_attribute(
            ".servicemanager.v3.InstanceStatus.error_info",
            "#[serde(skip_serializing_if = \"Option::is_none\")]",
        )
        .field_attribute(
            // Without a leading dot: not its variants.
            "Alert.Payload",
            "#[serde(flatten)]",
        );
    for (fields, with) in [
        (&BYTES[..], "base64"),
        (&DIGESTS, "hex"),
        (&TIMES, "timestamp"),
    ] {
        for field in fields {
            builder = builder.field_attribute(
                format!(".servicemanager.v3.{field}"),
                format!("#[serde(serialize_with = \"crate::wire::{with}\")]"),
            );
        }
    }
    builder.compile_fds(protox::compile(PROTOS, ["../proto"])?)?;

    Ok(())
}
