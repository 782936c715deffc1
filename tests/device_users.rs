//! Services whose users are others than the host's.

use std::process::Stdio;

use serde_json::{Value, json};

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, WORKING_DIR};
use device::service::Service;
use device::state::{GATEWAY, GID, State, UID, address, assert_reasons};
use device::unit::{Unit, is};
use device::users::{ROOT, device_with, shares_the_hosts, users, users_in};

/// A group of the host that may use the device of [`lend`].
const LENT_GID: u32 = 4321;
/// What reading that device leads to, for whoever may open it.
const OPENED: &str = "error: [Errno 22]";

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
            // Not even this may be mounted with less than the host's own flags.
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

/// What service `apart` asks for.
fn wishes(runtime: &str) -> Value {
    let mut sysctl = json!({"net.ipv4.ip_default_ttl": "42"});
    if runtime == "runc" {
        // crun goes by the /proc/sys of the device, which is read-only.
        sysctl["kernel.shmmni"] = json!("77");
    }
    // This runc cannot run commands beside a user namespace.
    let probes = (runtime != "runc").then(is_itself);
    json!({
        "devices": [{"name": "camera", "permissions": "rw"}],
        "resources": ["bluetooth"],
        "sysctl": sysctl,
        "quotas": {"noFileLimit": 2222, "pidsLimit": 33, "tmpLimit": 1_048_576u64},
        "probes": probes,
    })
}

/// A command, run as the service runs and not as root.
fn is_itself() -> Value {
    let check = format!(
        "test \"$(id -u):$(id -g)\" = {UID}:{GID} && grep -q 'NoNewPrivs:.1' /proc/self/status"
    );
    json!([{"exec": {"command": ["/bin/sh", "-c", check]}, "timeout": "20s"}])
}

fn ask(device: &Device, host: u8, question: &str) -> String {
    device.fetch_patiently(&format!("http://{}:8080/{question}", address(host)))
}

fn read(device: &Device, path: &str) -> String {
    ask(device, 10, &format!("read?path={path}"))
}

fn assert_users_are_others(device: &Device, runtime: &str) {
    let (apart, beside) = (device.instance("apart", 0), device.instance("beside", 0));

    // The runtime is the one that was meant.
    device.sh(&format!("test -d /run/{runtime}/{}", apart.id));
    assert!(shares_the_hosts(device, &beside) && !shares_the_hosts(device, &apart));
    assert_eq!(users(device, &apart), users_in(&[LENT_GID, GID]));
    let main = format!("/proc/{}", apart.main_pid);
    let owners = device.sh(&format!("stat -c %u:%g {main}/root/dev {main}"));
    assert_eq!(owners, format!("{ROOT}:{ROOT}\n{UID}:{GID}"));
}

fn assert_it_may_what_others_may(device: &Device, runtime: &str) {
    let [facts, others]: [Value; 2] = [10, 11].map(|host| {
        let facts = ask(device, host, "facts");
        serde_json::from_str(&facts).expect("the probe answers with JSON")
    });
    let same = ["uid", "gid", "capabilities", "no_new_privileges"];
    for same in same.into_iter().chain(["seccomp", "calls", "etc"]) {
        assert_eq!(facts[same], others[same], "{same}");
    }
    assert_eq!(facts["groups"], json!([LENT_GID]));
    assert_eq!(facts["open_files"], json!([2222, 2222]));
    assert_eq!(facts["processes"], json!([33, 33]));
    assert_eq!(facts["writable"], json!(["/tmp", "/storage", "/dev/shm"]));
    let ttl = read(device, "/proc/sys/net/ipv4/ip_default_ttl");
    assert_eq!(ttl.trim(), "42");
    if runtime == "runc" {
        assert_eq!(read(device, "/proc/sys/kernel/shmmni").trim(), "77");
    }
    let opened = read(device, "/dev/camera");
    assert!(opened.starts_with(OPENED), "{opened}");
    assert!(read(device, "/opt/version").starts_with("Linux version"));
    ask(device, 10, "write?path=/opt/bt/file&text=x");
}

fn assert_files_are_its_own(device: &Device) {
    assert_eq!(read(device, "/data/file"), "text");
    for path in ["/state.dat", "/storage/file"] {
        ask(device, 10, &format!("write?path={path}&text=kept"));
    }
    let kept = "/var/aos/states/st/state.dat /var/aos/storages/st/file";
    assert_eq!(device.sh(&format!("cat {kept}")), "keptkept");
    let owners = device.sh(&format!("stat -c %u:%g {kept} /var/aos/storages/st"));
    assert_eq!(owners, vec![format!("{UID}:{GID}"); 3].join("\n"));
}

