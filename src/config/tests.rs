use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::check::check;
use super::file::Node;
use super::{
    Config, HostEntry, PartitionConfig, Problems, RuleConfig, SeccompPolicy, UpdatePolicy,
    UserNamespaces, Warning,
};

pub(super) fn checked(text: &str) -> Result<(Config, Vec<Warning>), Problems> {
    check(Node::parse(text).unwrap(), Path::new("/base"))
}

/// A complete file with some keys changed; `null` takes a key away.
pub(super) fn with(changes: Value) -> String {
    let mut file = json!({
        "caCert": "/etc/root.pem",
        "cmServerUrl": "cm:8093",
        "iamPublicServerUrl": "iam:8090",
        "iamProtectedServerUrl": "iam:8089",
        "workingDir": "/wd",
    });
    let Value::Object(changes) = changes else {
        panic!("no object: {changes}")
    };
    for (key, value) in changes {
        file[key] = value;
    }

    file.to_string()
}

fn config(changes: Value) -> Config {
    let (config, warnings) = checked(&with(changes)).unwrap();
    assert_eq!(warnings, []);
    config
}

fn warnings(changes: Value) -> Vec<String> {
    let (_, warnings) = checked(&with(changes)).unwrap();
    warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn example_of_the_project_loads_without_a_warning() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("misc/config/aos_servicemanager.cfg");

    let (config, warnings) = Config::load(&path).unwrap();

    assert_eq!(warnings, []);
    assert_eq!(config.working_dir, Path::new("/var/aos/servicemanager"));
    assert_eq!(config.cert_storage, "sm");
    assert_eq!(config.monitoring.partitions.len(), 1);
}

#[test]
fn absent_keys_have_their_defaults() {
    let config = config(json!({}));

    assert_eq!(config.cert_storage, "/var/aos/crypt/sm/");
    assert_eq!(config.storage_dir, Path::new("/wd/storages"));
    assert_eq!(config.state_dir, Path::new("/wd/states"));
    assert_eq!(config.services_dir, Path::new("/wd/services"));
    assert_eq!(config.layers_dir, Path::new("/wd/layers"));
    assert_eq!(config.download_dir, Path::new("/wd/download"));
    assert_eq!(config.extract_dir, Path::new("/wd/extract"));
    assert_eq!(config.unit_config_file, Path::new("/wd/aos_unit.cfg"));
    assert_eq!(
        (config.services_part_limit, config.layers_part_limit),
        (0, 0)
    );
    assert!(!config.remote_node);
    assert!(!config.restrict_host_access);
    assert!(!config.stop_instances_on_exit);
    assert_eq!(config.runner_features, [""; 0]);
    assert_eq!(config.service_ttl, Duration::from_hours(30 * 24));
    assert_eq!(config.layer_ttl, Duration::from_hours(30 * 24));
    assert_eq!(config.update_policy, UpdatePolicy::KeepOld);
    assert_eq!(config.seccomp, SeccompPolicy::BuiltIn);
    assert_eq!(config.user_namespaces, UserNamespaces::Off);
    assert_eq!(config.service_health_check_timeout, Duration::from_secs(35));
    assert_eq!(config.monitoring.send_period, Duration::from_mins(1));
    assert_eq!(config.monitoring.poll_period, Duration::from_secs(10));
    assert_eq!(config.monitoring.partitions, []);
    assert_eq!(config.monitoring.source, "");
    assert_eq!(config.monitoring.alert_rules, super::AlertRules::default());
    assert_eq!(config.logging.max_part_size, 524_288);
    assert_eq!(config.logging.max_part_count, 20);
    assert_eq!(config.journal_alerts.filter, [""; 0]);
    assert_eq!(config.journal_alerts.service_alert_priority, 4);
    assert_eq!(config.journal_alerts.system_alert_priority, 3);
    assert_eq!(config.host_binds, ["bin", "sbin", "lib", "lib64", "usr"]);
    assert_eq!(config.hosts, []);
    assert_eq!(
        config.migration.migration_path,
        Path::new("/usr/share/aos/servicemanager/migration")
    );
    assert_eq!(
        config.migration.merged_migration_path,
        Path::new("/wd/mergedMigration")
    );
}

