use super::*;

fn parse(dir: &Path, text: &str) -> Result<DesiredState, StateError> {
    let path = dir.join("state.json");
    fs::write(&path, text).unwrap();
    DesiredState::load(&path)
}

/// The error with its causes, as it is printed.
fn refusal(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let error = parse(dir.path(), text).unwrap_err();
    format!("{:#}", anyhow::Error::from(error))
}

#[test]
fn full_state_arrives_in_the_words_of_the_wire() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a b.tar"), "abc").unwrap();

    let state = parse(
        dir.path(),
        r#"{
            "services": [{"id": "web", "version": 7, "vendor_version": "1.2", "provider": "net1",
                          "gid": 5001, "package": "a b.tar"}],
            "networks": [{"id": "net1", "subnet": "10.0.0.0/24", "ip": "10.0.0.1", "vlan": 4}],
            "instances": [{"service": "web", "subject": "s", "index": 2, "uid": 5002,
                           "priority": 9, "storage": "st", "state": "sf",
                           "network": {"subnet": "10.0.0.0/24", "ip": "10.0.0.2",
                               "dns": ["10.0.0.1"], "rules": [{"dst_ip": "10.1.0.2",
                               "dst_port": "80", "proto": "tcp"}]}}]
        }"#,
    )
    .unwrap();

    let service = &state.run.services[0];
    assert_eq!(service.version_info.as_ref().unwrap().aos_version, 7);
    assert_eq!(service.gid, 5001);
    assert_eq!(service.size, 3);
    assert_eq!(&service.sha256[..2], [0x3a, 0x98]);
    assert_eq!(&service.sha512[..2], [0xb7, 0x51]);
    assert_eq!(
        service.url,
        format!("file://{}/a%20b.tar", dir.path().display())
    );
    assert_eq!(state.networks.networks[0].vlan_id, 4);
    let instance = &state.run.instances[0];
    assert_eq!(instance.instance.as_ref().unwrap().instance, 2);
    assert_eq!((instance.uid, instance.priority), (5002, 9));
    assert_eq!(
        (&*instance.storage_path, &*instance.state_path),
        ("st", "sf")
    );
    let network = instance.network_parameters.as_ref().unwrap();
    assert_eq!(network.rules[0].dst_port, "80");
    assert_eq!(network.dns_servers, ["10.0.0.1"]);
}

#[test]
fn what_is_not_said_has_a_default() {
    let dir = tempfile::tempdir().unwrap();

    let state = parse(
        dir.path(),
        r#"{"instances": [{"service": "web", "subject": "s"}]}"#,
    )
    .unwrap();

    let instance = &state.run.instances[0];
    assert_eq!(instance.uid, 5000);
    assert_eq!(instance.instance.as_ref().unwrap().instance, 0);
    assert_eq!(instance.network_parameters, None);
    assert_eq!(state.networks.networks, []);
    assert!(!state.run.force_restart);
}

#[test]
fn told_values_win_over_those_of_the_package() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.tar"), "abc").unwrap();

    let state = parse(
        dir.path(),
        r#"{"services": [{"id": "web", "package": "x.tar", "url": "http://h/x", "size": 1,
                          "sha3_256": "00"}]}"#,
    )
    .unwrap();

    let service = &state.run.services[0];
    assert_eq!(service.url, "http://h/x");
    assert_eq!(service.size, 1);
    assert_eq!(service.sha256, [0]);
    assert_eq!(service.sha512.len(), 64);
}

#[test]
fn package_need_not_exist_when_all_is_told() {
    let dir = tempfile::tempdir().unwrap();

    let state = parse(
        dir.path(),
        r#"{"layers": [{"id": "l", "digest": "sha256:1", "package": "/gone.tar", "size": 1,
                        "sha3_256": "00", "sha3_512": "ff"}]}"#,
    )
    .unwrap();

    assert_eq!(state.run.layers[0].url, "file:///gone.tar");
    assert_eq!(state.run.layers[0].digest, "sha256:1");
}

#[test]
fn unknown_key_is_named_with_its_place() {
    let text =
        refusal("{\"instances\": [{\"service\": \"w\",\n \"subject\": \"s\", \"indx\": 1}]}");

    assert!(text.contains("state.json: unknown field `indx`"), "{text}");
    assert!(text.contains("line 2"), "{text}");
}

#[test]
fn missing_key_is_named() {
    let text = refusal(r#"{"instances": [{"service": "w"}]}"#);

    assert!(text.contains("missing field `subject`"), "{text}");
}

#[test]
fn service_without_package_and_url_is_refused() {
    let text = refusal(r#"{"services": [{"id": "web"}]}"#);

    assert_eq!(
        text,
        "service web has no `package`; give `url`, or the package"
    );
}

#[test]
fn layer_without_package_and_digest_is_refused() {
    let text = refusal(r#"{"layers": [{"id": "l", "url": "file:///x"}]}"#);

    assert_eq!(
        text,
        "layer l has no `package`; give `digest`, or the package"
    );
}

#[test]
fn missing_package_is_named_with_its_service() {
    let text = refusal(r#"{"services": [{"id": "web", "package": "/nowhere/x.tar"}]}"#);

    assert!(
        text.starts_with("service web: cannot read package /nowhere/x.tar: No such file"),
        "{text}"
    );
}

#[test]
fn digest_that_is_not_hexadecimal_is_refused() {
    let text = refusal(
        r#"{"services": [{"id": "web", "url": "u", "size": 1, "sha3_256": "xy", "sha3_512": ""}]}"#,
    );

    assert_eq!(text, "service web: `sha3_256` is not hexadecimal");
}

#[test]
fn value_of_a_wrong_type_is_refused() {
    let text = refusal(r#"{"instances": [{"service": "w", "subject": "s", "uid": "root"}]}"#);

    assert!(
        text.contains("invalid type: string \"root\", expected u32"),
        "{text}"
    );
}
