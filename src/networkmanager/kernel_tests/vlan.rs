//! VLANs to another node. They need a kernel with 802.1q: `ci/lab/vlan.sh` runs
//! them on an emulated device.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::machine::{Machine, dial, id, inside, ip, network, on_own_machine, request};
use crate::model::NetworkParameters;
use crate::networkmanager::addresses::instance_mac;
use crate::networkmanager::existing::Link;
use crate::networkmanager::names;

const A: [u8; 4] = [10, 1, 0, 2];
/// An instance of the other node.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 9);

/// Prints a line for each frame that comes in by the link, until its input ends:
/// sender, VLAN id, type of the tag, type of what is in it.
const CAPTURE: &str = r#"
import select, socket, struct, sys
frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
frames.setsockopt(263, 8, 1)
frames.bind((sys.argv[1], 0))
print("ready", flush=True)
while True:
    ready, _, _ = select.select([frames, sys.stdin], [], [], 60)
    if frames not in ready:
        break
    frame, notes, _, address = frames.recvmsg(2048, 256)
    tag = (0, 0)
    for _, _, note in notes:
        fields = struct.unpack_from("=IIIHHHH", note)
        if fields[0] & 16:
            tag = fields[5:7]
    if address[2] != 4:
        print(frame[6:12].hex(), tag[0] & 4095, "%04x" % tag[1], frame[12:14].hex(), flush=True)
"#;

/// The other node, at the far ends of `up0` and `up1`: it has the gateway's
/// address too, and an instance in VLAN 7.
struct OtherNode;

impl OtherNode {
    fn new() -> Self {
        ip("netns add far");
        for n in 0..2 {
            ip(&format!(
                "link add up{n} type veth peer name far{n} netns far"
            ));
            ip(&format!("addr add 192.0.{n}.2/24 dev up{n}"));
            ip(&format!("link set up{n} up"));
            ip(&format!("-n far link set far{n} up"));
        }
        Self
    }

    /// Has it reached by VLAN 7 of one of its interfaces.
    fn listen_at(&self, interface: &str) {
        ip(&format!(
            "-n far link add link {interface} name other type vlan id 7"
        ));
        ip("-n far addr add 10.1.0.9/24 dev other");
        ip("-n far addr add 10.1.0.1/24 dev other");
        ip("-n far link set other up");
    }

    /// Whether an instance of ours reaches one of its.
    fn answers(&self, machine: &Machine) -> bool {
        let listener = inside(Path::new("/run/netns/far"), || TcpListener::bind((FAR, 0)));
        let target: SocketAddr = listener.as_ref().unwrap().local_addr().unwrap();
        machine.inside(id(1), || dial(target)).is_ok()
    }
}

impl Drop for OtherNode {
    fn drop(&mut self) {
        ip("netns del far");
    }
}

/// Frames that the other node receives.
struct Capture {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Capture {
    fn start(interface: &str) -> Self {
        let mut child = Command::new("ip")
            .args(["netns", "exec", "far", "python3", "-c", CAPTURE, interface])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        assert_eq!(first, "ready\n");
        Self { child, lines }
    }

