//! A host, two provider networks with instances, and somebody outside: network
//! namespaces that end with the test.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use uuid::Uuid;

use crate::model::{Flow, InstanceId};
use crate::networkmanager::addresses::instance_mac;
use crate::networkmanager::apply::netns::{self, run_in};
use crate::networkmanager::apply::nft::Firewall;
use crate::networkmanager::firewall::{BridgeRules, InstanceRules, Rules};
use crate::networkmanager::handle::TrafficLimits;
use crate::networkmanager::names;

/// How long what should arrive may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long we wait for what should not arrive. It would have taken microseconds.
const SILENCE: Duration = Duration::from_millis(150);

pub(super) const A1: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
pub(super) const A2: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 3);
pub(super) const B1: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
pub(super) const GATEWAY_A: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
pub(super) const GATEWAY_B: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
/// The host as the world sees it, a public address.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(super) const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// Another address of the world's, a private one.
pub(super) const OFFICE: Ipv4Addr = Ipv4Addr::new(192, 168, 5, 5);

const TOPOLOGY: &str = "\
link set lo up
link add br-a address 0a:00:00:00:00:01 type bridge
link add br-b address 0a:00:00:00:00:02 type bridge
addr add 172.17.0.1/24 dev br-a
addr add 172.18.0.1/24 dev br-b
link set br-a up
link set br-b up
link add up0 type veth peer name eth0 netns world
addr add 203.0.113.1/24 dev up0
link set up0 up
route add 192.168.5.5/32 via 203.0.113.2 dev up0
";
const WORLD_SIDE: &str = "\
link set lo up
addr add 203.0.113.2/24 dev eth0
addr add 192.168.5.5/32 dev lo
link set eth0 up
route add 172.16.0.0/12 via 203.0.113.1
";

/// The test's machine.
pub(super) struct Lab;

/// Runs a test on a machine of its own.
pub(super) fn in_lab(test: impl FnOnce(Lab) + Send) {
    thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            std::fs::create_dir_all("/run/netns").unwrap();
            mount(none, "/run/netns", Some("tmpfs"), MsFlags::empty(), none).unwrap();
            test(Lab::new());
        };
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

pub(super) fn id(bits: u128) -> InstanceId {
    InstanceId::from_u128(bits)
}

impl Lab {
    fn new() -> Self {
        let lab = Self;
        lab.run("ip", &["netns", "add", "world"]);
        lab.ip_batch(None, TOPOLOGY);
        lab.ip_batch(Some("world"), WORLD_SIDE);
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        for (name, instance) in [("a1", A1), ("a2", A2), ("b1", B1)] {
            lab.add_instance(name, instance);
        }
        lab
    }

    /// Makes the namespace `name` with a port of the bridge that it belongs to.
    pub(super) fn add_instance(&self, name: &str, address: Ipv4Addr) {
        let (bridge, gateway) = network_of(address);
        let mac = instance_mac(address)
            .map(|byte| format!("{byte:02x}"))
            .join(":");
        let port = port(address);
        self.run("ip", &["netns", "add", name]);
        self.ip_batch(
            None,
            &format!(
                "link add {port} type veth peer name eth0 address {mac} netns {name}\n\
                 link set {port} master {bridge}\n\
                 link set {port} type bridge_slave hairpin on\n\
                 link set {port} up\n"
            ),
        );
        self.ip_batch(
            Some(name),
            &format!(
                "link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\n\
                 route add default via {gateway}\n"
            ),
        );
    }

    pub(super) fn firewall(&self) -> Firewall {
        let host = netns::own().unwrap();
        Firewall::open(host.as_fd()).unwrap()
    }

    /// Rules for both networks and the three instances.
    pub(super) fn rules(&self) -> Rules {
        let mut rules = Rules::default();
        for (address, subnet) in [(A1, "172.17.0.0/24"), (B1, "172.18.0.0/24")] {
            let (bridge, gateway) = network_of(address);
            rules.bridges.insert(
                bridge.into(),
                BridgeRules {
                    subnet: subnet.parse().unwrap(),
                    gateway,
                    vlan_port: None,
                },
            );
        }
        for (n, address) in [(1, A1), (2, A2), (3, B1)] {
            rules.instances.insert(id(n), instance(address));
        }
        rules
    }

    /// Runs `work` in the namespace `name`.
    pub(super) fn inside<T: Send>(
        &self,
        name: &str,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let namespace = File::open(Path::new("/run/netns").join(name))?;
        run_in(namespace.as_fd(), work)
    }

    pub(super) fn udp(&self, name: &str, address: Ipv4Addr, port: u16) -> UdpSocket {
        let bind = || UdpSocket::bind(SocketAddrV4::new(address, port));
        let socket = self.inside(name, bind).unwrap();
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        socket
    }

