//! What a service sees from inside.

use std::process::Stdio;

use serde_json::{Value, json};

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, WORKING_DIR};
use device::service::{Layer, Service};
use device::state::{GATEWAY, GID, PROVIDER, SUBJECT, State, UID, address};
use device::unit::Unit;

fn url(host: u8, path: &str) -> String {
    format!("http://{}:8080/{path}", address(host))
}

fn facts(device: &Device, host: u8) -> Value {
    let facts = device.fetch_patiently(&url(host, "facts"));
    serde_json::from_str(&facts).expect("the probe answers with JSON")
}

fn strings(value: &Value) -> Vec<&str> {
    let values = value
        .as_array()
        .unwrap_or_else(|| panic!("no list: {value}"));
    values.iter().filter_map(Value::as_str).collect()
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_without_wishes_gets_the_defaults_and_sees_nothing_of_the_host() {
    let device = Device::up();
    device.write("/var/secret", "of the host");
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.run_well(&State::new().with(&Service::probe("probe").pack(&device), 10));

    let facts = facts(&device, 10);

    let environment = &facts["environment"];
    assert_eq!(environment["AOS_SERVICE_ID"], "probe");
    assert_eq!(environment["AOS_SUBJECT_ID"], SUBJECT);
    assert_eq!(environment["AOS_INSTANCE_INDEX"], "0");
    assert_eq!(
        environment["AOS_INSTANCE_ID"],
        *device.instance("probe", 0).id
    );
    assert_eq!((&facts["uid"], &facts["gid"]), (&json!(UID), &json!(GID)));
    assert_eq!(facts["directory"], "/");
    assert_eq!(facts["open_files"], json!([1024, 1024]));
    assert_eq!(facts["no_new_privileges"], "1");
    // AUDIT_WRITE, KILL, NET_BIND_SERVICE may be got, and are not there.
    let capabilities = &facts["capabilities"];
    assert_eq!(capabilities["CapBnd"], "0000000020000420");
    assert_eq!(capabilities["CapEff"], "0000000000000000");
    assert_eq!(capabilities["CapPrm"], "0000000000000000");

    // 2: filtered. What the kernel itself would say is EINVAL, EFAULT or the like.
    assert_eq!(facts["seccomp"], "2");
    assert_eq!(
        facts["calls"],
        json!({"mount": "EPERM", "unshare": "EPERM", "keyctl": "EPERM", "bpf": "EPERM",
               "clone3": "ENOSYS", "getppid": "done"})
    );

    let root = strings(&facts["root"]);
    for hidden in [
        "root", "home", "var", "tmp", "run", "boot", "srv", "opt", "mnt", "init", "storage",
    ] {
        assert!(!root.contains(&hidden), "/{hidden} is seen: {root:?}");
    }
    let etc = strings(&facts["etc"]);
    assert_eq!(etc, ["hosts", "nsswitch.conf", "resolv.conf", "ssl"]);
    assert_eq!(facts["writable"], json!(["/dev/shm"]));
    // The mount that the service sees as its root tells nothing of the host.
    let secret = device.fetch_patiently(&url(10, "read?path=/var/secret"));
    assert!(secret.contains("No such file"), "{secret}");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn wishes_of_a_service_are_met() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let service = Service::probe("probe")
        .config(json!({
            "hostname": "my-name",
            "sysctl": {"net.ipv4.ip_default_ttl": "42"},
            "quotas": {"noFileLimit": 222, "pidsLimit": 33, "ramLimit": 67_108_864u64,
                       "cpuLimit": 50, "tmpLimit": 1_048_576u64},
        }))
        .option("--env=COLOR=green")
        .option("--env=AOS_SERVICE_ID=hidden")
        .option("--workdir=/data")
        .option("--cmd=first")
        .option("--cmd=second word")
        .file("data/file", "");
    let state = State::new().service(&service.pack(&device)).instance_with(
        "probe",
        0,
        10,
        &json!({"storage": "st", "state": "st/state.dat"}),
    );
    unit.run_well(&state);

    let facts = facts(&device, 10);

    assert_eq!(facts["hostname"], "my-name");
    assert_eq!(facts["directory"], "/data");
    assert_eq!(
        facts["arguments"],
        json!(["/probe.py", "first", "second word"])
    );
    assert_eq!(facts["environment"]["COLOR"], "green");
    // An image cannot hide what the service manager says.
    assert_eq!(facts["environment"]["AOS_SERVICE_ID"], "probe");
    assert_eq!(facts["open_files"], json!([222, 222]));
    assert_eq!(facts["processes"], json!([33, 33]));
    assert_eq!(facts["writable"], json!(["/tmp", "/storage", "/dev/shm"]));
    let ttl = device.fetch_patiently(&url(10, "read?path=/proc/sys/net/ipv4/ip_default_ttl"));
    assert_eq!(ttl.trim(), "42");

    device.fetch_patiently(&url(10, "write?path=/state.dat&text=kept"));
    device.fetch_patiently(&url(10, "write?path=/storage/file&text=kept"));
    assert_eq!(
        device.sh("cat /var/aos/states/st/state.dat /var/aos/storages/st/file"),
        "keptkept"
    );
    let owners = device.sh("stat -c '%u:%g %a' /var/aos/states/st/state.dat /var/aos/storages/st");
    assert_eq!(owners, format!("{UID}:{GID} 600\n{UID}:{GID} 755"));

    let id = device.instance("probe", 0).id;
    let limit = |controller: &str, file: &str| {
        device.sh(&format!(
            "cat /sys/fs/cgroup/{controller}/system.slice/*/aos-service@{id}.service/*/{file}"
        ))
    };
    assert_eq!(limit("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(limit("memory", "memory.memsw.limit_in_bytes"), "67108864");
    assert_eq!(limit("pids", "pids.max"), "33");
    let cpus: u64 = device.sh("nproc").parse().unwrap();
    assert_eq!(
        limit("cpu", "cpu.cfs_quota_us"),
        (100_000 * cpus / 2).to_string()
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn memory_limit_is_felt_and_told() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let greedy = Service::new(
        "greedy",
        &["/usr/bin/python3", "-c", "x = bytearray(1 << 30)"],
    )
    .config(json!({"quotas": {"ramLimit": 33_554_432u64}}));

    let statuses = unit.run(&State::new().with(&greedy.pack(&device), 10));

    let error = statuses[0].error.clone().unwrap();
    assert_eq!(error.1, 137, "{error:?}");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn files_of_the_service_hide_those_of_layers_and_layers_those_below() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let top = Layer::new("top")
        .file("data/a", "top")
        .file("data/b", "top")
        .pack(&device);
    let bottom = Layer::new("bottom")
        .file("data/a", "bottom")
        .file("data/b", "bottom")
        .file("data/c", "bottom")
        .file("data/.wh.d", "")
        .file("usr/share/added", "by a layer")
        .pack(&device);
    let probe = Service::probe("probe")
        .file("data/a", "service")
        .layer(&top)
        .layer(&bottom);
    let state = State::new()
        .layer(&top)
        .layer(&bottom)
        .with(&probe.pack(&device), 10);

    unit.run_well(&state);

    let read = |path: &str| device.fetch_patiently(&url(10, &format!("read?path={path}")));
    assert_eq!(
        ["/data/a", "/data/b", "/data/c"].map(read),
        ["service", "top", "bottom"]
    );
    assert_eq!(
        device.fetch_patiently(&url(10, "list?path=/data")),
        r#"["a", "b", "c"]"#
    );
    // In the host's directories too, together with what the host has there.
    assert_eq!(read("/usr/share/added"), "by a layer");
    assert!(read("/usr/bin/env").starts_with("\u{7f}ELF"));
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instances_reach_the_gateway_and_each_other() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let probe = Service::probe("probe").pack(&device);
    let state = State::new().with(&probe, 10).instance("probe", 1, 11);
    unit.run_well(&state);
    device.fetch_patiently(&url(10, ""));
    device.fetch_patiently(&url(11, ""));
    let serve = [
        "python3",
        "-m",
        "http.server",
        "8000",
        "--bind",
        GATEWAY,
        "--directory",
        "/etc",
    ];
    let mut server = device
        .command(&serve)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();

    let neighbour = device.fetch_patiently(&url(10, &format!("fetch?url={}", url(11, ""))));
    let itself = device.fetch_patiently(&url(10, &format!("fetch?url={}", url(10, ""))));
    let gateway = device.fetch_patiently(&url(
        11,
        &format!("fetch?url=http://{GATEWAY}:8000/hostname"),
    ));

    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(neighbour, "hello from probe 1");
    assert_eq!(itself, "hello from probe 0");
    assert_eq!(gateway.trim(), device.sh("hostname"));
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn hosts_and_resolvers_are_written_for_each_instance() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let probe = Service::probe("probe")
        .config(json!({"hostname": "my-name"}))
        .pack(&device);
    unit.run_well(&State::new().with(&probe, 10));

    let facts = facts(&device, 10);

    let hosts = facts["hosts"].as_str().unwrap();
    let line = |address: &str| {
        let found = hosts
            .lines()
            .find(|line| line.split_whitespace().next() == Some(address));
        found
            .unwrap_or_else(|| panic!("no {address} in {hosts}"))
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert!(line("127.0.0.1").contains(&"localhost"), "{hosts}");
    let own = address(10);
    assert!(
        line(&own).contains(&"my-name") && line(&own).contains(&PROVIDER),
        "{hosts}"
    );
    assert!(
        !facts["resolv_conf"].as_str().unwrap().starts_with("error"),
        "{facts}"
    );
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn files_of_the_operator_win_over_generated_ones() {
    let device = Device::up();
    device.write(
        &format!("{WORKING_DIR}/etc/hosts"),
        "192.0.2.1 of-the-operator\n",
    );
    device.write(
        &format!("{WORKING_DIR}/etc/nsswitch.conf"),
        "# of the operator\n",
    );
    device.start_sm();
    let mut unit = Unit::start(&device);

    unit.run_well(&State::new().with(&Service::probe("probe").pack(&device), 10));

    let read = |path: &str| device.fetch_patiently(&url(10, &format!("read?path={path}")));
    assert_eq!(read("/etc/hosts"), "192.0.2.1 of-the-operator\n");
    assert_eq!(read("/etc/nsswitch.conf"), "# of the operator\n");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_without_address_is_failed_and_never_started() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let sleeper = Service::sleeper("a").pack(&device);
    let state = State::new().with(&sleeper, 10).instance_with(
        "a",
        1,
        0,
        &json!({"network": {"subnet": "", "ip": ""}}),
    );

    let statuses = unit.run(&state);

    let failed = statuses.iter().find(|status| !status.is_active()).unwrap();
    assert!(failed.instance.ends_with("/1"), "{statuses:#?}");
    assert!(failed.reason().contains("address"), "{failed:?}");
    assert_eq!(device.processes().len(), 1);
}
