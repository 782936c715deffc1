//! A machine of its own for each test, which ends with it.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use aos_names::{InstanceNames, NetworkNames};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use crate::client::Client;
use crate::other::{Mood, Other};

/// How long something may take that is to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Machine {
    directory: TempDir,
    others: Cell<u8>,
}

pub(crate) struct RunningServer {
    child: Child,
    log: Mutex<mpsc::Receiver<String>>,
}

pub(crate) fn on_own_machine(test: impl FnOnce(&Machine) + Send) {
    thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let machine = Machine {
                directory: TempDir::new().unwrap(),
                others: Cell::new(2),
            };
            fs::create_dir(machine.names()).unwrap();
            machine.run("ip link set lo up");
            test(&machine);
        };
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

pub(crate) fn address(third: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 17, third, last)
}

pub(crate) fn names(id: &str, third: u8, instances: &[(&str, u8)]) -> NetworkNames {
    NetworkNames {
        network: id.into(),
        bridge: format!("br-{id}"),
        bridge_index: 0,
        gateway: address(third, 1),
        prefix: 24,
        dns_servers: Vec::new(),
        instances: instances
            .iter()
            .map(|(name, last)| InstanceNames {
                id: (*name).into(),
                address: address(third, *last),
                names: vec![(*name).into()],
            })
            .collect(),
    }
}

pub(crate) fn run(line: &str) {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status();
    assert!(status.unwrap().success(), "{line}");
}

impl Machine {
    fn names(&self) -> PathBuf {
        self.directory.path().join("names")
    }

    pub(crate) fn run(&self, line: &str) {
        run(line);
    }

    /// Makes a bridge with its gateway, and one client at it.
    pub(crate) fn network(&self, id: &str, third: u8) -> Client {
        self.run(&format!("ip link add br-{id} type bridge"));
        self.run(&format!(
            "ip address add {}/24 dev br-{id}",
            address(third, 1)
        ));
        self.run(&format!("ip link set br-{id} up"));
        let (client, thread) = Client::start();
        self.run(&format!(
            "ip link add v{id} type veth peer name eth0 netns {thread}"
        ));
        self.run(&format!("ip link set v{id} master br-{id} up"));
        client.run(&format!(
            "ip address add {}/24 dev eth0",
            address(third, 200)
        ));
        client.run("ip link set eth0 up");
        client.run(&format!("ip route add default via {}", address(third, 1)));
        client
    }

    /// Writes a network's file as the service manager does.
    pub(crate) fn publish(&self, names: &NetworkNames) -> PathBuf {
        let index = fs::read_to_string("/proc/thread-self/net/dev_mcast")
            .unwrap()
            .lines()
            .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>())
            .find(|words| words[1] == names.bridge)
            .map_or(0, |words| words[0].parse().unwrap());
        let names = NetworkNames {
            bridge_index: index,
            ..names.clone()
        };
        let file = self.names().join(format!("{}.json", names.bridge));
        let new = file.with_extension("new");
        fs::write(&new, names.text()).unwrap();
        fs::rename(&new, &file).unwrap();
        file
    }

    /// Starts the server, and waits until it serves.
    pub(crate) fn server(&self) -> RunningServer {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aos_nameserver"))
            .arg("--directory")
            .arg(self.names())
            .env_remove("JOURNAL_STREAM")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let server = RunningServer {
            child,
            log: Mutex::new(log),
        };
        server.wait_for("serving");
        server
    }

    /// Starts another name server, on an address of its own.
    pub(crate) fn other_server(&self, mood: Mood) -> Other {
        let last = self.others.replace(self.others.get() + 1);
        Other::start(Ipv4Addr::new(127, 0, 1, last), mood)
    }
}

impl RunningServer {
    /// Returns when the log has a line with this text.
    pub(crate) fn wait_for(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        let log = self.log.lock().unwrap();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if log.recv_timeout(left).unwrap().contains(text) {
                return;
            }
        }
    }

    /// What it has in memory for itself alone, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(path).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("Anonymous:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
