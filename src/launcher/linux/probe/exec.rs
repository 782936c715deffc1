//! A command in the container, by the runtime.
//!
//! The runtime that carries it out is a process of ours; what it starts is in the
//! container's cgroup, and a session of its own. It is told whom the command runs as,
//! and with what, as the service itself does: left alone, crun takes root. When time is up that session is
//! killed first: the runtime is its parent and still there, so that the number is
//! nobody else's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{self, Child};
use tokio::time::timeout;

use crate::launcher::files::{remove_file, write_file};
use crate::model::InstanceId;

/// Bytes of output that are kept for the reason of a failure.
const MOST_OUTPUT: usize = 1024;

/// What runc 1.1 says where a network namespace does not belong to the user
/// namespace: it goes into that first. Later ones do not.
const OLD_RUNC: &str = "failed to setns into net namespace";

/// The runtime ends soon after what it has started.
const LAST_DEADLINE: Duration = Duration::from_secs(1);

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecError {
    #[error("cannot run {}", runtime.display())]
    Spawn {
        runtime: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot tell the runtime whom to run the command as: {}", path.display())]
    Process {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "this release of runc cannot run a command in a user namespace ({output}): use a \
         newer one, or crun, or a probe of another kind, or take the service out of \
         userNamespaces"
    )]
    OldRunc { output: String },
    #[error("cannot wait for the command")]
    Wait(#[source] io::Error),
    #[error("the command was not done in {0:?}")]
    Late(Duration),
    #[error("{status}{}", words(output))]
    Failed { status: ExitStatus, output: String },
}

/// A command for a container.
#[derive(Debug)]
pub(super) struct Command {
    /// Absolute path of the OCI runtime.
    pub(super) runtime: PathBuf,
    /// Name of the container.
    pub(super) id: InstanceId,
    /// Program and arguments.
    pub(super) words: Vec<String>,
    /// Where its `config.json` is, and a file can be put.
    pub(super) directory: PathBuf,
    /// Of the container, from the root of each hierarchy.
    pub(super) cgroup: String,
}

impl Command {
    pub(super) async fn run(&self, limit: Duration) -> Result<(), ExecError> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid_file = self.directory.join(format!("probe-{number}.pid"));
        let process = self.directory.join(format!("probe-{number}.json"));
        let outcome = self.run_with(limit, &pid_file, &process).await;
        for file in [&pid_file, &process] {
            if let Err(error) = remove_file(file) {
                tracing::debug!(path = %file.display(), %error, "a file is left");
            }
        }
        outcome
    }

    async fn run_with(
        &self,
        limit: Duration,
        pid_file: &Path,
        process: &Path,
    ) -> Result<(), ExecError> {
        self.write_process(process)?;
        let mut child = process::Command::new(&self.runtime)
            .arg("exec")
            .arg("--pid-file")
            .arg(pid_file)
            .arg("--process")
            .arg(process)
            .arg(self.id.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ExecError::Spawn {
                runtime: self.runtime.clone(),
                source,
            })?;

        self.wait(&mut child, limit, pid_file).await
    }

    /// The process of the container's configuration, with other words. It may have
    /// a secret in it too.
    fn write_process(&self, path: &Path) -> Result<(), ExecError> {
        let config = self.directory.join("config.json");
        let text = fs::read(&config).and_then(|text| {
            let mut config: Value = serde_json::from_slice(&text)?;
            let mut process = config["process"].take();
            if !process.is_object() {
                return Err(io::Error::other("it has no process"));
            }
            process["args"] = Value::from(self.words.clone());
            Ok(process.to_string())
        });
        let text = text.map_err(|source| ExecError::Process {
            path: config,
            source,
        })?;

        write_file(path, text.as_bytes(), 0o600).map_err(|source| ExecError::Process {
            path: path.to_owned(),
            source,
        })
    }

    async fn wait(
        &self,
        child: &mut Child,
        limit: Duration,
        pid_file: &Path,
    ) -> Result<(), ExecError> {
        let mut output = Vec::new();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = timeout(limit, async {
            // What the command leaves behind may keep its output open: that is not
            // waited for.
            tokio::select! {
                biased;
                () = read(stdout, stderr, &mut output) => child.wait().await,
                ended = child.wait() => ended,
            }
        });
        let status = match ended.await {
            Ok(ended) => ended.map_err(ExecError::Wait)?,
            Err(_) => {
                self.kill(child, pid_file).await;
                return Err(ExecError::Late(limit));
            }
        };
        if status.success() {
            return Ok(());
        }

        let output = String::from_utf8_lossy(&output).trim().to_owned();
        if output.contains(OLD_RUNC) {
            return Err(ExecError::OldRunc {
                output: OLD_RUNC.to_owned(),
            });
        }
        Err(ExecError::Failed { status, output })
    }

    async fn kill(&self, child: &mut Child, pid_file: &Path) {
        if let Some(pid) = self.started(pid_file)
            && let Err(error) = killpg(pid, Signal::SIGKILL)
        {
            tracing::debug!(instance_id = %self.id, %error, "the command of a probe has ended");
        }
        if timeout(LAST_DEADLINE, child.wait()).await.is_err()
            && let Err(error) = child.kill().await
        {
            tracing::warn!(instance_id = %self.id, %error, "a runtime that hangs is not killed");
        }
    }

    /// What the runtime has started, if it is in the container.
    fn started(&self, pid_file: &Path) -> Option<Pid> {
        let pid: i32 = fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let is_inside = cgroups.lines().any(|line| line.ends_with(&self.cgroup));

        (pid > 1 && is_inside).then(|| Pid::from_raw(pid))
    }
}

