//! A machine of its own for each test: a network and a mount namespace that end
//! with it.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use aos_names::NetworkNames;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::places::Place;
use crate::model::{Flow, InstanceId, NetworkParameters};
use crate::networkmanager::apply::{Kernel, netns};
use crate::networkmanager::existing::{Existing, Link};
use crate::networkmanager::names;
use crate::networkmanager::plan::Operation;
use crate::networkmanager::{AttachRequest, NetworkSettings, Networks};
use crate::storage::Database;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take until something is mended.
const HEALING: Duration = Duration::from_secs(20);
/// How long a test may take.
const LIMIT: Duration = Duration::from_mins(1);

pub(super) struct Machine {
    directory: TempDir,
    database: Database,
}

/// A network manager at work.
pub(super) struct Manager {
    pub(super) networks: Networks,
    task: JoinHandle<()>,
}

/// Runs a test on a machine of its own.
pub(super) fn on_own_machine<F: Future<Output = ()>>(test: impl FnOnce(Machine) -> F + Send) {
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .unwrap();
        let machine = Machine {
            directory: TempDir::new().unwrap(),
            database: Database::in_memory().unwrap(),
        };
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async { timeout(LIMIT, test(machine)).await })
            .expect("the test hangs");
    };
    thread::scope(|scope| {
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Machine {
    /// Starts a network manager, as after a start of SM.
    pub(super) async fn start(&self) -> Manager {
        self.start_with(NetworkSettings::default()).await
    }

    /// Starts one with settings, but for the directories.
    pub(super) async fn start_with(&self, settings: NetworkSettings) -> Manager {
        let settings = NetworkSettings {
            namespaces: self.directory.path().join("netns"),
            names: self.directory.path().join("names"),
            ..settings
        };
        let (networks, task) = Networks::start(self.database.clone(), settings)
            .await
            .unwrap();

        Manager {
            networks,
            task: tokio::spawn(task.run()),
        }
    }

    /// Empties the database.
    pub(super) fn forget(&mut self) {
        self.database = Database::in_memory().unwrap();
    }

    /// Waits until something is as it should be.
    pub(super) async fn eventually(&self, is_good: impl Fn() -> bool) {
        let mut events = self.kernel().events().unwrap();
        let good = async {
            while !is_good() {
                // Not all that counts is told of.
                drop(timeout(Duration::from_millis(500), events.next()).await);
            }
        };
        timeout(HEALING, good).await.expect("it is not mended");
    }

    /// Changes the machine behind the manager's back.
    pub(super) fn apply(&self, operation: Operation) {
        self.kernel().apply(&[operation]).unwrap();
    }

    pub(super) fn links(&self) -> Existing {
        self.kernel().survey().unwrap()
    }

    /// Name of the host's end of an instance's link.
    pub(super) fn host_end(&self, instance: InstanceId) -> Option<String> {
        let links = self.links();
        let mut host_ends = links.host_ends();
        host_ends.find_map(|(id, name)| (id == instance).then(|| name.to_owned()))
    }

    /// All that a machine has of networks: names of links, names of namespaces,
    /// and mounts. Links that the kernel is about to delete have to go.
    pub(super) fn inventory(&self) -> BTreeSet<String> {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let directory = self.directory.path().to_str().unwrap();
        let mut inventory: BTreeSet<String> = mounts
            .lines()
            .filter(|line| line.contains(directory))
            .map(|line| line.split(' ').nth(4).unwrap().to_owned())
            .collect();
        let start = Instant::now();
        let links = loop {
            let links = self.links().links;
            let dying = |(name, link): (&String, &Link)| {
                link.alias == names::RELEASED || link.alias.is_empty() && name.starts_with("veth")
            };
            if !links.iter().any(dying) {
                break links;
            }
            assert!(start.elapsed() < LIMIT, "released links stay: {links:?}");
            thread::yield_now();
        };
        inventory.extend(links.into_keys());
        inventory.extend(
            fs::read_dir(self.namespaces())
                .unwrap()
                .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned()),
        );
        inventory
    }

    /// All nftables rules, without order, numbers and what they have counted.
    pub(super) fn rules(&self) -> BTreeSet<String> {
        // Elements of sets come several in a line, and differently each time.
        Place::here()
            .sh("nft -s list ruleset")
            .split(['\n', ','])
            .map(|line| line.trim_start_matches("\t\telements = {"))
            .map(|line| line.trim_matches(['\t', ' ', '{', '}']).to_owned())
            .collect()
    }

    /// What the name server is told: networks, and one line for each name.
    pub(super) fn published(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for entry in fs::read_dir(self.directory.path().join("names")).unwrap() {
            let text = fs::read(entry.unwrap().path()).unwrap();
            let file = NetworkNames::read(&text).unwrap();
            let network = format!(
                "in {} on {} {}/{}",
                file.network, file.bridge, file.gateway, file.prefix
            );
            for instance in file.instances {
                let names = instance.names.iter();
                lines.extend(names.map(|name| format!("{name} {} {network}", instance.address)));
            }
            lines.insert(network);
        }
        lines
    }

    pub(super) fn namespaces(&self) -> std::path::PathBuf {
        self.directory.path().join("netns")
    }

    /// Runs `work` where the instance runs.
    pub(super) fn inside<T: Send>(
        &self,
        instance: InstanceId,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        inside(&self.namespaces().join(instance.to_string()), work)
    }

    /// Connects from inside one instance to a service inside another.
    pub(super) fn connect(
        &self,
        from: InstanceId,
        to: InstanceId,
        address: Ipv4Addr,
    ) -> io::Result<Connection> {
        let listener = self.inside(to, || TcpListener::bind((address, 0)))?;
        let target = listener.local_addr()?;
        let client = self.inside(from, || dial(target))?;
        let (server, _) = listener.accept()?;
        Ok(Connection { client, server })
    }

    /// Makes a bridge that is not ours.
    pub(super) async fn foreign_bridge(&self, name: &str) {
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        let bridge = rtnetlink::LinkBridge::new(name).build();
        handle.link().add(bridge).execute().await.unwrap();
    }

    fn kernel(&self) -> Kernel {
        Kernel::open(&self.namespaces(), false, Flow::default()).unwrap()
    }
}

impl Manager {
    /// Stops the network manager, as at a stop of SM.
    pub(super) async fn stop(self) {
        drop(self.networks);
        self.task.await.unwrap();
    }
}

/// Both ends of a TCP connection between instances.
pub(super) struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Connection {
    /// Sends a byte each way.
    pub(super) fn talk(&mut self) -> io::Result<()> {
        use std::io::{Read, Write};

        let mut byte = [0];
        self.server.set_read_timeout(Some(PATIENCE))?;
        self.client.set_read_timeout(Some(PATIENCE))?;
        self.client.write_all(b"?")?;
        self.server.read_exact(&mut byte)?;
        self.server.write_all(b"!")?;
        self.client.read_exact(&mut byte)
    }
}

/// Runs `ip` in the network namespace of this thread.
pub(super) fn ip(arguments: &str) {
    let done = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("there is `ip`");
    let text = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {arguments}: {text}");
}

pub(super) fn dial(target: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&target, PATIENCE)
}