#[test]
fn null_and_empty_texts_count_as_absent() {
    let config = config(json!({
        "storageDir": "", "certStorage": "", "monitoring": null, "hostBinds": [],
    }));

    assert_eq!(config.storage_dir, Path::new("/wd/storages"));
    assert_eq!(config.cert_storage, "/var/aos/crypt/sm/");
    assert_eq!(config.monitoring.poll_period, Duration::from_secs(10));
    assert_eq!(config.host_binds.len(), 5);
}

#[test]
fn each_simple_key_is_taken_over() {
    let config = config(json!({
        "certStorage": "sm", "cmServerUrl": "10.0.0.1:1", "iamPublicServerUrl": "[::1]:65535",
        "iamProtectedServerUrl": ":8089", "storageDir": "/s", "stateDir": "/st",
        "servicesDir": "/sv", "layersDir": "/l", "downloadDir": "/d", "extractDir": "/e",
        "servicesPartLimit": 50, "layersPartLimit": 100, "remoteNode": true,
        "runnerFeatures": ["crun", "runx"], "unitConfigFile": "unit.cfg", "serviceTtlDays": 10,
        "layerTtlDays": 0, "serviceHealthCheckTimeout": "PT10S", "updatePolicy": "replace",
        "restrictHostAccess": true, "stopInstancesOnExit": true,
        "seccompProfile": "/etc/aos/seccomp.json", "userNamespaces": ["b", "a"],
    }));

    assert_eq!(config.cert_storage, "sm");
    assert_eq!(config.ca_cert, Path::new("/etc/root.pem"));
    assert_eq!(config.cm_server_url, "10.0.0.1:1");
    assert_eq!(config.iam_public_server_url, "[::1]:65535");
    assert_eq!(config.iam_protected_server_url, "localhost:8089");
    assert_eq!(config.storage_dir, Path::new("/s"));
    assert_eq!(config.state_dir, Path::new("/st"));
    assert_eq!(config.services_dir, Path::new("/sv"));
    assert_eq!(config.layers_dir, Path::new("/l"));
    assert_eq!(config.download_dir, Path::new("/d"));
    assert_eq!(config.extract_dir, Path::new("/e"));
    assert_eq!(
        (config.services_part_limit, config.layers_part_limit),
        (50, 100)
    );
    assert!(config.remote_node);
    assert_eq!(config.runner_features, ["crun", "runx"]);
    assert_eq!(config.unit_config_file, Path::new("/base/unit.cfg"));
    assert_eq!(config.service_ttl, Duration::from_hours(240));
    assert_eq!(config.layer_ttl, Duration::ZERO);
    assert_eq!(config.update_policy, UpdatePolicy::Replace);
    assert_eq!(
        config.seccomp,
        SeccompPolicy::File("/etc/aos/seccomp.json".into())
    );
    assert_eq!(
        config.user_namespaces,
        UserNamespaces::Services(["a".to_owned(), "b".to_owned()].into())
    );
    assert!(config.restrict_host_access);
    assert!(config.stop_instances_on_exit);
    assert_eq!(config.service_health_check_timeout, Duration::from_secs(10));
}

