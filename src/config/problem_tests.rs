use serde_json::{Value, json};

use super::tests::{checked, with};
use super::{Config, ConfigError, Problems};

fn problems(changes: Value) -> Vec<String> {
    let Problems(problems) = checked(&with(changes)).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn keys_without_a_default_are_required() {
    let Problems(problems) = checked("{}").unwrap_err();

    let keys: Vec<_> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "workingDir",
            "caCert",
            "cmServerUrl",
            "iamPublicServerUrl",
            "iamProtectedServerUrl"
        ]
    );
}

/// Each file has exactly the one problem.
fn assert_problems<const N: usize>(cases: [(Value, &str); N]) {
    for (change, expected) in cases {
        assert_eq!(problems(change), [expected]);
    }
}

#[test]
fn wrong_value_of_a_simple_key_is_named_with_what_is_allowed() {
    assert_problems([
        (json!({"workingDir": 1}), "workingDir is 1, must be a path"),
        (
            json!({"caCert": "a\0b"}),
            r#"caCert is "a\u0000b", must be a path"#,
        ),
        (
            json!({"certStorage": {}}),
            "certStorage is {}, must be a text",
        ),
        (
            json!({"cmServerUrl": "cm"}),
            r#"cmServerUrl is "cm", must be host:port"#,
        ),
        (
            json!({"cmServerUrl": "cm:0"}),
            r#"cmServerUrl is "cm:0", must be host:port"#,
        ),
        (
            json!({"cmServerUrl": "cm:65536"}),
            r#"cmServerUrl is "cm:65536", must be host:port"#,
        ),
        (
            json!({"cmServerUrl": "::1:80"}),
            r#"cmServerUrl is "::1:80", must be host:port"#,
        ),
        (
            json!({"cmServerUrl": "http://cm:80"}),
            r#"cmServerUrl is "http://cm:80", must be host:port"#,
        ),
        (
            json!({"servicesPartLimit": 101}),
            "servicesPartLimit is 101, must be a whole number from 0 to 100",
        ),
        (
            json!({"layersPartLimit": -1}),
            "layersPartLimit is -1, must be a whole number from 0 to 100",
        ),
        (
            json!({"layersPartLimit": 1.5}),
            "layersPartLimit is 1.5, must be a whole number from 0 to 100",
        ),
        (
            json!({"remoteNode": "yes"}),
            r#"remoteNode is "yes", must be true or false"#,
        ),
        (
            json!({"runnerFeatures": "crun"}),
            r#"runnerFeatures is "crun", must be a list"#,
        ),
        (
            json!({"runnerFeatures": [1]}),
            "runnerFeatures[0] is 1, must be a text",
        ),
        (
            json!({"serviceTtlDays": "30"}),
            r#"serviceTtlDays is "30", must be a whole number from 0 to 4294967295"#,
        ),
        (
            json!({"seccompProfile": "on"}),
            r#"seccompProfile is "on", must be default, off or the absolute path of a profile"#,
        ),
        (
            json!({"userNamespaces": "yes"}),
            r#"userNamespaces is "yes", must be on, off or a list of service ids"#,
        ),
        (
            json!({"userNamespaces": true}),
            "userNamespaces is true, must be on, off or a list of service ids",
        ),
        (
            json!({"userNamespaces": ["a", 1]}),
            r#"userNamespaces is ["a",1], must be on, off or a list of service ids"#,
        ),
        (
            json!({"userNamespaces": [""]}),
            r#"userNamespaces is [""], must be on, off or a list of service ids"#,
        ),
        (
            json!({"updatePolicy": "keepold"}),
            r#"updatePolicy is "keepold", must be keepOld or replace"#,
        ),
        (
            json!({"serviceHealthCheckTimeout": "soon"}),
            r#"serviceHealthCheckTimeout is "soon", must be a duration such as "10s", "1m30s" or "PT1M30S""#,
        ),
    ]);
}