/// Reads both to their ends, and keeps the beginning.
async fn read(
    stdout: Option<impl AsyncRead + Unpin>,
    stderr: Option<impl AsyncRead + Unpin>,
    output: &mut Vec<u8>,
) {
    let (Some(mut stdout), Some(mut stderr)) = (stdout, stderr) else {
        return;
    };
    let (mut one, mut other) = ([0; 512], [0; 512]);
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        let (read, buffer, open) = tokio::select! {
            read = stdout.read(&mut one), if out_open => (read, &one, &mut out_open),
            read = stderr.read(&mut other), if err_open => (read, &other, &mut err_open),
        };
        let length = read.unwrap_or(0);
        *open = length > 0;
        let room = MOST_OUTPUT.saturating_sub(output.len());
        output.extend_from_slice(&buffer[..length.min(room)]);
    }
}

fn words(output: &str) -> String {
    if output.is_empty() {
        String::new()
    } else {
        format!(": {output}")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Instant;

    use tempfile::TempDir;

    use super::*;

    /// A command that a runtime made for the test carries out.
    async fn run(runtime: &str, limit: Duration) -> (Result<(), String>, TempDir) {
        let temp = TempDir::new().unwrap();
        let path = temp.path().join("runc");
        fs::write(&path, format!("#!/bin/sh\n{runtime}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let config = r#"{"process": {"args": ["service"], "user": {"uid": 7}}, "x": 1}"#;
        fs::write(temp.path().join("config.json"), config).unwrap();
        let outcome = command(&temp).run(limit).await;
        (outcome.map_err(|error| error.to_string()), temp)
    }

    fn command(temp: &TempDir) -> Command {
        Command {
            runtime: temp.path().join("runc"),
            id: InstanceId::from_u128(1),
            words: vec!["check".into(), "it".into()],
            directory: temp.path().to_owned(),
            cgroup: "/no/such/cgroup".into(),
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_runtime_is_asked_to_run_the_command_in_the_container() {
        let (outcome, _temp) = run(r#"echo "$1 $2 $4 $6"; exit 3"#, LONG).await;

        let expected = "exit status: 3: exec --pid-file --process \
            00000000-0000-0000-0000-000000000001";
        assert_eq!(outcome, Err(expected.to_owned()));
    }

    #[tokio::test]
    async fn the_command_runs_as_the_service_does_and_nobody_else_reads_with_what() {
        let (outcome, _temp) = run(r#"cat "$5"; stat -c %a "$5"; exit 3"#, LONG).await;

        let expected = r#"exit status: 3: {"args":["check","it"],"user":{"uid":7}}600"#;
        assert_eq!(outcome, Err(expected.to_owned()));
    }

    #[tokio::test]
    async fn without_the_services_process_nothing_is_run() {
        for (config, why) in [("{}", "config.json"), ("{", "config.json")] {
            let (_, temp) = run("exit 0", LONG).await;
            fs::write(temp.path().join("config.json"), config).unwrap();
            let path = temp.path().join("probe.json");

            let refused = command(&temp).write_process(&path).unwrap_err();

            assert!(refused.to_string().ends_with(why), "{refused}");
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn runc_that_cannot_enter_is_told_with_what_to_do() {
        let script = "echo 'nsexec-1[9]: failed to setns into net namespace: no' >&2; exit 255";
        let (outcome, _temp) = run(script, LONG).await;

        let text = outcome.unwrap_err();
        assert!(text.starts_with("this release of runc"), "{text}");
        assert!(
            text.ends_with("take the service out of userNamespaces"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn success_leaves_no_file() {
        let (outcome, temp) = run(r#"echo 1 >"$3""#, LONG).await;

        assert_eq!(outcome, Ok(()));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn endless_output_is_read_and_not_kept() {
        let script = "head -c 1000000 /dev/zero | tr '\\0' x; echo oh >&2; exit 1";
        let (outcome, _temp) = run(script, LONG).await;

        assert!(outcome.unwrap_err().len() < 2 * MOST_OUTPUT);
    }

    #[tokio::test]
    async fn what_the_command_leaves_behind_is_not_waited_for() {
        let begin = Instant::now();
        let (outcome, _temp) = run("sleep 30 & exit 0", LONG).await;

        assert_eq!(outcome, Ok(()));
        assert!(begin.elapsed() < LONG);
    }

    #[tokio::test]
    async fn a_command_that_hangs_ends_with_its_time() {
        let begin = Instant::now();
        let (outcome, _temp) = run("exec sleep 60", Duration::from_millis(200)).await;

        assert_eq!(outcome, Err("the command was not done in 200ms".to_owned()));
        assert!(begin.elapsed() < LONG);
    }
}
