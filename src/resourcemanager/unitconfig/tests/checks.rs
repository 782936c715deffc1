//! What makes a configuration good, and what an instance gets of it.

use std::path::Path;

use super::super::check::{self, Novelty, novelty};
use super::super::format::UnitConfig;
use super::super::look::look;
use super::super::provide::provide;
use super::*;
use crate::model::{HostDevice, ResourceMount};

fn read(config: &Value) -> UnitConfig {
    UnitConfig::from_message(&config.to_string(), "1").unwrap()
}

fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut config = config();
    change(&mut config);
    check::faults(&read(&config))
}

#[test]
fn good_configuration_has_no_fault() {
    assert_eq!(faults(|_| {}), [] as [String; 0]);
}

#[test]
fn each_fault_is_named_with_whose_it_is() {
    let device = |device: Value| faults(|config| config["devices"] = json!([device]));
    let resource = |resource: Value| faults(|config| config["resources"] = json!([resource]));
    let mount = |mount: Value| resource(json!({"name": "r", "mounts": [mount]}));

    for host in [
        "/dev",
        "/dev/",
        "dev/x",
        "/etc/x",
        "/dev/../etc/x",
        "",
        ":",
        "/dev/a:",
        "/dev/a:b",
        "/dev/a:/run/b",
        "/dev/a\0",
    ] {
        let found = device(json!({"name": "d", "hostDevices": [host]}));
        assert_eq!(found.len(), 1, "{host:?}");
        assert!(found[0].starts_with("device d: host device"), "{found:?}");
    }
    for destination in ["", "x", "/", "/a/../b"] {
        let found = mount(json!({"destination": destination, "type": "tmpfs"}));
        assert!(
            found[0].starts_with("resource r: mount destination"),
            "{found:?}"
        );
    }
    for (bad, text) in [
        (
            json!({"destination": "/a", "source": "x"}),
            "source \"x\" of mount /a",
        ),
        (
            json!({"destination": "/a", "source": "/b", "options": ["mode=9"]}),
            "\"mode=9\"",
        ),
        (
            json!({"destination": "/a", "source": "/b", "options": ["mode=17777"]}),
            "17777",
        ),
        (json!({"destination": "/a", "source": "/b\0"}), "no text"),
    ] {
        let found = mount(bad);
        assert!(found[0].contains(text), "{found:?}");
    }
    for bad in [
        json!({"name": "r", "env": ["X"]}),
        json!({"name": "r", "env": ["=x"]}),
        json!({"name": "r", "hosts": [{"ip": "1.2.3", "hostname": "a"}]}),
        json!({"name": "r", "hosts": [{"ip": "1.2.3.4", "hostname": "a b"}]}),
        json!({"name": "r", "hosts": [{"ip": "1.2.3.4"}]}),
        json!({"name": "r", "env": vec!["A=1"; 257]}),
        json!({"name": "r".repeat(5000)}),
    ] {
        assert_eq!(resource(bad.clone()).len(), 1, "{bad:.60}");
    }
    assert_eq!(device(json!({})), ["a device has no name"]);
    let twice = faults(|config| config["devices"] = json!([{"name": "d"}, {"name": "d"}]));
    assert_eq!(twice, ["device d is there twice"]);
    let many: Vec<_> = (0..257).map(|n| json!({"name": n.to_string()})).collect();
    assert_eq!(faults(|config| config["devices"] = json!(many)).len(), 1);
    let nameless = UnitConfig::from_message(&config().to_string(), "").unwrap();
    assert_eq!(check::faults(&nameless), ["it has no version"]);
}

#[test]
fn only_one_content_has_a_version() {
    let one = read(&config());
    let mut other = one.clone();
    other.priority += 1;
    let newer = UnitConfig {
        vendor_version: "2".into(),
        ..one.clone()
    };

    assert_eq!(novelty(None, &one), Novelty::New);
    assert_eq!(novelty(Some(&one), &one), Novelty::Same);
    assert_eq!(novelty(Some(&one), &other), Novelty::Conflict);
    assert_eq!(novelty(Some(&one), &newer), Novelty::New);
}

#[test]
fn instance_gets_what_it_asks_for() {
    let node = node();
    let config = read(&config());
    let look = look(&config, &node.places());

    let got = provide(
        &Ok(&config),
        &look,
        &["camera".into()],
        &["bluetooth".into()],
    );

    assert_eq!(got.lacks, []);
    let device = &got.devices[0];
    assert_eq!((device.shared_count, &device.gids), (2, &vec![44]));
    let renamed = |host: &str, inside: &str| HostDevice {
        host: host.into(),
        inside: inside.into(),
    };
    let nodes = [
        renamed("/dev/video0", "/dev/camera"),
        renamed("/dev/media", "/dev/media"),
    ];
    assert_eq!(device.host_devices, nodes);
    let resource = &got.resources[0];
    assert_eq!(resource.gids, [29, 0]);
    assert_eq!(resource.env, ["BT=yes"]);
    assert_eq!(
        resource.hosts,
        [("10.0.0.9".parse().unwrap(), "vis".to_owned())]
    );
    let mount = ResourceMount {
        destination: "/run/bt".into(),
        kind: "tmpfs".into(),
        source: "tmpfs".into(),
        options: vec!["nosuid".into(), "size=1m".into()],
        mode: Some(0o1750),
    };
    assert_eq!(resource.mounts, [mount]);
}

#[test]
fn what_the_host_lacks_is_named_and_lacked_by_those_who_ask_for_it_alone() {
    let node = node();
    node.unplug("video0");
    fs::write(node.dev("media/file"), "").unwrap();
    let mut config = config();
    config["devices"][0]["groups"] = json!(["nobody-here"]);
    config["devices"][0]["hostDevices"] = json!(["/dev/video0", "/dev/media/file"]);
    let config = read(&config);
    let look = look(&config, &node.places());

    let camera = provide(&Ok(&config), &look, &["camera".into()], &[]);
    let bluetooth = provide(&Ok(&config), &look, &[], &["bluetooth".into()]);

    let texts = [
        "device /dev/video0 is not present on the system",
        "/dev/media/file is neither a device nor a directory of devices",
        "group nobody-here is not present on the system",
    ];
    assert_eq!(look.missing(), [errors("camera", &texts)]);
    let reason = format!("device camera: {}", texts.join("; "));
    assert_eq!(camera.lacks[0].reason, reason);
    assert_eq!(camera.lacks[0].device.as_deref(), Some("camera"));
    // Who runs with it goes on holding it.
    assert_eq!(camera.devices.len(), 1);
    assert_eq!(bluetooth.lacks, []);
}

#[test]
fn unknown_names_are_lacked_by_name() {
    let config = read(&config());

    let got = provide(
        &Ok(&config),
        &look(&config, &node().places()),
        &["x".into()],
        &["y".into()],
    );

    let reasons: Vec<_> = got.lacks.iter().map(|lack| lack.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "device x: unit configuration 1 does not name it",
            "resource y: unit configuration 1 does not name it"
        ]
    );
}

#[test]
fn missing_list_of_groups_is_no_panic() {
    let node = node();
    fs::remove_file(node.directory.path().join("group")).unwrap();

    let missing = look(&read(&config()), &node.places()).missing();

    assert!(
        missing[0].errors[0].starts_with("cannot read "),
        "{missing:?}"
    );
    assert!(Path::new(&node.file()).parent().is_some());
}
