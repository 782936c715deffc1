//! A test device that lives as long as the value.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// For what takes a moment on a device with nothing else to do: the machine
/// that runs the tests may have a lot to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where the unit's certificates, packages and states are, in the device.
pub(crate) const UNIT_DIR: &str = "/var/aos/unit";

/// As `misc/config/aos_servicemanager.cfg` has it.
pub(crate) const WORKING_DIR: &str = "/var/aos/servicemanager";

const CONFIG: &str = "/etc/aos/aos_servicemanager.cfg";
const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
const POLL: Duration = Duration::from_millis(50);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A booted test device with the service manager installed, configured for the
/// unit in [`UNIT_DIR`], and not started.
#[derive(Debug)]
pub(crate) struct Device {
    name: String,
    root: PathBuf,
    /// On the host: the pid of its init.
    init: String,
}

impl Device {
    pub(crate) fn up() -> Self {
        Self::up_with(&[])
    }

    /// A device that is booted with options of `ci/lab/device up`.
    pub(crate) fn up_with(options: &[&str]) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{number}", process::id());
        succeed(lab(&["up", &name]).args(options));
        // From here on it is taken down, whatever happens.
        let mut device = Self {
            name,
            root: PathBuf::new(),
            init: String::new(),
        };
        device.root = PathBuf::from(text(succeed(lab(&["root", &device.name]))));
        device.init = text(succeed(lab(&["pid", &device.name])));
        let binaries = binaries();
        assert!(
            binaries.join("aos_servicemanager").is_file(),
            "no {}/aos_servicemanager: run ci/test.sh, or cargo build --release --workspace",
            binaries.display()
        );
        succeed(lab(&["install-sm", &device.name]).arg(binaries));
        device.sh(&format!(
            "mkdir {UNIT_DIR}
             cp {CONFIG} {UNIT_DIR}/
             aosctl unit init --dir {UNIT_DIR}
             ln -sf {UNIT_DIR}/aos_servicemanager.cfg {CONFIG}
             mkdir {WORKING_DIR}"
        ));
        device
    }

    /// Changes a key of the service manager's configuration.
    pub(crate) fn configure(&self, key: &str, value: impl Into<serde_json::Value>) {
        let path = self.path(UNIT_DIR).join("aos_servicemanager.cfg");
        let text = fs::read(&path).expect("it was made");
        let mut config: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
        config[key] = value.into();
        fs::write(&path, config.to_string()).expect("the root is ours");
    }

    /// A command in the device, to be run as the caller likes.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = lab(&["exec", &self.name]);
        command.args(words);
        command
    }

    /// Runs a shell script in the device, whatever its outcome.
    pub(crate) fn try_sh(&self, script: &str) -> Output {
        run(&mut self.command(&["sh", "-euc", script]))
    }

    /// Runs a shell script in the device, which has to succeed; returns what
    /// it printed.
    pub(crate) fn sh(&self, script: &str) -> String {
        text(succeed(self.command(&["sh", "-euc", script])))
    }

    /// Runs a Python program in the device; returns what it printed.
    pub(crate) fn python(&self, program: &str, arguments: &[&str]) -> String {
        let words = [&["python3", "-c", program], arguments].concat();
        text(succeed(self.command(&words)))
    }

    /// Where a path of the device is on the host.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Writes a file in the device.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        let parent = path.parent().expect("it is below the root");
        fs::create_dir_all(parent).expect("the root is ours");
        fs::write(&path, content).expect("the root is ours");
    }

    /// Fetches a page as a program on the device would.
    pub(crate) fn fetch(&self, url: &str) -> Result<String, String> {
        let output = run(Command::new("nsenter")
            .args(["--net", "--target", &self.init])
            .args([
                "curl",
                "--silent",
                "--show-error",
                "--fail",
                "--max-time",
                "10",
                url,
            ]));
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Fetches a page from a server that may be starting.
    pub(crate) fn fetch_patiently(&self, url: &str) -> String {
        wait_until(PATIENCE, url, || self.fetch(url))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if thread::panicking() {
            let output =
                lab(&["log", &self.name, "--lines=150", "--output=short-precise"]).output();
            let log = output.map(|output| output.stdout).unwrap_or_default();
            eprintln!(
                "--- journal of {}\n{}",
                self.name,
                String::from_utf8_lossy(&log)
            );
        }
        let output = lab(&["down", &self.name, "--kill"]).output();
        let is_down = output.as_ref().is_ok_and(|output| output.status.success());
        assert!(
            is_down || thread::panicking(),
            "cannot take {} down: {output:?}",
            self.name
        );
    }
}

/// Calls `attempt` until it succeeds. Only for what is seen from outside the
/// programs under test, where nothing tells when to look again.
pub(crate) fn wait_until<T, E: std::fmt::Display>(
    limit: Duration,
    what: &str,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) if Instant::now() > deadline => {
                panic!("not within {limit:?}: {what}: {error}");
            }
            Err(_) => pause(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the device is looked at from outside"
)]
fn pause() {
    thread::sleep(POLL);
}

/// `aosctl` on the host, to make packages.
pub(crate) fn aosctl() -> Command {
    Command::new(binaries().join("aosctl"))
}

/// Where the release binaries are.
fn binaries() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(REPOSITORY).join(target).join("release")
}

fn lab(words: &[&str]) -> Command {
    let mut command = Command::new(Path::new(REPOSITORY).join("ci/lab/device"));
    command.args(words);
    command
}

fn run(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

/// Runs a command that has to succeed.
pub(crate) fn succeed(mut command: impl std::borrow::BorrowMut<Command>) -> Output {
    let command = command.borrow_mut();
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn text(output: Output) -> String {
    let text = String::from_utf8(output.stdout).expect("programs print UTF-8");
    text.trim_end().to_owned()
}