#[test]
fn each_key_of_the_sections_is_taken_over() {
    let rule = json!({"minTimeout": "1m", "minThreshold": 10, "maxThreshold": 20});
    let config = config(json!({
        "monitoring": {
            "sendPeriod": "PT5M", "pollPeriod": 1_000_000_000, "source": "xentop",
            "partitions": [{"name": "var", "types": ["services"], "path": "/var"}],
            "ram": rule, "cpu": rule, "inTraffic": rule, "outTraffic": rule,
            "usedDisks": [{"name": "var", "minThreshold": 1, "maxThreshold": 2}],
        },
        "logging": {"maxPartSize": 1024, "maxPartCount": 3},
        "journalAlerts": {"filter": ["a.*b"], "serviceAlertPriority": 7, "systemAlertPriority": 0},
        "hostBinds": ["usr", "/opt"],
        "hosts": [{"ip": "fe80::1", "hostname": "ivi"}],
        "migration": {"migrationPath": "/m", "mergedMigrationPath": "/mm"},
    }));

    let rule = RuleConfig {
        min_timeout: Duration::from_mins(1),
        min_threshold: 10,
        max_threshold: 20,
    };
    let monitoring = config.monitoring;
    assert_eq!(monitoring.send_period, Duration::from_mins(5));
    assert_eq!(monitoring.poll_period, Duration::from_secs(1));
    assert_eq!(monitoring.source, "xentop");
    let partition = PartitionConfig {
        name: "var".into(),
        types: vec!["services".into()],
        path: PathBuf::from("/var"),
    };
    assert_eq!(monitoring.partitions, [partition]);
    let rules = monitoring.alert_rules;
    assert_eq!(
        [rules.ram, rules.cpu, rules.in_traffic, rules.out_traffic],
        [Some(rule); 4]
    );
    assert_eq!(rules.used_disks[0].name, "var");
    assert_eq!(rules.used_disks[0].rule.min_timeout, Duration::ZERO);
    assert_eq!(config.logging.max_part_size, 1024);
    assert_eq!(config.logging.max_part_count, 3);
    assert_eq!(config.journal_alerts.filter, ["a.*b"]);
    assert_eq!(config.journal_alerts.service_alert_priority, 7);
    assert_eq!(config.journal_alerts.system_alert_priority, 0);
    assert_eq!(config.host_binds, ["usr", "opt"]);
    let host = HostEntry {
        ip: "fe80::1".parse().unwrap(),
        hostname: "ivi".into(),
    };
    assert_eq!(config.hosts, [host]);
    assert_eq!(config.migration.migration_path, Path::new("/m"));
    assert_eq!(config.migration.merged_migration_path, Path::new("/mm"));
}

#[test]
fn keys_match_whatever_their_case_at_every_level() {
    let (config, warnings) = checked(
        r#"{"CACert": "/c", "CMServerURL": "cm:1", "IAMPublicServerURL": "iam:2",
            "IAMProtectedServerURL": "iam:3", "WORKINGDIR": "/w",
            "Monitoring": {"POLLPERIOD": "1s", "Partitions": [{"Name": "n", "PATH": "/p"}]}}"#,
    )
    .unwrap();

    assert_eq!(warnings, []);
    assert_eq!(config.iam_protected_server_url, "iam:3");
    assert_eq!(config.monitoring.poll_period, Duration::from_secs(1));
    assert_eq!(config.monitoring.partitions[0].name, "n");
}

#[test]
fn last_spelling_of_a_key_wins_with_a_warning() {
    let text = with(json!({})).replacen(
        '{',
        r#"{"remoteNode": true, "REMOTENODE": false, "remoteNode": true,"#,
        1,
    );

    let (config, warnings) = checked(&text).unwrap();

    assert!(config.remote_node);
    assert_eq!(warnings.len(), 2);
}

#[test]
fn unknown_keys_are_warnings_with_their_path() {
    let warnings = warnings(json!({
        "fcrypt": {}, "monitoring": {"sendPeriodd": 1, "partitions": [{"name": "n", "path": "/", "x": 1}]},
    }));

    assert_eq!(
        warnings,
        [
            "configuration key monitoring.partitions[0].x is unknown, ignored",
            "configuration key monitoring.sendPeriodd is unknown, ignored",
            "configuration key fcrypt is unknown, ignored",
        ]
    );
}

#[test]
fn journal_priorities_outside_their_range_fall_back_with_a_warning() {
    for bad in [-1, 8, 1_000_000] {
        let text = with(
            json!({"journalAlerts": {"serviceAlertPriority": bad, "systemAlertPriority": bad}}),
        );

        let (config, warnings) = checked(&text).unwrap();

        assert_eq!(config.journal_alerts.service_alert_priority, 4);
        assert_eq!(config.journal_alerts.system_alert_priority, 3);
        assert_eq!(warnings.len(), 2, "{bad}");
    }
}

#[test]
fn useless_journal_filters_are_left_out_with_a_warning() {
    let text = with(json!({"journalAlerts": {"filter": ["ok", "(", ""]}}));

    let (config, warnings) = checked(&text).unwrap();

    assert_eq!(config.journal_alerts.filter, ["ok"]);
    assert_eq!(warnings.len(), 2);
}
