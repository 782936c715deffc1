//! What the unit configuration lends, in the specification.

use serde_json::{Value, json};

use super::tests::{around, blueprint, mount_of, service, sources, texts};
use super::*;
use crate::model::{Device, NodeResource, Provision, ResourceMount};

fn lent(mount: ResourceMount, kind: MountPointKind) -> LentMount {
    LentMount { mount, kind }
}

fn tmpfs(destination: &str, mode: Option<u32>) -> LentMount {
    let mount = ResourceMount {
        destination: destination.into(),
        kind: "tmpfs".into(),
        options: texts(&["nosuid"]),
        mode,
        ..ResourceMount::default()
    };
    lent(mount, MountPointKind::Directory)
}

fn bind(destination: &str, source: &str, options: &[&str]) -> LentMount {
    let mount = ResourceMount {
        destination: destination.into(),
        kind: "bind".into(),
        source: source.into(),
        options: texts(options),
        mode: None,
    };
    lent(mount, MountPointKind::File)
}

fn spec(provision: Provision, devices: &[GrantedDevice], lent: Vec<LentMount>) -> Value {
    let mut blueprint = blueprint(service());
    blueprint.variables = texts(&["B=override"]).into();
    blueprint.provision = provision;
    let sources = Sources { lent, ..sources() };
    let around = Surroundings {
        devices,
        ..around(&sources)
    };
    serde_json::to_value(runtime_spec(&blueprint, around).unwrap()).unwrap()
}

#[test]
fn devices_are_made_and_allowed_after_all_others_are_denied() {
    let device = GrantedDevice {
        node: DeviceNode {
            path: "/dev/camera".into(),
            kind: DeviceKind::Character,
            major: 81,
            minor: 0,
            file_mode: 0o660,
            uid: 0,
            gid: 44,
        },
        host: "/dev/video0".into(),
        access: "rw",
    };

    let spec = spec(Provision::default(), &[device], Vec::new());

    assert_eq!(
        spec["linux"]["devices"],
        json!([{"path": "/dev/camera", "type": "c", "major": 81, "minor": 0,
                "fileMode": 0o660, "uid": 0, "gid": 44}])
    );
    assert_eq!(
        spec["linux"]["resources"]["devices"],
        json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 81, "minor": 0, "access": "rw"},
        ])
    );
}

#[test]
fn groups_of_devices_and_resources_are_additional_ones_once() {
    let provision = Provision {
        devices: vec![Device {
            gids: vec![44, 29],
            ..Device::default()
        }],
        resources: vec![NodeResource {
            gids: vec![29, 7],
            ..NodeResource::default()
        }],
        lacks: Vec::new(),
    };

    let spec = spec(provision, &[], Vec::new());

    assert_eq!(
        spec["process"]["user"]["additionalGids"],
        json!([7, 29, 44])
    );
}

#[test]
fn variables_of_resources_hide_those_of_the_image_and_of_sm_and_overrides_hide_them() {
    let provision = Provision {
        resources: vec![NodeResource {
            env: texts(&["COLOUR=red", "AOS_SERVICE_ID=lent", "B=lent", "C=lent"]),
            ..NodeResource::default()
        }],
        ..Provision::default()
    };

    let spec = spec(provision, &[], Vec::new());

    let env = spec["process"]["env"].as_array().unwrap();
    for variable in ["COLOUR=red", "AOS_SERVICE_ID=lent", "B=override", "C=lent"] {
        assert!(env.contains(&json!(variable)), "{variable}: {env:?}");
    }
}

#[test]
fn mounts_of_resources_come_last_and_replace_one_at_the_same_place() {
    let lent = vec![
        tmpfs("/run/bt", None),
        bind("/run/bt/socket", "/run/host", &["ro"]),
        bind("/etc/hosts", "/other/hosts", &["rbind"]),
    ];

    let spec = spec(Provision::default(), &[], lent);

    let mounts = spec["mounts"].as_array().unwrap();
    let last: Vec<_> = mounts[mounts.len() - 3..]
        .iter()
        .map(|mount| mount["destination"].as_str().unwrap())
        .collect();
    assert_eq!(last, ["/run/bt", "/run/bt/socket", "/etc/hosts"]);
    assert_eq!(
        mount_of(&spec, "/run/bt").unwrap(),
        &json!({"destination": "/run/bt", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid"]})
    );
    assert_eq!(
        mount_of(&spec, "/run/bt/socket").unwrap()["options"],
        json!(["ro", "bind"])
    );
    assert_eq!(
        mount_of(&spec, "/etc/hosts").unwrap()["source"],
        "/other/hosts"
    );
}

#[test]
fn mount_points_are_made_where_no_other_mount_is() {
    let sources = Sources {
        lent: vec![
            tmpfs("/run/bt", Some(0o1750)),
            bind("/run/bt/socket", "/run/host", &[]),
            bind("/dev/log", "/run/host", &[]),
            bind("/etc/hosts", "/other/hosts", &[]),
            bind("/tmp/x", "/other/hosts", &[]),
            bind("/data/file", "/other/hosts", &[]),
        ],
        ..sources()
    };

    let points = mount_points(&sources, Some(1));

    let has = |path: &str| points.iter().filter(|point| point.path == path).count();
    assert_eq!(["/run/bt", "/etc/hosts", "/data/file"].map(has), [1, 1, 1]);
    assert_eq!(["/run/bt/socket", "/dev/log", "/tmp/x"].map(has), [0, 0, 0]);
    let point = points.iter().find(|point| point.path == "/run/bt").unwrap();
    assert_eq!(
        (point.kind, point.mode),
        (MountPointKind::Directory, 0o1750)
    );
    let point = points.iter().find(|point| point.path == "/data/file");
    assert_eq!(point.unwrap().kind, MountPointKind::File);
}