#[test]
fn wrong_value_inside_a_section_is_named_with_its_path() {
    let rule = |key: &str, value: Value| json!({"monitoring": {"cpu": {"minThreshold": 1, "maxThreshold": 2, key: value}}});
    assert_problems([
        (
            json!({"monitoring": []}),
            "monitoring is [], must be an object",
        ),
        (
            json!({"monitoring": {"pollPeriod": "0s"}}),
            r#"monitoring.pollPeriod is "0s", must be a duration such as "10s", "1m30s" or "PT1M30S" of at least 100ms"#,
        ),
        (
            json!({"monitoring": {"partitions": ["var"]}}),
            r#"monitoring.partitions[0] is "var", must be an object"#,
        ),
        (
            json!({"monitoring": {"partitions": [{"path": "/"}]}}),
            "monitoring.partitions[0].name is missing, must be a text without spaces",
        ),
        (
            json!({"monitoring": {"partitions": [{"name": "n"}]}}),
            "monitoring.partitions[0].path is missing, must be a path",
        ),
        (
            rule("minTimeout", json!("-1s")),
            r#"monitoring.cpu.minTimeout is "-1s", must be a duration such as "10s", "1m30s" or "PT1M30S""#,
        ),
        (
            rule("maxThreshold", json!("2")),
            r#"monitoring.cpu.maxThreshold is "2", must be a whole number from 0"#,
        ),
        (
            rule("minThreshold", Value::Null),
            "monitoring.cpu.minThreshold is missing, must be a whole number from 0",
        ),
        (
            json!({"logging": {"maxPartSize": 0}}),
            "logging.maxPartSize is 0, must be a whole number from 1",
        ),
        (
            json!({"journalAlerts": {"systemAlertPriority": "3"}}),
            r#"journalAlerts.systemAlertPriority is "3", must be a whole number"#,
        ),
        (
            json!({"hostBinds": ["../etc"]}),
            r#"hostBinds[0] is "../etc", must be the name of a directory in /"#,
        ),
        (
            json!({"hostBinds": ["usr/lib"]}),
            r#"hostBinds[0] is "usr/lib", must be the name of a directory in /"#,
        ),
        (
            json!({"hosts": [{"ip": "localhost", "hostname": "h"}]}),
            r#"hosts[0].ip is "localhost", must be an IP address"#,
        ),
        (
            json!({"hosts": [{"ip": "::1", "hostname": "a b"}]}),
            r#"hosts[0].hostname is "a b", must be a text without spaces"#,
        ),
        (json!({"migration": 1}), "migration is 1, must be an object"),
    ]);
}

#[test]
fn directory_that_would_be_swept_with_another_is_named_with_it() {
    assert_problems([
        (
            json!({"servicesDir": "/a", "layersDir": "/a"}),
            r#"servicesDir is "/a", must be a directory that does not hold layersDir, "/a""#,
        ),
        (
            json!({"extractDir": "/a/", "stateDir": "/a/b/../c"}),
            r#"extractDir is "/a", must be a directory that does not hold stateDir, "/a/c""#,
        ),
        (
            json!({"layersDir": "/wd/services/./layers"}),
            r#"servicesDir is "/wd/services", must be a directory that does not hold layersDir, "/wd/services/layers""#,
        ),
    ]);
}

#[test]
fn swept_directory_must_not_hold_the_working_directory() {
    let all = ["workingDir", "storageDir", "stateDir", "layersDir"];
    for path in ["/wd", "/", "/wd/x/.."] {
        let problems = problems(json!({"servicesDir": path}));

        for key in all {
            let of_key = |text: &&String| text.contains(&format!("does not hold {key}, "));
            assert_eq!(problems.iter().filter(of_key).count(), 1, "{problems:?}");
        }
    }
}

#[test]
fn neighbours_and_directories_below_what_is_kept_are_fine() {
    for change in [
        json!({"servicesDir": "/wd/layers2"}),
        json!({"servicesDir": "/wd/storages/services"}),
        json!({"storageDir": "/wd", "stateDir": "/wd"}),
    ] {
        assert!(checked(&with(change)).is_ok());
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems = problems(json!({
        "caCert": null, "remoteNode": 1, "hosts": [{"ip": 1, "hostname": "h"}, {}],
    }));

    assert_eq!(problems.len(), 5, "{problems:#?}");
}

#[test]
fn long_values_are_shortened() {
    let problems = problems(json!({"remoteNode": "y".repeat(5000)}));

    assert!(problems[0].len() < 120, "{}", problems[0]);
}

#[test]
fn file_that_is_no_object_is_a_problem() {
    let problems = checked("[]").unwrap_err();

    assert!(
        problems
            .to_string()
            .starts_with("the file is [], must be an object")
    );
}

#[test]
fn errors_of_a_file_name_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sm.cfg");
    let absent = Config::load(&path).unwrap_err();
    std::fs::write(&path, "{\n\"caCert\": \"x\",\n}").unwrap();
    let broken = Config::load(&path).unwrap_err();
    std::fs::write(&path, "{}").unwrap();
    let invalid = Config::load(&path).unwrap_err();

    assert!(matches!(absent, ConfigError::Read { .. }));
    assert!(matches!(broken, ConfigError::Syntax { .. }));
    assert!(matches!(invalid, ConfigError::Invalid { .. }));
    for error in [&absent, &broken, &invalid] {
        assert!(error.to_string().contains("sm.cfg"), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let text = crate::model::Chain(&broken).to_string();
    assert!(
        text.ends_with("trailing comma at line 3 column 1"),
        "{text}"
    );
}