    fn end(mut self) -> Vec<String> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.lines.read_to_string(&mut text).unwrap();
        self.child.wait().unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

fn tagged(vlan_id: u64) -> Vec<NetworkParameters> {
    vec![NetworkParameters {
        vlan_id,
        ..network("provider", [10, 1, 0])
    }]
}

/// The name of the network's 802.1q link, and the link.
fn vlan(machine: &Machine) -> Option<(String, Link)> {
    let alias = names::vlan_alias(&"provider".into());
    let mut links = machine.links().links.into_iter();
    links.find(|(_, link)| link.alias == alias)
}

/// Whether the network is connected by a VLAN with this id on this interface.
fn is_connected(machine: &Machine, vlan_id: u16, uplink: &str) -> bool {
    let links = machine.links().links;
    vlan(machine).is_some_and(|(_, link)| {
        let vlan = link.vlan.expect("it has 802.1q's kind");
        vlan.id == vlan_id
            && vlan.lower == links[uplink].index
            && link.master == links.get("br-provider").map(|bridge| bridge.index)
            && link.up
    })
}

#[test]
#[ignore = "needs a kernel with 802.1q: run ci/lab/vlan.sh"]
fn vlan_carries_frames_of_instances_to_other_nodes_with_its_tag() {
    on_own_machine(async |machine| {
        let other = OtherNode::new();
        other.listen_at("far0");
        ip("route add default via 192.0.0.1");
        let manager = machine.start().await;
        manager.networks.update(tagged(7)).await;
        manager
            .networks
            .attach(request(id(1), "provider", A))
            .await
            .unwrap();
        let capture = Capture::start("far0");

        assert!(other.answers(&machine));

        let mac: String = instance_mac(A.into())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let frames = capture.end();
        for tagged in ["7 8100 0806", "7 8100 0800"] {
            assert!(frames.contains(&format!("{mac} {tagged}")), "{frames:?}");
        }
        let of_instance = || frames.iter().filter(|frame| frame.starts_with(&mac));
        assert!(
            of_instance().all(|frame| frame.contains(" 7 8100 ")),
            "{frames:?}"
        );
        // An interface that is new forwards what comes from outside.
        assert!(machine.links().links["up0"].forwarding);
    });
}

#[test]
#[ignore = "needs a kernel with 802.1q: run ci/lab/vlan.sh"]
fn vlan_comes_with_the_default_route_and_moves_with_it() {
    on_own_machine(async |machine| {
        let other = OtherNode::new();
        other.listen_at("far1");
        let manager = machine.start().await;
        manager.networks.update(tagged(7)).await;
        for (n, address) in [(1, A), (2, [10, 1, 0, 3])] {
            let request = request(id(n), "provider", address);
            manager.networks.attach(request).await.unwrap();
        }
        let bridge = machine.links().links["br-provider"].clone();
        let mut connection = machine.connect(id(1), id(2), [10, 1, 0, 3].into()).unwrap();
        assert!(vlan(&machine).is_none());

        ip("route add default via 192.0.0.1");
        machine
            .eventually(|| is_connected(&machine, 7, "up0"))
            .await;
        ip("route replace default via 192.0.1.1");
        machine
            .eventually(|| is_connected(&machine, 7, "up1"))
            .await;

        assert!(other.answers(&machine));
        connection.talk().unwrap();
        assert_eq!(machine.links().links["br-provider"], bridge);
    });
}

#[test]
#[ignore = "needs a kernel with 802.1q: run ci/lab/vlan.sh"]
fn vlan_changes_its_id_and_goes_with_its_network() {
    on_own_machine(async |machine| {
        let _other = OtherNode::new();
        ip("route add default via 192.0.0.1");
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.alive().await.unwrap();
        let before = machine.inventory();
        networks.update(tagged(8)).await;
        networks.alive().await.unwrap();
        assert!(is_connected(&machine, 8, "up0"));
        let bridge = machine.links().links["br-provider"].clone();

        networks.update(tagged(7)).await;
        networks.alive().await.unwrap();
        assert!(is_connected(&machine, 7, "up0"));
        assert_eq!(machine.links().links["br-provider"], bridge);
        networks.update(Vec::new()).await;
        networks.alive().await.unwrap();

        assert_eq!(machine.inventory(), before);
    });
}

#[test]
#[ignore = "needs a kernel with 802.1q: run ci/lab/vlan.sh"]
fn vlan_is_mended_whatever_was_done_to_it() {
    for harm in ["del", "set nomaster", "set down", "bridge"] {
        on_own_machine(async |machine| {
            let _other = OtherNode::new();
            ip("route add default via 192.0.0.1");
            let manager = machine.start().await;
            manager.networks.update(tagged(7)).await;
            manager.networks.alive().await.unwrap();
            let (name, _) = vlan(&machine).unwrap();

            match harm {
                "del" => ip(&format!("link del {name}")),
                "bridge" => ip("link del br-provider"),
                _ => {
                    let (verb, how) = harm.split_once(' ').unwrap();
                    ip(&format!("link {verb} {name} {how}"));
                }
            }

            machine
                .eventually(|| is_connected(&machine, 7, "up0"))
                .await;
        });
    }
}

#[test]
#[ignore = "needs a kernel with 802.1q: run ci/lab/vlan.sh"]
fn vlan_id_of_somebody_else_is_left_alone_until_it_is_free() {
    on_own_machine(async |machine| {
        let _other = OtherNode::new();
        ip("route add default via 192.0.0.1");
        ip("link add link up0 name up0.7 type vlan id 7");
        let foreign = machine.links().links["up0.7"].clone();
        let manager = machine.start().await;

        manager.networks.update(tagged(7)).await;
        manager.networks.alive().await.unwrap();

        assert!(vlan(&machine).is_none());
        assert_eq!(machine.links().links["up0.7"], foreign);
        assert!(machine.links().links.contains_key("br-provider"));
        ip("link del up0.7");
        machine
            .eventually(|| is_connected(&machine, 7, "up0"))
            .await;
    });
}

#[test]
#[ignore = "needs a kernel with 802.1q: run ci/lab/vlan.sh"]
fn vlan_of_a_forgotten_network_goes_at_start_and_those_of_others_stay() {
    on_own_machine(async |mut machine| {
        let _other = OtherNode::new();
        ip("link add link up0 name vlan-11111111 type vlan id 5");
        ip("link add link up0 name vlan-22222222 type vlan id 6");
        ip("link set vlan-22222222 alias aos-vlan");
        let first = machine.start().await;
        ip("route add default via 192.0.0.1");
        first.networks.update(tagged(7)).await;
        first.networks.alive().await.unwrap();
        let (name, _) = vlan(&machine).unwrap();
        first.stop().await;
        ip("link del br-provider");

        machine.forget();
        machine.start().await;

        let links = machine.links().links;
        assert!(!links.contains_key(&name));
        assert!(links.contains_key("vlan-11111111") && links.contains_key("vlan-22222222"));
    });
}
