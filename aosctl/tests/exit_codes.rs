//! What scripts rely on: exit codes, and where results and errors go.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn aosctl(dir: &Path, words: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aosctl"))
        .args(words)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may leave without reading.
    let written = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    drop(written);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A unit that listens on free ports, in `unit`.
fn unit() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let free = "127.0.0.1:0";
    let init = [
        "unit",
        "init",
        "--dir",
        "unit",
        "--cm",
        free,
        "--iam-public",
        free,
        "--iam-protected",
        free,
    ];
    let output = aosctl(dir.path(), &init, "");
    assert!(output.status.success(), "{output:?}");
    let config = dir.path().canonicalize().unwrap();
    let config = config.join("unit/aos_servicemanager.cfg");
    assert_eq!(text(&output.stdout).trim(), config.to_str().unwrap());
    dir
}

#[test]
fn script_that_is_done_ends_with_0() {
    let dir = unit();

    let run = ["unit", "run", "--dir", "unit", "--until-eof", "-o", "json"];
    let output = aosctl(dir.path(), &run, "# nothing to do\ncloud off\n");

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).starts_with(r#"{"event":"listening","time":""#));
}

#[test]
fn wait_that_times_out_ends_with_3() {
    let dir = unit();

    let run = ["unit", "run", "--dir", "unit"];
    let output = aosctl(dir.path(), &run, "wait-registered 0.01\nquit\n");

    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains("timed out waiting for SM to register"));
}

#[test]
fn first_failure_decides_when_going_on() {
    let dir = unit();

    let run = ["unit", "run", "--dir", "unit", "--keep-going"];
    let output = aosctl(dir.path(), &run, "wait-registered 0.01\njump\nquit\n");

    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains("unknown command `jump`"));
}

#[test]
fn wrong_use_ends_with_2() {
    let dir = unit();

    for (words, stdin) in [
        (&["unit", "run", "--dir", "unit"][..], "jump\n"),
        (&["unit", "run"], ""),
        (&["unit", "run", "--dir", "unit", "--no-cm", "--no-iam"], ""),
        (&["pack", "service", "."], ""),
        (&[], ""),
    ] {
        let output = aosctl(dir.path(), words, stdin);

        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn other_errors_end_with_1_and_one_line() {
    let dir = unit();
    std::fs::write(dir.path().join("bad.json"), r#"{"instanzes": []}"#).unwrap();

    for (words, reason) in [
        (
            &["unit", "stop", "--dir", "nowhere"][..],
            "aosctl unit init",
        ),
        (
            &["unit", "deploy", "--dir", "unit", "bad.json"],
            "unknown field `instanzes`",
        ),
        (
            &["pack", "layer", "nowhere", "--output", "x"],
            "cannot read nowhere",
        ),
        (
            &["pack", "layer", "unit", "--output", "gone/x"],
            "cannot write package gone/x",
        ),
    ] {
        let output = aosctl(dir.path(), words, "");

        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(
            error.starts_with("aosctl: ") && error.contains(reason),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn deployment_without_sm_ends_with_3() {
    let dir = unit();
    std::fs::write(dir.path().join("state.json"), "{}").unwrap();

    let deploy = [
        "unit",
        "deploy",
        "--dir",
        "unit",
        "state.json",
        "--timeout",
        "0.1",
    ];
    let output = aosctl(dir.path(), &deploy, "");

    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("last known: SM is not registered"));
}

#[test]
fn address_in_use_is_explained() {
    let dir = unit();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let init = ["unit", "init", "--dir", "unit", "--cm", &address];
    aosctl(dir.path(), &init, "");

    let output = aosctl(dir.path(), &["unit", "run", "--dir", "unit"], "");

    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error.contains(&format!("CM cannot listen on {address}")),
        "{error}"
    );
}

#[test]
fn packing_prints_what_the_state_file_needs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();

    let pack = ["pack", "layer", "root", "--output", "l.tar", "-o", "json"];
    let output = aosctl(dir.path(), &pack, "");

    let packed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let size = std::fs::metadata(dir.path().join("l.tar")).unwrap().len();
    assert_eq!(packed["path"], "l.tar");
    assert_eq!(packed["size"], size);
    assert_eq!(packed["sha3_512"].as_str().unwrap().len(), 128);
    assert!(
        packed["layer_digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
}

#[test]
fn inspection_ends_with_0_if_the_package_is_whole_and_else_with_1() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    let pack = [
        "pack",
        "layer",
        "root",
        "--output",
        "l.tar",
        "--compress=zstd",
    ];
    aosctl(dir.path(), &pack, "");
    let bytes = std::fs::read(dir.path().join("l.tar")).unwrap();
    std::fs::write(dir.path().join("cut.tar"), &bytes[..600]).unwrap();

    for (words, code) in [
        (&["inspect", "l.tar"][..], 0),
        (&["inspect", "cut.tar"], 1),
        (&["inspect", "cut.tar", "-o", "json"], 1),
        (&["inspect", "missing.tar"], 1),
        (&["inspect"], 2),
        (&["inspect", "l.tar", "--platform", "linux"], 2),
    ] {
        let output = aosctl(dir.path(), words, "");
        assert_eq!(output.status.code(), Some(code), "{words:?}");
    }
}
