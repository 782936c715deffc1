//! Services whose users are others than the host's.

use std::process::Stdio;

use serde_json::{Value, json};

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, WORKING_DIR, wait_until};
use device::manager::Running;
use device::service::Service;
use device::state::{GATEWAY, GID, State, UID, address, assert_reasons};
use device::unit::{Unit, is};

/// Who root inside is on the host.
const ROOT: &str = "2000000000";
/// A group of the host that lets at the device of [`lend`].
const LENT_GID: u32 = 4321;
/// What reading that device leads to, for whoever may open it.
const OPENED: &str = "error: [Errno 22]";

/// A device on which `runtime` runs the services.
fn device_with(runtime: &str) -> Device {
    // crun is not used with hybrid cgroups.
    let device = match runtime {
        "crun" => Device::up_with(&["--cgroup", "legacy"]),
        _ => Device::up(),
    };
    device.sh(&format!(
        "ln -s $(command -v {runtime}) {WORKING_DIR}/{runtime}"
    ));
    device
}

/// Makes a device and a resource that services can ask for.
fn lend(device: &Device, unit: &mut Unit<'_>) {
    device.sh(&format!(
        "echo lab:x:{LENT_GID}: >>/etc/group
         mknod --mode=660 /dev/aos-video c 10 237; chgrp lab /dev/aos-video"
    ));
    let config = json!({
        "nodeType": "main-type",
        "devices": [{"name": "camera", "groups": ["lab"],
                     "hostDevices": ["/dev/aos-video:/dev/camera"]}],
        "resources": [{"name": "bluetooth", "mounts": [
            {"destination": "/opt/bt", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "mode=1777"]},
            {"destination": "/opt/version", "type": "bind", "source": "/proc/version",
             "options": ["bind", "ro"]},
        ]}],
    });
    unit.command(&format!("set-unit-config 1 {config}"));
    let status = unit.wait_for("UnitConfigStatus", PATIENCE, |event| {
        is(event, "unit_config_status")
    });
    assert_eq!(status["error"].as_str().unwrap_or_default(), "", "{status}");
}

fn ask(device: &Device, host: u8, question: &str) -> String {
    device.fetch_patiently(&format!("http://{}:8080/{question}", address(host)))
}

fn facts(device: &Device, host: u8) -> Value {
    serde_json::from_str(&ask(device, host, "facts")).expect("the probe answers with JSON")
}

/// A file of `/proc` of an instance's main process, words apart by one space.
fn of_main(device: &Device, instance: &Running, file: &str) -> String {
    let file = device.sh(&format!("cat /proc/{}/{file}", instance.main_pid));
    let lines: Vec<_> = file
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.join("\n")
}

/// Who the users and groups of an instance are on the host.
fn users(device: &Device, instance: &Running) -> [String; 2] {
    ["uid_map", "gid_map"].map(|file| of_main(device, instance, file))
}

fn plan(gids: &[u32]) -> [String; 2] {
    let own = |id: &u32| format!("\n{id} {id} 1");
    let gids: String = gids.iter().map(own).collect();
    [
        format!("0 {ROOT} 1{}", own(&UID)),
        format!("0 {ROOT} 1\n5 2000000005 1{gids}"),
    ]
}

fn namespace(device: &Device, pid: &str) -> String {
    device.sh(&format!("readlink /proc/{pid}/ns/user"))
}

fn shares_the_hosts(device: &Device, instance: &Running) -> bool {
    namespace(device, &instance.main_pid.to_string()) == namespace(device, "1")
}

/// Has the main process die, and waits for the next one.
fn crash(device: &Device, service: &str) -> Running {
    let before = device.instance(service, 0);
    device.sh(&format!("kill -KILL {}", before.main_pid));
    wait_until(PATIENCE, "the instance to be back", || {
        let instances = device.instances();
        let back = instances
            .into_iter()
            .find(|each| each.id == before.id && each.state == "active" && !each.name.is_empty());
        back.filter(|back| (back.main_pid, back.started) != (before.main_pid, before.started))
            .ok_or("it is not")
    })
}

