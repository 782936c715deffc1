//! Who is who in a user namespace, and what the specification says of it.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::oci::Mount;
use super::tests::{around, blueprint, mount_of, service, sources, texts};
use super::user_namespace::{MAPPED_ROOT, UserNamespaceError, mappings};
use super::*;
use crate::model::{Device, Provision};

fn user(uid: u32, gid: u32, additional_gids: &[u32]) -> User {
    User {
        uid,
        gid,
        additional_gids: additional_gids.to_vec(),
    }
}

fn device(inside: &str, host: &str, minor: u64) -> GrantedDevice {
    GrantedDevice {
        node: DeviceNode {
            path: inside.into(),
            kind: DeviceKind::Character,
            major: 10,
            minor,
            file_mode: 0o660,
            uid: 0,
            gid: 44,
        },
        host: host.into(),
        access: "rw",
    }
}

fn spec_in(blueprint: &Blueprint, devices: &[GrantedDevice], user_namespace: bool) -> Value {
    let sources = sources();
    let around = Surroundings {
        devices,
        user_namespace,
        ..around(&sources)
    };
    serde_json::to_value(runtime_spec(blueprint, around).unwrap()).unwrap()
}

#[test]
fn service_stays_who_it_is_and_root_is_somebody_who_owns_nothing() {
    let mut blueprint = blueprint(service());
    blueprint.provision = Provision {
        devices: vec![Device {
            gids: vec![44, 3000],
            ..Device::default()
        }],
        ..Provision::default()
    };

    let spec = spec_in(&blueprint, &[], true);

    let map =
        |inside: u32, outside: u32| json!({"containerID": inside, "hostID": outside, "size": 1});
    let linux = &spec["linux"];
    let root = map(0, 2_000_000_000);
    assert_eq!(linux["uidMappings"], json!([root, map(5000, 5000)]));
    assert_eq!(
        linux["gidMappings"],
        json!([root, map(5, 2_000_000_005), map(44, 44), map(3000, 3000)])
    );
    let namespaces = linux["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!({"type": "user"})));
}

#[test]
fn specification_without_one_has_nothing_of_it() {
    let spec = spec_in(&blueprint(service()), &[], false);

    let linux = spec["linux"].as_object().unwrap();
    assert!(!linux.contains_key("uidMappings") && !linux.contains_key("gidMappings"));
    let namespaces = linux["namespaces"].as_array().unwrap();
    assert!(!namespaces.contains(&json!({"type": "user"})));
    assert!(mount_of(&spec, "/sys").is_some());
}

#[test]
fn what_only_root_of_the_host_may_do_is_not_asked_of_the_runtime() {
    let mut service = service();
    service.config.sysctl = Some(
        [("net.ipv4.ip_default_ttl", "42"), ("kernel.sem", "1 2 3 4")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    );
    let parameters = network_parameters(&service.config);

    let spec = spec_in(&blueprint(service), &[], true);

    assert!(mount_of(&spec, "/sys").is_none());
    assert!(mount_of(&spec, "/sys/fs/cgroup").is_some());
    assert_eq!(spec["linux"]["sysctl"], json!({"kernel.sem": "1 2 3 4"}));
    let parameter = ("net/ipv4/ip_default_ttl".into(), "42".to_owned());
    assert_eq!(parameters, [parameter]);
}

#[test]
fn devices_are_mounted_from_where_they_are_on_the_host_and_allowed_as_ever() {
    let devices = [
        device("/dev/camera", "/dev/video0", 1),
        device("/dev/camera", "/dev/video1", 2),
    ];
    let blueprint = blueprint(service());

    let spec = spec_in(&blueprint, &devices, true);

    assert_eq!(spec["linux"].get("devices"), None);
    assert_eq!(
        mount_of(&spec, "/dev/camera").unwrap(),
        &json!({"destination": "/dev/camera", "type": "bind", "source": "/dev/video0",
                "options": ["bind", "nosuid", "noexec"]})
    );
    let without = spec_in(&blueprint, &devices, false);
    assert_eq!(spec["linux"]["resources"], without["linux"]["resources"]);
}

#[test]
fn root_and_who_stands_for_it_can_be_nobody_inside() {
    let root = |what| Err(UserNamespaceError::Root { what });
    let cases = [
        (user(0, 3000, &[]), root("user")),
        (user(5000, 0, &[]), root("group")),
        (
            user(5000, 3000, &[7, 0]),
            root("group of a device or resource"),
        ),
        (
            user(MAPPED_ROOT, 3000, &[]),
            Err(UserNamespaceError::Reserved {
                what: "user",
                id: MAPPED_ROOT,
            }),
        ),
        (
            user(5000, MAPPED_ROOT + 5, &[]),
            Err(UserNamespaceError::Reserved {
                what: "group",
                id: MAPPED_ROOT + 5,
            }),
        ),
    ];

    for (user, expected) in cases {
        assert_eq!(mappings(&user).map(drop), expected, "{user:?}");
    }
    let text = UserNamespaceError::Root { what: "user" }.to_string();
    assert!(
        text.ends_with("take the service out of userNamespaces"),
        "{text}"
    );
}

#[test]
fn instance_that_cannot_have_one_is_refused_early_and_late() {
    let mut blueprint = blueprint(service());
    blueprint.info.uid = 0;
    let sources = sources();
    let around = Surroundings {
        user_namespace: true,
        ..around(&sources)
    };

    let late = runtime_spec(&blueprint, around).unwrap_err();

    assert_eq!(check_users(&blueprint).unwrap_err(), late);
    assert!(matches!(late, SpecError::UserNamespace(_)), "{late}");
}

#[test]
fn group_of_terminals_that_is_lent_stays_what_it_is() {
    let groups = mappings(&user(5000, 3000, &[5])).unwrap().groups();

    assert_eq!(groups, [(0, MAPPED_ROOT), (5, 5), (3000, 3000)]);
}

#[test]
fn options_are_added_once_and_last() {
    let mut mount = Mount {
        destination: "/x".to_owned(),
        kind: "bind".into(),
        source: "/y".into(),
        options: texts(&["rbind", "rw", "nodev"]),
    };

    mount.add_options(&["ro", "nodev"]);

    assert!(mount.is_bind());
    assert_eq!(mount.options, ["rbind", "rw", "nodev", "ro"]);
}

proptest! {
    #[test]
    fn each_id_is_somebody_once_on_both_sides(
        uid in prop_oneof![0..10u32, any::<u32>()],
        gid in prop_oneof![0..10u32, any::<u32>()],
        others in vec(prop_oneof![0..10u32, any::<u32>()], 0..8),
    ) {
        let wanted: BTreeSet<_> = others.iter().copied().chain([gid]).collect();
        if let Ok(found) = mappings(&user(uid, gid, &others)) {
            for pairs in [found.users(), found.groups()] {
                let inside: BTreeSet<_> = pairs.iter().map(|(inside, _)| *inside).collect();
                let outside: BTreeSet<_> = pairs.iter().map(|(_, outside)| *outside).collect();
                prop_assert_eq!(inside.len(), pairs.len());
                prop_assert_eq!(outside.len(), pairs.len());
                prop_assert!(!outside.contains(&0));
                prop_assert!(pairs.contains(&(0, MAPPED_ROOT)));
            }
            prop_assert!(found.users().contains(&(uid, uid)));
            for gid in wanted {
                prop_assert!(found.groups().contains(&(gid, gid)));
            }
            // devpts is mounted for it.
            prop_assert!(found.groups().iter().any(|(inside, _)| *inside == 5));
        } else {
            let all = wanted.into_iter().chain([uid]);
            let is_kept = |id: u32| id == 0 || id == MAPPED_ROOT || id == MAPPED_ROOT + 5;
            prop_assert!(all.into_iter().any(is_kept));
        }
    }
}
