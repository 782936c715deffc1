//! CM and IAM: `aosctl unit run` in the device, driven line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lab::{Device, PATIENCE, UNIT_DIR};
use super::state::{State, Status};

/// Events that wait to be read; a test that looks at none is not held up.
const EVENT_LIMIT: usize = 65536;

/// Events shown when something is waited for in vain.
const SHOWN: usize = 30;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The peers, as long as the value lives.
#[derive(Debug)]
pub(crate) struct Unit<'a> {
    device: &'a Device,
    pid_file: String,
    child: Child,
    stdin: ChildStdin,
    events: Receiver<Value>,
    /// All events that have been looked at.
    seen: Vec<Value>,
}

impl<'a> Unit<'a> {
    /// Plays CM and IAM.
    pub(crate) fn start(device: &'a Device) -> Self {
        Self::start_with(device, "")
    }

    /// Plays what the options of `aosctl unit run` say.
    pub(crate) fn start_with(device: &'a Device, options: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid_file = format!("/run/unit-{number}.pid");
        let script = format!(
            "echo $$ >{pid_file}
             exec aosctl unit run -o json --keep-going --dir {UNIT_DIR} {options}"
        );
        let mut child = device
            .command(&["sh", "-euc", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the device is there");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, events) = sync_channel(EVENT_LIMIT);
        thread::spawn(move || {
            for line in stdout.lines() {
                let Ok(line) = line else { return };
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        let mut unit = Self {
            device,
            pid_file,
            child,
            stdin,
            events,
            seen: Vec::new(),
        };
        unit.wait_for("the peers to listen", PATIENCE, |event| {
            is(event, "listening")
        });
        unit
    }

    /// Writes a command line.
    pub(crate) fn command(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the peers are there");
    }

    /// Waits for the next event that `wanted` accepts; those before it are
    /// only remembered.
    pub(crate) fn wait_for(
        &mut self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(event) = self.events.recv_timeout(left) else {
                panic!("waited in vain for {what}; {}", self.last_events());
            };
            self.seen.push(event.clone());
            if wanted(&event) {
                return event;
            }
            assert!(
                !is(&event, "failed"),
                "instead of {what}; {}",
                self.last_events()
            );
        }
    }

    /// Waits until the service manager has registered.
    pub(crate) fn wait_registered(&mut self) -> Value {
        self.wait_for("registration", PATIENCE, |event| {
            is(event, "node_configuration")
        })
    }

    /// Waits for the next complete status.
    pub(crate) fn wait_status(&mut self, limit: Duration) -> Vec<Status> {
        let event = self.wait_for("RunInstancesStatus", limit, |event| {
            is(event, "run_instances_status")
        });
        Status::all_of(&event)
    }

    /// Waits for the next complete status: so many instances, all of them active.
    pub(crate) fn wait_all_active(&mut self, count: usize) {
        let told = self.wait_status(PATIENCE);
        assert!(
            told.len() == count && told.iter().all(Status::is_active),
            "{told:?}"
        );
    }

    /// Waits until a status or an update says what `wanted` looks for.
    pub(crate) fn wait_told(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut found = None;
        self.wait_for(what, PATIENCE, |event| {
            found = Status::all_of(event).into_iter().find(&wanted);
            found.is_some()
        });
        found.expect("it was just found")
    }

    /// Sends a desired state and waits until it is on its way. Returns the
    /// event of that.
    pub(crate) fn send(&mut self, state: &State) -> Value {
        let path = state.save(self.device);
        self.command(&format!("run {path}"));
        self.wait_sent("run_instances")
    }

    /// Waits until a message has been sent.
    pub(crate) fn wait_sent(&mut self, message: &str) -> Value {
        self.wait_for(&format!("{message} to be sent"), PATIENCE, |event| {
            is(event, "sent") && event["message"] == message
        })
    }

    /// Sends a desired state and waits for its status.
    pub(crate) fn run(&mut self, state: &State) -> Vec<Status> {
        self.send(state);
        let statuses = self.wait_status(PATIENCE);
        let mut told: Vec<_> = statuses
            .iter()
            .map(|status| status.instance.clone())
            .collect();
        told.sort();
        assert_eq!(told, state.instance_names(), "{}", self.last_events());
        statuses
    }

    /// Sends a desired state, all of which has to become active.
    pub(crate) fn run_well(&mut self, state: &State) {
        let statuses = self.run(state);
        assert!(statuses.iter().all(Status::is_active), "{statuses:#?}");
    }

    /// Takes away instances and networks.
    pub(crate) fn stop_all(&mut self) {
        self.run_well(&State::default());
    }

    /// All events that have been looked at since the peers were started.
    pub(crate) fn seen(&self) -> &[Value] {
        &self.seen
    }

    /// The peers die at once.
    pub(crate) fn kill(mut self) {
        self.device
            .sh(&format!("kill -KILL $(cat {})", self.pid_file));
        self.child.wait().expect("it is our child");
    }

    fn last_events(&self) -> String {
        let first = self.seen.len().saturating_sub(SHOWN);
        let lines: Vec<_> = self.seen.iter().skip(first).map(Value::to_string).collect();
        format!("last events:\n{}", lines.join("\n"))
    }
}

impl Drop for Unit<'_> {
    fn drop(&mut self) {
        // What runs in the device ends with its stdin's reader, or the device.
        let killed = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = killed {
            eprintln!("cannot end the peers: {error}");
        }
    }
}

/// Whether an event has this name.
pub(crate) fn is(event: &Value, name: &str) -> bool {
    event["event"] == name
}

/// When an event happened, in milliseconds since the peers were started.
pub(crate) fn millis(event: &Value) -> f64 {
    event["t_ms"].as_f64().expect("each event has its time")
}
