use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use aos_names::{NetworkNames, is_name};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::model::{InstanceId, InstanceIdent, NetworkId, NetworkParameters};
use crate::networkmanager::addresses::InterfaceAddress;
use crate::networkmanager::{AttachRequest, NetworkError};

fn id(bits: u128) -> InstanceId {
    InstanceId::from_u128(bits)
}

fn request(bits: u128, network: &str, hostname: &str) -> AttachRequest {
    AttachRequest {
        id: id(bits),
        ident: InstanceIdent {
            service_id: "Service".into(),
            subject_id: "subject".into(),
            index: i64::try_from(bits).unwrap(),
        },
        network: NetworkParameters::default(),
        provider_id: network.into(),
        hostname: Some(hostname.into()),
        extra_hosts: Vec::new(),
        exposed_ports: Vec::new(),
        speeds: Default::default(),
        limits: Default::default(),
    }
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn facts(bridge: &str) -> NetworkFacts {
    NetworkFacts {
        bridge: bridge.into(),
        bridge_index: 3,
        gateway: InterfaceAddress {
            address: address(1),
            prefix: 24,
        },
        dns_servers: Vec::new(),
    }
}

fn directory() -> NameDirectory {
    let mut directory = NameDirectory::default();
    directory.set_network(&"a".into(), facts("br-a"));
    directory.set_network(&"b".into(), facts("br-b"));
    directory
}

fn names(directory: &NameDirectory, network: &str) -> BTreeMap<String, Vec<String>> {
    let files = directory.files();
    let file = files.iter().find(|file| file.network == network).unwrap();
    let instances = file.instances.iter();
    instances
        .map(|instance| (instance.id.clone(), instance.names.clone()))
        .collect()
}

#[test]
fn instance_has_its_host_name_its_place_and_its_id() {
    let mut directory = directory();

    directory
        .admit(&request(0, "a", "web"), address(2))
        .unwrap();
    directory.admit(&request(1, "a", ""), address(3)).unwrap();

    let names = names(&directory, "a");
    let own = id(0).to_string();
    assert_eq!(
        names[&own],
        ["web", "0.subject.Service", "subject.Service", &own]
    );
    let own = id(1).to_string();
    assert_eq!(names[&own], ["1.subject.Service", &own]);
}

#[test]
fn host_name_of_another_is_refused_whatever_its_case() {
    let mut directory = directory();
    directory
        .admit(&request(1, "a", "web"), address(2))
        .unwrap();

    for name in [
        "web",
        "WEB",
        "1.subject.service",
        &id(1).to_string(),
        "web.A",
    ] {
        let before = directory.clone();
        let outcome = directory.admit(&request(2, "a", name), address(3));
        assert!(
            matches!(outcome, Err(NetworkError::NameTaken { other, .. }) if other == id(1)),
            "{name}: {outcome:?}"
        );
        assert_eq!(directory, before);
    }
    directory
        .admit(&request(2, "b", "web"), address(3))
        .unwrap();
}

#[test]
fn name_is_free_once_its_instance_has_gone() {
    let mut directory = directory();
    directory
        .admit(&request(1, "a", "web"), address(2))
        .unwrap();

    directory.dismiss(id(1));

    directory
        .admit(&request(2, "a", "web"), address(3))
        .unwrap();
}

#[test]
fn instance_does_not_stand_in_its_own_way() {
    let mut directory = directory();
    directory
        .admit(&request(1, "a", "web"), address(2))
        .unwrap();

    directory
        .admit(&request(1, "a", "web"), address(2))
        .unwrap();
    let mut changed = request(1, "a", "shop");
    changed.network.dns_servers = vec!["1.1.1.1".into(), "x".into()];
    directory.admit(&changed, address(2)).unwrap();

    assert_eq!(names(&directory, "a")[&id(1).to_string()][0], "shop");
    let servers = &directory.files()[0].dns_servers;
    assert_eq!(servers.len(), 1, "{servers:?}");
    directory
        .admit(&request(2, "a", "web"), address(3))
        .unwrap();
}

#[test]
fn only_a_bad_host_name_is_an_error() {
    let mut directory = directory();

    for name in ["my host", "-x", "a..b", "naïve", "x/y"] {
        let outcome = directory.admit(&request(1, "a", name), address(2));
        assert!(
            matches!(&outcome, Err(NetworkError::BadHostName { name: bad, .. }) if bad == name),
            "{outcome:?}"
        );
    }
    let mut odd = request(0, "a", "web");
    odd.ident.service_id = "my service".into();
    directory.admit(&odd, address(2)).unwrap();

    assert_eq!(
        names(&directory, "a")[&id(0).to_string()],
        ["web", &id(0).to_string()]
    );
}

#[test]
fn later_sm_begins_with_the_files_of_the_earlier() {
    let place = TempDir::new().unwrap();
    let mut earlier = directory();
    earlier.admit(&request(1, "a", "web"), address(2)).unwrap();
    earlier.admit(&request(2, "b", "web"), address(3)).unwrap();
    let (mut files, found) = NameFiles::open(&place.path().join("names")).unwrap();
    assert_eq!(found, []);
    files.publish(&earlier.files()).unwrap();

    let (mut files, found) = NameFiles::open(&place.path().join("names")).unwrap();
    let mut later = NameDirectory::inherited(found);

    assert_eq!(later.files(), earlier.files());
    later.keep_only(&BTreeSet::from([NetworkId::from("a")]), &BTreeSet::new());
    files.publish(&later.files()).unwrap();
    let (_, found) = NameFiles::open(&place.path().join("names")).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].instances, []);
}

