//! The wire types against bytes that the peers themselves wrote.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::fs;
use std::path::{Path, PathBuf};

use aos_servicemanager::cmclient::v3::proto as sm;
use aos_servicemanager::iamclient::v4 as iam;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Vector {
    message: String,
    case: String,
    hex: String,
    json: Value,
}

#[test]
fn every_servicemanager_vector_survives_decode_and_encode() {
    let vectors = vectors("servicemanager.v3-7.2.3.json");

    assert_eq!(vectors.len(), 212);
    for vector in &vectors {
        assert_codec_is_right(vector);
    }
}

#[test]
fn every_iamanager_vector_survives_decode_and_encode() {
    let vectors = vectors("iamanager.v4-7.2.3.json");

    assert_eq!(vectors.len(), 69);
    for vector in &vectors {
        assert_codec_is_right(vector);
    }
}

#[test]
fn decoded_fields_of_every_vector_are_the_written_ones() {
    let pool = descriptors();
    let vectors = vectors("servicemanager.v3-7.2.3.json")
        .into_iter()
        .chain(vectors("iamanager.v4-7.2.3.json"));

    for vector in vectors {
        let fields = fields(&pool, &vector);

        assert_eq!(fields, vector.json, "{} {}", vector.message, vector.case);
    }
}

#[test]
fn a_changed_byte_is_noticed() {
    let pool = descriptors();
    let mut vector = vectors("iamanager.v4-7.2.3.json").remove(0);
    assert_eq!(vector.hex, "08a8d4d2cc9808");

    vector.hex = "08a9d4d2cc9808".into();

    assert_ne!(fields(&pool, &vector), vector.json);
}

/// Bytes to the generated type and back.
fn reencode(message: &str, bytes: &[u8]) -> Vec<u8> {
    macro_rules! generated {
        ($($package:literal $module:ident { $($wire:literal $rust:ident),* $(,)? })*) => {
            match message {
                $($(
                    concat!($package, ".", $wire) => $module::$rust::decode(bytes)
                        .unwrap_or_else(|error| panic!("{message}: {error}"))
                        .encode_to_vec(),
                )*)*
                other => panic!("{other} has no generated type here"),
            }
        };
    }

    generated! {
        "servicemanager.v3" sm {
            "Alert" Alert,
            "CheckUnitConfig" CheckUnitConfig,
            "ClockSync" ClockSync,
            "ClockSyncRequest" ClockSyncRequest,
            "ConnectionStatus" ConnectionStatus,
            "CoreAlert" CoreAlert,
            "DeviceAllocateAlert" DeviceAllocateAlert,
            "EnvVarInfo" EnvVarInfo,
            "EnvVarInstanceStatus" EnvVarInstanceStatus,
            "EnvVarStatus" EnvVarStatus,
            "ErrorInfo" ErrorInfo,
            "FirewallRule" FirewallRule,
            "GetNodeMonitoring" GetNodeMonitoring,
            "GetUnitConfigStatus" GetUnitConfigStatus,
            "ImageContent" ImageContent,
            "ImageContentInfo" ImageContentInfo,
            "ImageContentRequest" ImageContentRequest,
            "ImageFile" ImageFile,
            "InstanceAlert" InstanceAlert,
            "InstanceCrashLogRequest" InstanceCrashLogRequest,
            "InstanceIdent" InstanceIdent,
            "InstanceInfo" InstanceInfo,
            "InstanceLogRequest" InstanceLogRequest,
            "InstanceMonitoring" InstanceMonitoring,
            "InstanceQuotaAlert" InstanceQuotaAlert,
            "InstanceStatus" InstanceStatus,
            "LayerInfo" LayerInfo,
            "LogData" LogData,
            "MonitoringData" MonitoringData,
            "NetworkParameters" NetworkParameters,
            "NodeConfiguration" NodeConfiguration,
            "NodeMonitoring" NodeMonitoring,
            "OverrideEnvVarStatus" OverrideEnvVarStatus,
            "OverrideEnvVars" OverrideEnvVars,
            "OverrideInstanceEnvVar" OverrideInstanceEnvVar,
            "Partition" Partition,
            "PartitionUsage" PartitionUsage,
            "ResourceValidateAlert" ResourceValidateAlert,
            "ResourceValidateErrors" ResourceValidateErrors,
            "RunInstances" RunInstances,
            "RunInstancesStatus" RunInstancesStatus,
            "SMIncomingMessages" SmIncomingMessages,
            "SMOutgoingMessages" SmOutgoingMessages,
            "ServiceInfo" ServiceInfo,
            "SetUnitConfig" SetUnitConfig,
            "SystemAlert" SystemAlert,
            "SystemLogRequest" SystemLogRequest,
            "SystemQuotaAlert" SystemQuotaAlert,
            "UnitConfigStatus" UnitConfigStatus,
            "UpdateInstancesStatus" UpdateInstancesStatus,
            "UpdateNetworks" UpdateNetworks,
            "VersionInfo" VersionInfo,
        }
        "iamanager.v4" iam {
            "APIVersion" ApiVersion,
            "ApplyCertRequest" ApplyCertRequest,
            "ApplyCertResponse" ApplyCertResponse,
            "CertTypes" CertTypes,
            "ClearRequest" ClearRequest,
            "CreateKeyRequest" CreateKeyRequest,
            "CreateKeyResponse" CreateKeyResponse,
            "EncryptDiskRequest" EncryptDiskRequest,
            "GetCertRequest" GetCertRequest,
            "GetCertResponse" GetCertResponse,
            "GetCertTypesRequest" GetCertTypesRequest,
            "InstanceIdent" InstanceIdent,
            "NodeInfo" NodeInfo,
            "NodesID" NodesId,
            "Permissions" Permissions,
            "PermissionsRequest" PermissionsRequest,
            "PermissionsResponse" PermissionsResponse,
            "RegisterInstanceRequest" RegisterInstanceRequest,
            "RegisterInstanceResponse" RegisterInstanceResponse,
            "SetOwnerRequest" SetOwnerRequest,
            "Subjects" Subjects,
            "SystemInfo" SystemInfo,
            "UnregisterInstanceRequest" UnregisterInstanceRequest,
        }
    }
}

fn assert_codec_is_right(vector: &Vector) {
    let bytes = bytes(vector);

    let again = reencode(&vector.message, &bytes);

    assert_eq!(again, bytes, "{} {}", vector.message, vector.case);
}

/// The fields as the proto files name them.
fn fields(pool: &DescriptorPool, vector: &Vector) -> Value {
    let descriptor = pool.get_message_by_name(&vector.message).unwrap();
    let message = DynamicMessage::decode(descriptor, bytes(vector).as_slice()).unwrap();
    let options = SerializeOptions::new().use_proto_field_name(true);

    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap()
}

fn vectors(file: &str) -> Vec<Vector> {
    let text = fs::read_to_string(repository().join("tests/vectors").join(file)).unwrap();

    serde_json::from_str(&text).unwrap()
}

fn descriptors() -> DescriptorPool {
    let files = protox::compile(
        [
            "servicemanager/v3/servicemanager.proto",
            "iamanager/v4/iamanager.proto",
        ],
        [repository().join("proto")],
    )
    .unwrap();

    DescriptorPool::from_file_descriptor_set(files).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn bytes(vector: &Vector) -> Vec<u8> {
    let digits = vector.hex.as_bytes();
    assert!(digits.len().is_multiple_of(2));

    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
