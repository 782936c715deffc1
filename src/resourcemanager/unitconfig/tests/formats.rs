//! The file and the text of a message.

use proptest::prelude::*;

use super::super::check;
use super::super::format::{LONGEST, UnitConfig};
use super::*;

#[test]
fn file_of_release_7_2_3_is_read() {
    let text = r#"{
        "nodeType": "main",
        "devices": [{"name": "random", "sharedCount": 1, "groups": ["root"],
                     "hostDevices": ["/dev/random"]},
                    {"name": "null", "hostDevices": ["/dev/null"]}],
        "resources": [{"name": "dbus", "mounts": [{"destination": "/var/run/dbus",
                       "type": "bind", "source": "/var/run/dbus", "options": ["rw", "bind"]}]}],
        "labels": null,
        "priority": 0,
        "somethingNew": {"a": [1]},
        "vendorVersion": "1.2.3"
    }"#;

    let config = UnitConfig::from_file(text.as_bytes()).unwrap();

    assert_eq!(config.vendor_version, "1.2.3");
    assert_eq!(config.devices[1].shared_count, 0);
    assert_eq!(config.resources[0].mounts[0].kind, "bind");
    assert_eq!(check::faults(&config), [] as [String; 0]);
}

#[test]
fn version_of_the_message_counts() {
    let config = UnitConfig::from_message(r#"{"vendorVersion": "1"}"#, "2").unwrap();

    assert_eq!(config.vendor_version, "2");
}

#[test]
fn texts_of_another_form_are_refused() {
    let long = format!("{}{{}}", " ".repeat(LONGEST));
    for text in [
        "",
        "[1]",
        "{",
        r#"{"devices": {}}"#,
        r#"{"devices": [{"sharedCount": -1}]}"#,
        r#"{"devices": [{"sharedCount": "1"}]}"#,
        r#"{"nodeType": 7}"#,
        &long,
    ] {
        assert!(UnitConfig::from_message(text, "1").is_err(), "{text:.40}");
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,12}",
        "/dev/[a-z/.:]{0,10}",
        "/[a-z/.]{0,10}",
        Just("mode=0755".to_owned()),
        "[A-Z=]{0,5}",
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        let key = prop::sample::select(vec![
            "nodeType",
            "devices",
            "resources",
            "labels",
            "priority",
            "name",
            "sharedCount",
            "groups",
            "hostDevices",
            "mounts",
            "env",
            "hosts",
            "destination",
            "type",
            "source",
            "options",
            "ip",
            "hostname",
            "vendorVersion",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6).prop_map(|entries| {
                let entries = entries
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value));
                Value::Object(entries.collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(UnitConfig::from_file(&bytes));
    }

    #[test]
    fn no_text_makes_it_panic_and_what_is_read_is_stored_as_it_was(value in any_value()) {
        if let Ok(config) = UnitConfig::from_message(&value.to_string(), "v") {
            drop(check::faults(&config));
            prop_assert_eq!(UnitConfig::from_file(&config.to_file()).unwrap(), config);
        }
    }
}
