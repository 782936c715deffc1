//! A command in the container, by the runtime.
//!
//! The runtime that carries it out is a process of ours; what it starts is in the
//! container's cgroup, and a session of its own. When time is up that session is
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
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{self, Child};
use tokio::time::timeout;

use crate::launcher::files::remove_file;
use crate::model::InstanceId;

/// Bytes of output that are kept for the reason of a failure.
const MOST_OUTPUT: usize = 1024;

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
    /// Where a file can be put.
    pub(super) directory: PathBuf,
    /// Of the container, from the root of each hierarchy.
    pub(super) cgroup: String,
}

impl Command {
    pub(super) async fn run(&self, limit: Duration) -> Result<(), ExecError> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid_file = self.directory.join(format!("probe-{number}.pid"));
        let mut child = process::Command::new(&self.runtime)
            .arg("exec")
            .arg("--pid-file")
            .arg(&pid_file)
            .arg(self.id.to_string())
            .args(&self.words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ExecError::Spawn {
                runtime: self.runtime.clone(),
                source,
            })?;

        let outcome = self.wait(&mut child, limit, &pid_file).await;
        if let Err(error) = remove_file(&pid_file) {
            tracing::debug!(path = %pid_file.display(), %error, "a file is left");
        }
        outcome
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
        let command = Command {
            runtime: path,
            id: InstanceId::from_u128(1),
            words: vec!["check".into(), "it".into()],
            directory: temp.path().to_owned(),
            cgroup: "/no/such/cgroup".into(),
        };
        let outcome = command.run(limit).await;
        (outcome.map_err(|error| error.to_string()), temp)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_runtime_is_asked_to_run_the_command_in_the_container() {
        let (outcome, _temp) = run(r#"echo "$1 $2 $4 $5 $6"; exit 3"#, LONG).await;

        let expected = "exit status: 3: exec --pid-file \
            00000000-0000-0000-0000-000000000001 check it";
        assert_eq!(outcome, Err(expected.to_owned()));
    }

    #[tokio::test]
    async fn success_leaves_no_file() {
        let (outcome, temp) = run(r#"echo 1 >"$3""#, LONG).await;

        assert_eq!(outcome, Ok(()));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
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
