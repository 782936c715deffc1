//! A host outside of the device, at the other end of its uplink.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use super::lab::Device;

/// The device's own address on the uplink.
pub(crate) const UPLINK: &str = "203.0.113.1";
/// That of the host outside.
pub(crate) const OUTSIDE: &str = "203.0.113.2";

const STEADY: &str = include_str!("../fixtures/steady.py");

/// The host; it ends with the device.
#[derive(Debug)]
pub(crate) struct Outside<'a> {
    device: &'a Device,
    /// In the device: a process that runs there.
    pid: String,
}

impl<'a> Outside<'a> {
    /// Links the device to a host that its default route leads to.
    pub(crate) fn connect(device: &'a Device) -> Self {
        device.sh(&format!(
            "systemd-run --quiet --unit=outside --property=PrivateNetwork=yes \\
                 --property=Type=exec sleep infinity
             pid=$(systemctl show --value --property=MainPID outside)
             ip link add uplink type veth peer name eth0 netns $pid
             ip address add {UPLINK}/24 dev uplink
             ip link set uplink up
             ip route add default via {OUTSIDE}
             nsenter --net --target $pid ip address add {OUTSIDE}/24 dev eth0
             nsenter --net --target $pid ip link set eth0 up"
        ));
        let pid = device.sh("systemctl show --value --property=MainPID outside");
        Self { device, pid }
    }

    /// Makes it send to provider networks by the device.
    pub(crate) fn learn_way_to(&self, subnet: &str) {
        self.sh(&format!("ip route add {subnet} via {UPLINK}"));
    }

    /// Runs a shell script there.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.device
            .sh(&format!("{} sh -euc '{script}'", self.enter()))
    }

    /// Fetches a page as a program there would.
    pub(crate) fn fetch(&self, url: &str) -> Result<String, String> {
        let program = "import sys, urllib.request as r; print(end=r.urlopen(sys.argv[1], timeout=2).read().decode())";
        let output = self
            .device
            .try_sh(&format!("{} python3 -c '{program}' {url}", self.enter()));
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Begins traffic from there.
    pub(crate) fn steady(&self, arguments: &str) -> Steady {
        Steady::start(self.device, &self.enter(), arguments)
    }

    fn enter(&self) -> String {
        format!("nsenter --net --target {}", self.pid)
    }
}

/// Traffic that goes on while something else happens.
#[derive(Debug)]
pub(crate) struct Steady {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Steady {
    /// Begins traffic of the device itself.
    pub(crate) fn of_the_host(device: &Device, arguments: &str) -> Self {
        Self::start(device, "", arguments)
    }

    /// Begins traffic from inside an instance.
    pub(crate) fn inside(device: &Device, instance: &str, arguments: &str) -> Self {
        let enter = format!("nsenter --net=/run/netns/{instance}");
        Self::start(device, &enter, arguments)
    }

    fn start(device: &Device, enter: &str, arguments: &str) -> Self {
        device.write("/var/steady.py", STEADY);
        let script = format!("exec {enter} python3 /var/steady.py {arguments}");
        let mut child = device
            .command(&["sh", "-euc", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the device is there");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut steady = Self { child, stdout };
        assert_eq!(steady.line(), "begun\n", "{arguments}");
        steady
    }

    /// Ends it; says what became of it.
    pub(crate) fn stop(mut self) -> Value {
        drop(self.child.stdin.take());
        let line = self.line();
        self.child.wait().expect("it is our child");
        serde_json::from_str(&line).expect("it prints JSON")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it is text");
        line
    }
}