    /// Whether a packet of `length` bytes of data arrives, and from whom.
    pub(super) fn send(
        &self,
        from: &UdpSocket,
        to: &UdpSocket,
        length: usize,
    ) -> Option<SocketAddrV4> {
        let target = to.local_addr().unwrap();
        // Nobody is told why, except by an error of the next call.
        drop(from.take_error());
        from.send_to(&vec![7; length], target).ok()?;
        let mut buffer = [0; 2000];
        let (received, sender) = to.recv_from(&mut buffer).ok()?;
        assert_eq!(received, length);
        match sender {
            std::net::SocketAddr::V4(sender) => Some(sender),
            std::net::SocketAddr::V6(_) => None,
        }
    }

    /// Whether a packet gets from one namespace to an address of another.
    pub(super) fn reaches(&self, from: &str, to: &str, address: Ipv4Addr, port: u16) -> bool {
        let server = self.udp(to, address, port);
        let client = self.udp(from, Ipv4Addr::UNSPECIFIED, 0);
        self.send(&client, &server, 10).is_some()
    }

    /// The same, with this address as the sender's.
    pub(super) fn reaches_from(
        &self,
        from: &str,
        sender: Ipv4Addr,
        to: &str,
        address: Ipv4Addr,
        port: u16,
    ) -> bool {
        let server = self.udp(to, address, port);
        let client = self.udp(from, sender, 0);
        self.send(&client, &server, 10).is_some()
    }

    /// Whether an echo comes back.
    pub(super) fn pings(&self, from: &str, address: Ipv4Addr) -> bool {
        // Type, code, checksum, id, number.
        const REQUEST: [u8; 8] = [8, 0, 0xf7, 0xfd, 0, 1, 0, 1];
        const REPLY: u8 = 0;
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC;
            let icmp = SockProtocol::Icmp;
            Ok(socket(AddressFamily::Inet, SockType::Raw, flags, icmp)?)
        };
        let socket = UdpSocket::from(self.inside(from, open).unwrap());
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        socket.send_to(&REQUEST, (address, 0)).unwrap();

        let mut packet = [0; 100];
        while let Ok((length, sender)) = socket.recv_from(&mut packet) {
            // Behind the header of the packet.
            if length > 20 && packet[20] == REPLY && sender.ip() == address {
                return true;
            }
        }
        false
    }

    /// Whether a connection can be made.
    pub(super) fn connects(&self, from: &str, to: &str, address: Ipv4Addr, port: u16) -> bool {
        self.connect(from, to, address, port).is_ok()
    }

    pub(super) fn connect(
        &self,
        from: &str,
        to: &str,
        address: Ipv4Addr,
        port: u16,
    ) -> io::Result<(TcpStream, TcpStream)> {
        let target = SocketAddrV4::new(address, port);
        let listener = self.inside(to, || TcpListener::bind(target))?;
        let client = self.inside(from, || TcpStream::connect_timeout(&target.into(), SILENCE))?;
        let (server, _) = listener.accept()?;
        client.set_read_timeout(Some(SILENCE))?;
        server.set_read_timeout(Some(PATIENCE))?;
        Ok((client, server))
    }

    pub(super) fn nft(&self, arguments: &str) -> String {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let output = self.run("nft", &arguments);
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) fn ip(&self, namespace: &str, arguments: &str) {
        self.ip_batch(Some(namespace), arguments);
    }

    /// Lets the host be named like another place, as `host`.
    pub(super) fn name_host(&self) {
        std::fs::write("/run/netns/host", "").unwrap();
        self.run(
            "mount",
            &["--bind", "/proc/thread-self/ns/net", "/run/netns/host"],
        );
    }

    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let output = Command::new(program).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {error}");
        output
    }

    pub(super) fn ip_batch(&self, namespace: Option<&str>, lines: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        let file = file.path().to_str().unwrap();
        let batch = ["-batch", file];
        match namespace {
            Some(name) => self.run("ip", &["-n", name, "-batch", file]),
            None => self.run("ip", &batch),
        };
    }
}

/// The port of the instance with this address.
pub(super) fn port(address: Ipv4Addr) -> String {
    names::host_end(Uuid::from_u128(u128::from(u32::from(address)) << 96))
}

/// An instance that may do nothing special.
pub(super) fn instance(address: Ipv4Addr) -> InstanceRules {
    InstanceRules {
        bridge: network_of(address).0.into(),
        host_end: port(address),
        mac: instance_mac(address),
        address,
        exposed: Vec::new(),
        allowed: Vec::new(),
        start: Flow::default(),
        limits: TrafficLimits::default(),
    }
}

fn network_of(address: Ipv4Addr) -> (&'static str, Ipv4Addr) {
    match address.octets() {
        [172, 17, ..] => ("br-a", GATEWAY_A),
        _ => ("br-b", GATEWAY_B),
    }
}