fn assert_network_is_its_own(device: &Device) {
    let ask = |question: &str| ask(device, 10, question);
    assert_eq!(ask("list?path=/sys/class/net"), r#"["eth0", "lo"]"#);
    let virtual_links = ask("list?path=/sys/devices/virtual/net");
    assert_eq!(virtual_links, r#"["eth0", "lo"]"#);
    assert_eq!(ask("list?path=/sys/firmware"), "[]");
    assert_eq!(ask("resolve?name=neighbour"), address(11));
    let neighbour = ask("fetch?url=http://neighbour:8080/");
    assert_eq!(neighbour, "hello from beside 0");
    let serve = format!("exec python3 -m http.server 8000 --bind {GATEWAY} --directory /etc");
    let mut server = device
        .command(&["sh", "-c", &serve])
        .stderr(Stdio::null())
        .spawn()
        .expect("the device is there");
    let hostname = ask(&format!("fetch?url=http://{GATEWAY}:8000/hostname"));
    server.kill().expect("it is our child");
    server.wait().expect("it is our child");
    assert_eq!(hostname.trim(), device.sh("hostname"));
}

fn assert_runs_as_ever_with(runtime: &str) {
    let device = device_with(runtime);
    device.configure("userNamespaces", json!(["apart"]));
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.wait_registered();
    lend(&device, &mut unit);
    let apart = Service::probe("apart")
        .file("data/file", "text")
        .config(wishes(runtime));
    let beside =
        Service::probe("beside").config(json!({"hostname": "neighbour", "probes": is_itself()}));
    let place = json!({"storage": "st", "state": "st/state.dat"});
    let state = State::new()
        .service(&apart.pack(&device))
        .instance_with("apart", 0, 10, &place)
        .with(&beside.pack(&device), 11);

    unit.run_well(&state);

    assert_users_are_others(&device, runtime);
    assert_it_may_what_others_may(&device, runtime);
    assert_files_are_its_own(&device);
    assert_network_is_its_own(&device);
    unit.stop_all();
    device.assert_clean();
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_with_users_of_its_own_runs_as_ever_with_runc() {
    assert_runs_as_ever_with("runc");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn service_with_users_of_its_own_runs_as_ever_with_crun() {
    assert_runs_as_ever_with("crun");
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

    // As on a kernel without.
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
    let late = device.instance("late", 0);
    assert_eq!(users(&device, &late), users_in(&[GID]));
    unit.stop_all();
    device.assert_clean();
}

fn assert_secrets_stay_with(runtime: &str) {
    let device = device_with(runtime);
    device.configure("userNamespaces", "on");
    // As strict as an operator may be.
    device.sh("mkdir -p --mode=700 /var/aos/states /var/aos/storages
         mount -t tmpfs -o mode=700,noexec,nosuid,nodev tmpfs /var/aos/storages");
    device.start_sm();
    let mut unit = Unit::start(&device);
    let secretive = Service::sleeper("a").config(json!({"permissions": {"vis": {"*": "rw"}}}));
    let place = json!({"storage": "st", "state": "st/state.dat"});
    let state = State::new().service(&secretive.pack(&device));
    unit.run_well(&state.instance_with("a", 0, 10, &place));
    let instance = device.instance("a", 0);
    let secret = &instance.environment["AOS_SECRET"];
    assert_ne!(secret, "");

    let (runtime, states) = ("/run/aos/runtime", "/var/aos/states /var/aos/storages");
    let own = format!("{runtime}/{}", instance.id);
    let modes = device.sh(&format!(
        "stat -c '%a %u:%g' {runtime} {own} {own}/config.json {states}"
    ));
    let passable = format!("710 0:{ROOT}");
    assert_eq!(
        modes,
        [&passable, &passable, "600 0:0", "700 0:0", "700 0:0"].join("\n")
    );
    // Root inside finds its way, and whoever has its number learns nothing there.
    for id in [ROOT, "12345"] {
        let as_it = format!("setpriv --reuid={id} --regid={id} --clear-groups");
        let places = format!("{own} {own}/* /run/aos {WORKING_DIR} /run/systemd/system");
        let found = device.sh(&format!(
            "{as_it} grep -rlsF -e '{secret}' {places} || true"
        ));
        assert_eq!(found, "", "{id}");
        for hidden in [runtime, &own] {
            let listed = device.try_sh(&format!("{as_it} ls {hidden}"));
            assert!(!listed.status.success(), "{id}: {listed:?}");
        }
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn way_of_root_inside_leads_to_no_secret_with_runc() {
    assert_secrets_stay_with("runc");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn way_of_root_inside_leads_to_no_secret_with_crun() {
    assert_secrets_stay_with("crun");
}
