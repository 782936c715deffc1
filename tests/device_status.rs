//! What an operator is shown on the device.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

#[expect(dead_code, reason = "each file of tests uses a part of it")]
mod device;

use device::lab::{Device, PATIENCE, wait_until};
use device::service::Service;
use device::state::{GATEWAY, PROVIDER, State, address};
use device::unit::Unit;

const SOCKET: &str = "/run/aos/servicemanager.sock";

fn status(device: &Device) -> Value {
    let text = device.sh("aosctl status -o json");
    serde_json::from_str(&text).expect("it prints JSON")
}

fn instance<'a>(status: &'a Value, service: &str) -> &'a Value {
    let all = status["instances"]
        .as_array()
        .expect("the launcher answers");
    all.iter()
        .find(|instance| instance["service"] == service)
        .unwrap_or_else(|| panic!("no {service}: {status:#}"))
}

/// `aosctl status --watch`.
struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    fn start(device: &Device) -> Self {
        let mut child = device
            .command(&["aosctl", "status", "--watch", "-o", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("aosctl runs in the device and writes documents");
        let lines = BufReader::new(
            child
                .stdout
                .take()
                .expect("aosctl runs in the device and writes documents"),
        );
        Self { child, lines }
    }

    /// Reads on until there is what is wanted. A document comes each 10 s at
    /// the latest.
    fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..200 {
            let mut line = String::new();
            let length = self
                .lines
                .read_line(&mut line)
                .expect("aosctl runs in the device and writes documents");
            assert_ne!(length, 0, "it ended");
            let document: Value = serde_json::from_str(&line)
                .expect("aosctl runs in the device and writes documents");
            if wanted(&document) {
                return document;
            }
        }
        panic!("200 documents came, and none was it");
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn status_shows_instances_networks_content_and_peers() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let web = Service::probe("web").pack(&device);
    let bad = Service::shell("bad", "exit 3").pack(&device);
    unit.run(&State::new().with(&web, 10).with(&bad, 11));

    let status = status(&device);

    assert_eq!(status["format"], 1);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["unanswered"], json!([]));
    assert_eq!(status["node"], json!({"id": "main", "type": "main-type"}));
    assert_eq!(status["peers"]["cm"]["connected"], true, "{status:#}");
    assert_eq!(status["peers"]["iam"]["connected"], true, "{status:#}");
    assert_eq!(status["desired"]["settled"], true);
    let web = instance(&status, "web");
    assert_eq!(web["state"], "active");
    assert_eq!(web["id"], *device.instance("web", 0).id);
    assert_eq!(
        (&web["network"], &web["ip"]),
        (&json!(PROVIDER), &json!(address(10)))
    );
    let bad = instance(&status, "bad");
    assert_eq!(
        (&bad["state"], &bad["error"]["exit_code"]),
        (&json!("failed"), &json!(3))
    );
    let network = &status["networks"][0];
    assert_eq!(
        (&network["id"], &network["gateway"]),
        (&json!(PROVIDER), &json!(GATEWAY))
    );
    let services = status["content"]["services"].as_array().unwrap();
    assert_eq!(services.len(), 2);
    assert!(
        services
            .iter()
            .all(|service| service["size"].as_u64() > Some(0))
    );
    assert!(status["usage"]["ram"].as_u64() > Some(0));

    let table = device.sh("aosctl status");
    for shown in [
        "FAILED",
        "exited with code 3",
        "web/subject1/0",
        "br-provider1",
    ] {
        assert!(table.contains(shown), "no {shown} in\n{table}");
    }
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn watching_shows_a_crash_and_ends_with_the_manager() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let config = json!({"runParameters": {"restartInterval": "2s"}});
    let sleeper = Service::sleeper("a").config(config).pack(&device);
    unit.run_well(&State::new().with(&sleeper, 10));
    let mut watching = Watching::start(&device);
    watching.wait_for(|status| instance(status, "a")["state"] == "active");

    let pid = device.instance("a", 0).main_pid;
    device.sh(&format!("kill -9 {pid}"));
    let failed = watching.wait_for(|status| instance(status, "a")["state"] == "failed");
    let healed = watching.wait_for(|status| instance(status, "a")["state"] == "active");

    assert_eq!(instance(&failed, "a")["error"]["exit_code"], 137);
    assert_eq!(instance(&healed, "a")["faults"], 1);
    device.stop_sm();
    let ended = watching.child.wait().unwrap();
    assert_eq!(ended.code(), Some(1));
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn start_of_an_instance_is_known_after_a_restart_of_the_manager() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    unit.run_well(&State::new().with(&Service::sleeper("a").pack(&device), 10));
    let before = instance(&status(&device), "a")["since"].clone();

    device.kill_sm();
    unit.wait_registered();
    unit.wait_status(PATIENCE);

    let after = status(&device);
    assert_eq!(instance(&after, "a")["since"], before);
    assert!(after["started"].as_str() >= before.as_str());
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn peers_that_are_away_are_shown_with_the_reason() {
    let device = Device::up();
    device.start_sm();

    let status = wait_until(PATIENCE, "IAM to be missed", || {
        let status = status(&device);
        match &status["peers"]["iam"]["last_error"] {
            Value::Null => Err("nothing is wrong yet"),
            _ => Ok(status),
        }
    });

    assert_eq!(status["node"], Value::Null);
    assert_eq!(status["peers"]["iam"]["connected"], false);
    assert_eq!(status["peers"]["cm"]["connected"], false);
    let table = device.sh("aosctl status");
    assert!(table.contains("NOT CONNECTED"), "{table}");
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn socket_is_for_root_alone_and_one_of_a_killed_manager_is_replaced() {
    let device = Device::up();
    let absent = device.try_sh("aosctl status");
    device.start_sm();
    assert_eq!(device.sh(&format!("stat -c '%a %U' {SOCKET}")), "600 root");
    let other = device
        .try_sh("setpriv --reuid=12345 --regid=12345 --clear-groups /opt/aos/bin/aosctl status");

    device.kill_sm();
    device.wait_sm_active();
    let after_kill = status(&device);
    device.stop_sm();
    let stopped = device.try_sh("aosctl status");

    assert_eq!(after_kill["format"], 1);
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    for output in [&absent, &stopped] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            said(output).contains("systemctl status aos-servicemanager"),
            "{output:?}"
        );
    }
    assert_eq!(other.status.code(), Some(1));
    assert!(said(&other).contains("only root"), "{other:?}");
    device.sh(&format!("test ! -e {SOCKET}"));
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn logs_of_an_instance_are_its_own_alone() {
    let device = Device::up();
    device.start_sm();
    let mut unit = Unit::start(&device);
    let talker = |id: &str| {
        let command = format!("echo first of {id}; echo last of {id} >&2; exec sleep infinity");
        Service::shell(id, &command).pack(&device)
    };
    unit.run_well(&State::new().with(&talker("a"), 10).with(&talker("b"), 11));
    let id = device.instance("a", 0).id;
    device.sh("journalctl --sync");
    let logs = |words: &str| device.sh(&format!("aosctl logs {words}"));

    let by_name = logs("a/subject1/0");

    let both = |text: &str| text.contains("first of a") && text.contains("last of a");
    assert!(both(&by_name), "{by_name}");
    assert!(
        !by_name.contains("of b") && by_name.lines().count() == 2,
        "{by_name}"
    );
    assert_eq!(logs(&id), by_name);
    assert_eq!(logs(id.get(..13).expect("ids are longer")), by_name);
    assert!(logs(&format!("{id} --lines 1")).contains("last of a"));
    assert!(!logs(&format!("{id} --lines 1")).contains("first of a"));
    assert!(both(&logs(&format!("{id} --since -1h"))));
    let wrong = device.try_sh(&format!("aosctl logs {id} --since sometime"));
    let unknown = device.try_sh("aosctl logs nobody/at/0");
    assert_eq!(
        (wrong.status.code(), unknown.status.code()),
        (Some(1), Some(1))
    );
    // Without a service manager.
    device.stop_sm();
    assert_eq!(logs(&id), by_name);
    let error = device.try_sh("aosctl logs a/subject1/0").stderr;
    assert!(
        String::from_utf8_lossy(&error).contains("whole instance id"),
        "{error:?}"
    );
}