fn assert_runs_apart_with(runtime: &str) {
    let device = device_with(runtime);
    device.configure("userNamespaces", json!(["apart"]));
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.wait_registered();
    lend(&device, &mut unit);
    let apart = Service::probe("apart")
        .file("data/file", "text")
        .config(json!({
            "devices": [{"name": "camera", "permissions": "rw"}],
            "resources": ["bluetooth"],
            "sysctl": {"net.ipv4.ip_default_ttl": "42", "kernel.shmmni": "77"},
            "quotas": {"noFileLimit": 2222, "pidsLimit": 33, "tmpLimit": 1_048_576u64},
        }));
    let state = State::new()
        .service(&apart.pack(&device))
        .instance_with(
            "apart",
            0,
            10,
            &json!({"storage": "st", "state": "st/state.dat"}),
        )
        .with(&Service::probe("beside").pack(&device), 11);
    unit.run_well(&state);
    let (apart, beside) = (device.instance("apart", 0), device.instance("beside", 0));

    // The runtime is the one that was meant.
    device.sh(&format!("test -d /run/{runtime}/{}", apart.id));
    // Users.
    assert!(shares_the_hosts(&device, &beside) && !shares_the_hosts(&device, &apart));
    assert_eq!(users(&device, &apart), plan(&[LENT_GID, GID]));
    let main = format!("/proc/{}", apart.main_pid);
    let owners = device.sh(&format!("stat -c %u:%g {main}/root/dev {main}"));
    assert_eq!(owners, format!("{ROOT}:{ROOT}\n{UID}:{GID}"));

    // It sees and may what it would without.
    let (facts, others) = (facts(&device, 10), facts(&device, 11));
    for same in [
        "uid",
        "gid",
        "capabilities",
        "no_new_privileges",
        "seccomp",
        "calls",
        "root",
        "etc",
    ] {
        assert_eq!(facts[same], others[same], "{same}");
    }
    assert_eq!(facts["groups"], json!([LENT_GID]));
    assert_eq!(facts["open_files"], json!([2222, 2222]));
    assert_eq!(facts["processes"], json!([33, 33]));
    assert_eq!(facts["writable"], json!(["/tmp", "/storage", "/dev/shm"]));
    let ask = |question: &str| ask(&device, 10, question);
    let read = |path: &str| ask(&format!("read?path={path}"));
    assert_eq!(read("/data/file"), "text");
    assert_eq!(read("/proc/sys/net/ipv4/ip_default_ttl").trim(), "42");
    assert_eq!(read("/proc/sys/kernel/shmmni").trim(), "77");
    let opened = read("/dev/camera");
    assert!(opened.starts_with(OPENED), "{opened}");
    assert!(read("/opt/version").starts_with("Linux version"));
    ask("write?path=/opt/bt/file&text=x");
    for path in ["/state.dat", "/storage/file"] {
        ask(&format!("write?path={path}&text=kept"));
    }
    let kept = "/var/aos/states/st/state.dat /var/aos/storages/st/file";
    assert_eq!(device.sh(&format!("cat {kept}")), "keptkept");
    let owners = device.sh(&format!("stat -c %u:%g {kept} /var/aos/storages/st"));
    assert_eq!(owners, vec![format!("{UID}:{GID}"); 3].join("\n"));

    // Its network, and nothing of the host's.
    assert_eq!(ask("list?path=/sys/class/net"), r#"["eth0", "lo"]"#);
    assert_eq!(ask("list?path=/sys/firmware"), "[]");
    let refused = ask("list?path=/sys/kernel/debug");
    assert!(
        refused == "[]" || refused.contains("Permission denied"),
        "{refused}"
    );
    assert!(ask(&format!("fetch?url=http://{}:8080/", address(11))).contains("beside"));
    assert_eq!(ask("resolve?name=localhost"), "127.0.0.1");
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
    let hostname = ask(&format!("fetch?url=http://{GATEWAY}:8000/hostname"));
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(hostname.trim(), device.sh("hostname"));

    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_with_users_of_its_own_runs_as_ever_with_runc() {
    assert_runs_apart_with("runc");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_with_users_of_its_own_runs_as_ever_with_crun() {
    assert_runs_apart_with("crun");
}

fn assert_lives_on_with(runtime: &str) {
    let device = device_with(runtime);
    device.configure("userNamespaces", "on");
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = State::new()
        .with(&Service::probe("web").pack(&device), 10)
        .with(&Service::sleeper("a").pack(&device), 11);
    unit.run_well(&state);
    let before = device.processes();
    let config = format!(
        "/run/aos/runtime/{}/config.json",
        device.instance("web", 0).id
    );

    // Who starts anew takes over what runs, whatever it is configured for by now,
    // and mends it as what it is.
    let written = device.sh(&format!("cat {config}; rm {config}"));
    device.configure("userNamespaces", "off");
    device.kill_sm();
    unit.wait_registered();
    unit.wait_all_active(2);
    unit.run_well(&state);
    assert_eq!(device.processes(), before);
    assert_eq!(device.sh(&format!("cat {config}")), written);

    // systemd starts them again without anybody's help.
    device.stop_sm();
    let back = crash(&device, "web");
    assert_eq!(users(&device, &back), plan(&[GID]));
    assert_eq!(ask(&device, 10, ""), "hello from web 0");
    assert_eq!(
        ask(&device, 10, "list?path=/sys/class/net"),
        r#"["eth0", "lo"]"#
    );
    device.start_sm();
    unit.wait_registered();
    unit.wait_all_active(2);
    assert_eq!(device.instance("web", 0).main_pid, back.main_pid);

    // The next start is by the configuration.
    unit.stop_all();
    device.assert_clean();
    unit.run_well(&state);
    assert!(shares_the_hosts(&device, &device.instance("web", 0)));
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instances_with_users_of_their_own_outlive_the_manager_with_runc() {
    assert_lives_on_with("runc");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instances_with_users_of_their_own_outlive_the_manager_with_crun() {
    assert_lives_on_with("crun");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn option_changes_nothing_of_what_runs() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let state = State::new().with(&Service::probe("web").pack(&device), 10);
    unit.run_well(&state);
    let before = device.processes();
    let config = format!(
        "/run/aos/runtime/{}/config.json",
        device.instance("web", 0).id
    );

    let written = device.sh(&format!("cat {config}; rm {config}"));
    device.configure("userNamespaces", "on");
    device.restart_sm();
    unit.wait_registered();
    unit.wait_all_active(1);

    assert_eq!(device.processes(), before);
    assert_eq!(device.sh(&format!("cat {config}")), written);
    let back = crash(&device, "web");
    assert!(shares_the_hosts(&device, &back));
    unit.stop_all();
    unit.run_well(&state);
    assert_eq!(users(&device, &device.instance("web", 0)), plan(&[GID]));
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn who_cannot_be_kept_apart_is_failed_and_says_why() {
    let device = Device::up();
    device.configure("userNamespaces", json!(["root", "lost", "late"]));
    device.start_sm();
    let mut unit = Unit::start(&device);
    let sleeper = |id: &str| Service::sleeper(id).pack(&device);
    let state = State::new()
        .with(&sleeper("good"), 10)
        .service(&sleeper("root"))
        .instance_with("root", 0, 11, &json!({"uid": 0}))
        .with(&sleeper("lost").told("gid", 0), 12);
    let statuses = unit.run(&state);
    assert_reasons(
        &statuses,
        &[
            ("root", &["root cannot be its user"]),
            ("lost", &["root cannot be its group"]),
        ],
    );

    // A kernel without.
    let limit = "/proc/sys/user/max_user_namespaces";
    device.sh(&format!(
        "echo 0 >/run/none; mount --bind /run/none {limit}"
    ));
    let state = State::new()
        .with(&sleeper("good"), 10)
        .with(&sleeper("late"), 13);
    let statuses = unit.run(&state);
    assert_reasons(&statuses, &[("late", &["max_user_namespaces is 0"])]);
    assert_eq!(device.processes().len(), 1);

    device.sh(&format!("umount {limit}"));
    unit.run_well(&state);
    assert_eq!(users(&device, &device.instance("late", 0)), plan(&[GID]));
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn way_of_root_inside_leads_to_no_secret() {
    let device = Device::up();
    device.configure("userNamespaces", "on");
    device.sh("mkdir -p --mode=700 /var/aos/states /var/aos/storages");
    device.start_sm();
    let mut unit = Unit::start(&device);
    let secretive = Service::sleeper("a").config(json!({"permissions": {"vis": {"*": "rw"}}}));
    let place = json!({"storage": "st", "state": "st/state.dat"});
    let state = State::new().service(&secretive.pack(&device));
    unit.run_well(&state.instance_with("a", 0, 10, &place));
    let instance = device.instance("a", 0);
    let secret = &instance.environment["AOS_SECRET"];

    let runtime = "/run/aos/runtime";
    let modes = device.sh(&format!(
        "stat -c '%a %u:%g' {runtime} {runtime}/*/ {runtime}/*/config.json /var/aos/states"
    ));
    let passable = format!("710 0:{ROOT}");
    assert_eq!(
        modes,
        [&passable, &passable, "600 0:0", "700 0:0"].join("\n")
    );
    assert_ne!(secret, "");
    for id in [ROOT, "12345"] {
        let become_it = format!("setpriv --reuid={id} --regid={id} --clear-groups");
        let places = format!(
            "{runtime}/{} /run/aos {WORKING_DIR} /run/systemd/system",
            instance.id
        );
        let found = device.sh(&format!(
            "{become_it} grep -rlsF -e '{secret}' {places} {runtime}/{}/config.json || true",
            instance.id
        ));
        assert_eq!(found, "", "{id}");
        let listed = device.try_sh(&format!("{become_it} ls {runtime}"));
        assert!(!listed.status.success(), "{id}: {listed:?}");
    }
}
