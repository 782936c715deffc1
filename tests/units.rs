//! The unit files of the package keep what running instances rely on.

use std::fs;
use std::path::Path;

/// Each of these gives a service a mount namespace of its own, or has systemd
/// remove files at its stop.
const FORBIDDEN: [&str; 26] = [
    "BindPaths",
    "BindReadOnlyPaths",
    "CacheDirectory",
    "DynamicUser",
    "ExecPaths",
    "ExtensionImages",
    "InaccessiblePaths",
    "MountFlags",
    "MountImages",
    "NoExecPaths",
    "PrivateDevices",
    "PrivateMounts",
    "PrivateTmp",
    "PrivateUsers",
    "ProcSubset",
    "ProtectControlGroups",
    "ProtectHome",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProtectSystem",
    "ReadOnlyPaths",
    "RuntimeDirectory",
    "TemporaryFileSystem",
];

/// `key=value` lines of a unit file.
fn settings(name: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("misc/systemd")
        .join(name);
    fs::read_to_string(path)
        .expect("the unit is part of the project")
        .lines()
        .filter(|line| !line.starts_with(['#', '[']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn value(settings: &[(String, String)], key: &str) -> String {
    let found = settings.iter().find(|(known, _)| known == key);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

#[test]
fn service_manager_has_no_mount_namespace_and_no_directory_that_systemd_removes() {
    for (key, _) in settings("aos-servicemanager.service") {
        assert!(!FORBIDDEN.contains(&key.as_str()), "{key}");
    }
}

#[test]
fn service_manager_is_watched_and_always_started_again() {
    let settings = settings("aos-servicemanager.service");

    assert_eq!(value(&settings, "Type"), "notify");
    assert_eq!(value(&settings, "NotifyAccess"), "main");
    assert_eq!(value(&settings, "Restart"), "always");
    assert_eq!(value(&settings, "StartLimitIntervalSec"), "0");
    assert_ne!(value(&settings, "WatchdogSec"), "");
}

#[test]
fn service_manager_stops_with_the_target_and_before_it() {
    let settings = settings("aos-servicemanager.service");

    assert_eq!(value(&settings, "PartOf"), "aos.target");
    let ordered = settings
        .iter()
        .any(|(key, value)| key == "After" && value.contains("aos.target"));
    assert!(ordered);
}

#[test]
fn name_server_is_wanted_by_the_service_manager_and_outlives_it() {
    let manager = settings("aos-servicemanager.service");
    let server = settings("aos-nameserver.service");

    assert!(value(&manager, "Wants").contains("aos-nameserver.service"));
    for bond in [
        "PartOf",
        "BindsTo",
        "Requires",
        "Requisite",
        "PropagatesStopTo",
    ] {
        assert_eq!(value(&server, bond), "", "{bond}");
        assert!(!value(&manager, bond).contains("nameserver"), "{bond}");
    }
    assert_eq!(value(&server, "Restart"), "always");
    assert_eq!(value(&server, "StartLimitIntervalSec"), "0");
}

#[test]
fn name_server_may_do_no_more_than_listen() {
    let server = settings("aos-nameserver.service");

    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert_eq!(value(&server, key), "CAP_NET_BIND_SERVICE CAP_NET_RAW");
    }
    assert_eq!(value(&server, "DynamicUser"), "yes");
    assert_eq!(value(&server, "ProtectSystem"), "strict");
    assert_eq!(value(&server, "NoNewPrivileges"), "yes");
}

#[test]
fn options_of_the_service_manager_are_known_to_it() {
    use aos_servicemanager::arguments::{self, Command};
    let command = value(&settings("aos-servicemanager.service"), "ExecStart");

    let arguments = command.split(' ').skip(1).map(Into::into);

    assert!(
        matches!(arguments::parse(arguments), Ok(Command::Run(_))),
        "{command}"
    );
}
