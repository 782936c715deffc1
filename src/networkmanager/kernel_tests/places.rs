//! Where packets come from and go to: network namespaces, and hosts outside of
//! the machine.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::thread;
use std::time::Instant;

use nix::sched::{CloneFlags, unshare};

use super::machine::Machine;
use super::probes::PATIENCE;
use crate::model::InstanceId;
use crate::networkmanager::apply::netns;

const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace.
#[derive(Debug)]
pub(super) struct Place {
    namespace: File,
}

impl Place {
    /// The namespace of the calling thread: in a test that of the machine.
    pub(super) fn here() -> Self {
        Self {
            namespace: File::open(OWN).unwrap(),
        }
    }

    /// An empty one, up on loopback.
    pub(super) fn new() -> Self {
        let namespace = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                File::open(OWN)
            });
            worker.join().unwrap()
        });
        let place = Self {
            namespace: namespace.unwrap(),
        };
        place.sh("ip link set lo up");
        place
    }

    /// Where an attached instance runs, as soon as its links pass packets.
    pub(super) fn of(machine: &Machine, instance: InstanceId) -> Self {
        let path = machine.namespaces().join(instance.to_string());
        let place = Self {
            namespace: netns::open(&path).unwrap().expect("it is attached"),
        };
        place.wait_carrier("eth0");
        let host_end = machine.host_end(instance).unwrap();
        let links = machine.links().links;
        let master = links[&host_end].master;
        for (bridge, _) in links.iter().filter(|(_, of)| Some(of.index) == master) {
            Self::here().wait_carrier(bridge);
        }
        place
    }

    /// For programs that are told a namespace by a file.
    fn path(&self) -> String {
        let descriptor = self.namespace.as_raw_fd();
        format!("/proc/{}/fd/{descriptor}", std::process::id())
    }

    /// The same, for another thread.
    pub(super) fn again(&self) -> Self {
        Self {
            namespace: self.namespace.try_clone().unwrap(),
        }
    }

    /// Waits until a link knows that its other end is up; that can take a
    /// second, in which it passes nothing.
    fn wait_carrier(&self, link: &str) {
        let end = Instant::now() + PATIENCE;
        while !self
            .sh(&format!("ip link show {link}"))
            .contains("state UP")
        {
            assert!(Instant::now() < end, "{link} does not come up");
        }
    }

    /// Runs `work` there.
    pub(super) fn run<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        netns::run_in(self.namespace.as_fd(), work)
    }

    /// Runs a shell script there, which has to succeed; returns what it printed.
    pub(super) fn sh(&self, script: &str) -> String {
        let output = self
            .run(|| Command::new("sh").args(["-euc", script]).output())
            .unwrap();
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// TCP segments of connections that were sent again because they were lost.
    /// Those of which the first one came too are not: a busy machine makes TCP
    /// impatient.
    pub(super) fn resent(&self) -> u64 {
        let needless = ["TCPSynRetrans", "TCPDSACKRecvSegs"];
        let needless = needless.map(|name| self.counter("netstat", "TcpExt", name));
        self.counter("snmp", "Tcp", "RetransSegs") - needless.iter().sum::<u64>()
    }

    fn counter(&self, file: &str, protocol: &str, name: &str) -> u64 {
        let text = self
            .run(|| std::fs::read_to_string(format!("/proc/thread-self/net/{file}")))
            .unwrap();
        let prefix = format!("{protocol}: ");
        let mut rows = text.lines().filter_map(|line| line.strip_prefix(&prefix));
        let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
        let index = names.split(' ').position(|column| column == name).unwrap();
        values.split(' ').nth(index).unwrap().parse().unwrap()
    }
}

/// A host on the link of the machine that its default route leads to. It knows
/// no way to provider networks, unless it is told one.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) place: Place,
    pub(super) address: Ipv4Addr,
    /// The machine's own address in the host's subnet.
    pub(super) machine: Ipv4Addr,
    /// What joins the machine and all hosts.
    switch: Place,
}

impl Outside {
    /// A host with a public address. The machine sends to it what it knows no
    /// other way for.
    pub(super) fn public() -> Self {
        let (here, switch) = (Place::here(), Place::new());
        here.sh(&format!(
            "ip link set lo up
             ip link add uplink type veth peer name machine netns {}
             ip link set uplink up",
            switch.path()
        ));
        switch.sh("ip link add switch up type bridge
             ip link set machine up master switch");

        let outside = Self::at(&switch, [203, 0, 113]);
        here.sh(&format!("ip route add default via {}", outside.address));
        outside
    }

    /// A host beside it, with a private address.
    pub(super) fn private_neighbour(&self) -> Self {
        Self::at(&self.switch, [192, 168, 77])
    }

    /// The machine is `.1`, the host `.2`.
    fn at(switch: &Place, [a, b, c]: [u8; 3]) -> Self {
        let outside = Self {
            place: Place::new(),
            machine: Ipv4Addr::new(a, b, c, 1),
            address: Ipv4Addr::new(a, b, c, 2),
            switch: switch.again(),
        };
        Place::here().sh(&format!("ip address add {}/24 dev uplink", outside.machine));
        switch.sh(&format!(
            "ip link add host{a} type veth peer name eth0 netns {}",
            outside.place.path()
        ));
        outside.place.sh(&format!(
            "ip address add {}/24 dev eth0
             ip link set eth0 up",
            outside.address
        ));
        switch.sh(&format!("ip link set host{a} up master switch"));
        Place::here().wait_carrier("uplink");
        switch.wait_carrier("machine");
        switch.wait_carrier(&format!("host{a}"));
        outside.place.wait_carrier("eth0");
        outside
    }

    /// Makes it send to a provider network by the machine, as a neighbour
    /// would that means no good.
    pub(super) fn learn_way_to(&self, subnet: &str) {
        self.place
            .sh(&format!("ip route add {subnet} via {}", self.machine));
    }
}