#[test]
fn file_that_is_right_is_not_written_again_but_one_that_is_gone_is() {
    let place = TempDir::new().unwrap();
    let (mut files, _) = NameFiles::open(place.path()).unwrap();
    let mut directory = directory();
    files.publish(&directory.files()).unwrap();
    let inode = |name: &str| fs::metadata(place.path().join(name)).map(|file| file.ino());
    let before = (inode("br-a.json").unwrap(), inode("br-b.json").unwrap());

    directory
        .admit(&request(1, "b", "web"), address(2))
        .unwrap();
    files.publish(&directory.files()).unwrap();

    assert_eq!(inode("br-a.json").unwrap(), before.0);
    assert_ne!(inode("br-b.json").unwrap(), before.1);
    fs::remove_file(place.path().join("br-a.json")).unwrap();
    files.publish(&directory.files()).unwrap();
    assert!(inode("br-a.json").is_ok());
}

#[test]
fn directory_and_files_can_be_read_by_the_server() {
    let place = TempDir::new().unwrap();
    let path = place.path().join("names");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();

    let (mut files, _) = NameFiles::open(&path).unwrap();
    files.publish(&directory().files()).unwrap();

    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&path), 0o755);
    assert_eq!(mode(&path.join("br-a.json")), 0o644);
    let count = fs::read_dir(&path).unwrap().count();
    assert_eq!(count, 2, "nothing else is left there");
}

#[test]
fn damaged_files_of_an_earlier_run_are_replaced_or_removed() {
    let place = TempDir::new().unwrap();
    fs::write(place.path().join("br-a.json"), "{").unwrap();
    fs::write(place.path().join("br-x.json"), "{").unwrap();
    fs::write(place.path().join("other"), "{").unwrap();

    let (mut files, found) = NameFiles::open(place.path()).unwrap();
    files.publish(&directory().files()).unwrap();

    assert_eq!(found, []);
    let text = fs::read(place.path().join("br-a.json")).unwrap();
    assert_eq!(NetworkNames::read(&text).unwrap().network, "a");
    assert!(!place.path().join("br-x.json").exists());
    assert!(place.path().join("other").exists());
}

#[test]
fn refused_write_is_told_and_tried_again() {
    let place = TempDir::new().unwrap();
    let (mut files, _) = NameFiles::open(place.path()).unwrap();
    let obstacle = place.path().join("br-a.json");
    fs::create_dir(&obstacle).unwrap();

    let outcome = files.publish(&directory().files());

    assert!(matches!(outcome, Err(NetworkError::NameFiles { .. })));
    assert!(place.path().join("br-b.json").exists());
    fs::remove_dir(&obstacle).unwrap();
    files.publish(&directory().files()).unwrap();
    assert!(obstacle.is_file());
}

#[derive(Clone, Debug)]
enum Change {
    Admit(u128, String, String, String),
    Dismiss(u128),
    RemoveNetwork(String),
}

fn change() -> impl Strategy<Value = Change> {
    let network = "[ab]";
    prop_oneof![
        4 => (0..4_u128, network, "([abB](\\.[abB])?)?", "[ab ](\\.[ab])?")
            .prop_map(|(id, network, host, service)| Change::Admit(id, network, host, service)),
        1 => (0..4_u128).prop_map(Change::Dismiss),
        1 => network.prop_map(Change::RemoveNetwork),
    ]
}

proptest! {
    #[test]
    fn no_name_is_ever_two_instances_and_all_can_be_looked_up(
        changes in prop::collection::vec(change(), 0..40)
    ) {
        let mut directory = directory();
        for change in changes {
            match change {
                Change::Admit(bits, network, host, service) => {
                    let mut request = request(bits, &network, &host);
                    request.ident.index = i64::try_from(bits % 2).unwrap();
                    request.ident.subject_id = "b".into();
                    request.ident.service_id = service.as_str().into();
                    let before = directory.clone();
                    if directory.admit(&request, address(2)).is_err() {
                        prop_assert_eq!(&directory, &before);
                    } else {
                        // Once admitted, always admitted.
                        let after = directory.clone();
                        directory.admit(&request, address(2)).unwrap();
                        prop_assert_eq!(&directory, &after);
                    }
                }
                Change::Dismiss(bits) => directory.dismiss(id(bits)),
                Change::RemoveNetwork(network) => {
                    directory.remove_network(&network.as_str().into());
                    directory.set_network(&network.as_str().into(), facts("br-x"));
                }
            }
        }

        let mut places = BTreeSet::new();
        for file in directory.files() {
            let mut taken = BTreeMap::new();
            for instance in &file.instances {
                prop_assert!(places.insert(instance.id.clone()), "in two networks");
                for name in &instance.names {
                    prop_assert!(is_name(name));
                    let plain = name.to_ascii_lowercase();
                    for name in [format!("{plain}.{}", file.network), plain] {
                        let other = taken.insert(name, &instance.id);
                        prop_assert!(other.is_none_or(|other| *other == instance.id));
                    }
                }
            }
        }
    }
}