pub(super) fn inside<T: Send>(
    namespace: &Path,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let namespace = netns::open(namespace)?.ok_or(io::ErrorKind::NotFound)?;
    netns::run_in(namespace.as_fd(), work)
}

pub(super) fn id(bits: u128) -> InstanceId {
    InstanceId::from_u128(bits)
}

/// A /24 network with the first address as gateway.
pub(super) fn network(name: &str, subnet: [u8; 3]) -> NetworkParameters {
    let [a, b, c] = subnet;
    NetworkParameters {
        network_id: name.into(),
        subnet: format!("{a}.{b}.{c}.0/24"),
        ip: format!("{a}.{b}.{c}.1"),
        ..NetworkParameters::default()
    }
}

/// An instance with this address in a /24 network.
pub(super) fn request(id: InstanceId, provider: &str, address: [u8; 4]) -> AttachRequest {
    let [a, b, c, d] = address;
    AttachRequest {
        id,
        ident: Default::default(),
        network: NetworkParameters {
            subnet: format!("{a}.{b}.{c}.0/24"),
            ip: Ipv4Addr::from(address).to_string(),
            ..NetworkParameters::default()
        },
        provider_id: provider.into(),
        // Two of a network may not have the same.
        hostname: Some(format!("web-{a}-{b}-{c}-{d}")),
        extra_hosts: Vec::new(),
        exposed_ports: Vec::new(),
        speeds: Default::default(),
        limits: Default::default(),
    }
}
