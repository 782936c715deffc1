//! An instance that sends what it must not, with all the rights that a process
//! can have in its namespace.

use std::cell::Cell;
use std::net::{Ipv4Addr, UdpSocket};

use super::cases::instance;
use super::frames::{
    ARP, EVERYBODY, IPV4, IPV6, Mac, Wire, arp, contains, ethernet, ipv6, tagged, udp,
};
use super::machine::{Machine, Manager, id, network, on_own_machine};
use super::places::{Outside, Place};
use super::probes::PATIENCE;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const EVE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const BOB: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
/// Nobody has it.
const GHOST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 77);
const STRANGER: Mac = [2, 0, 0, 0, 0, 99];

const BAD: &[u8] = b"this must not come";

/// Eve and Bob in one network, and the links by which they send and see.
struct Neighbours {
    _manager: Manager,
    eve: Wire,
    bob: Wire,
    /// What the host sees of their network.
    host: Wire,
    /// Frames sent to see that what was before them is through.
    fences: Cell<u32>,
}

impl Neighbours {
    async fn new(machine: &Machine) -> Self {
        let manager = machine.start().await;
        let networks = &manager.networks;
        networks.update(vec![network("one", [10, 1, 0])]).await;
        for (n, address) in [(1, EVE), (2, BOB)] {
            networks.attach(instance(n, "one", address)).await.unwrap();
        }
        Self {
            _manager: manager,
            eve: Wire::open(&Place::of(machine, id(1)), "eth0"),
            bob: Wire::open(&Place::of(machine, id(2)), "eth0"),
            host: Wire::open(&Place::here(), "br-one"),
            fences: Cell::new(0),
        }
    }

    /// Eve sends a frame, and then a good one to Bob and to the host; returns
    /// where it was seen before those. Frames of one link do not overtake each
    /// other.
    fn come_through(&self, frame: &[u8]) -> Vec<&'static str> {
        self.eve.send(frame);
        let last = self.last();
        for (mac, address) in [(self.bob.mac, BOB), (self.host.mac, GATEWAY)] {
            let packet = udp((EVE, 9), (address, 9), &last);
            self.eve.send(&ethernet(mac, self.eve.mac, IPV4, &packet));
        }
        [("Bob", &self.bob), ("the host", &self.host)]
            .into_iter()
            .filter(|(_, wire)| {
                wire.frames_before(&last)
                    .iter()
                    .any(|seen| same(frame, seen))
            })
            .map(|(name, _)| name)
            .collect()
    }

    /// A text that no frame has had before.
    fn last(&self) -> Vec<u8> {
        self.fences.set(self.fences.get() + 1);
        format!("fence {:08}", self.fences.get()).into_bytes()
    }

    fn assert_stopped(&self, frames: &[Vec<u8>]) {
        let seen: Vec<_> = (0..)
            .zip(frames)
            .map(|(n, frame)| (n, self.come_through(frame)))
            .filter(|(_, seen)| !seen.is_empty())
            .collect();
        assert!(seen.is_empty(), "frames and where they were seen: {seen:?}");
    }
}

/// Whether a frame that was seen is this one, whatever filled it up.
fn same(sent: &[u8], seen: &[u8]) -> bool {
    // A tag may have been taken off on the way.
    seen.starts_with(sent) || (contains(sent, BAD) && contains(seen, BAD))
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn only_its_own_addresses_leave_an_instance() {
    on_own_machine(async |machine| {
        let neighbours = Neighbours::new(&machine).await;
        let Neighbours { eve, bob, host, .. } = &neighbours;
        let with_source = |source| udp((source, 9), (BOB, 9), BAD);
        let good = ethernet(bob.mac, eve.mac, IPV4, &with_source(EVE));
        let frames = [
            // IP address of the gateway, a neighbour, nobody, another network,
            // the Internet, nothing.
            ethernet(bob.mac, eve.mac, IPV4, &with_source(GATEWAY)),
            ethernet(host.mac, eve.mac, IPV4, &with_source(BOB)),
            ethernet(bob.mac, eve.mac, IPV4, &with_source(GHOST)),
            ethernet(bob.mac, eve.mac, IPV4, &with_source([10, 2, 0, 2].into())),
            ethernet(bob.mac, eve.mac, IPV4, &with_source([8, 8, 8, 8].into())),
            ethernet(bob.mac, eve.mac, IPV4, &with_source([0, 0, 0, 0].into())),
            // Link address of the gateway, a neighbour, nobody.
            ethernet(bob.mac, host.mac, IPV4, &with_source(EVE)),
            ethernet(host.mac, bob.mac, IPV4, &with_source(EVE)),
            ethernet(bob.mac, STRANGER, IPV4, &with_source(EVE)),
        ];

        neighbours.assert_stopped(&frames);

        assert_eq!(neighbours.come_through(&good), ["Bob"]);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn arp_of_an_instance_tells_only_its_own_addresses() {
    on_own_machine(async |machine| {
        let neighbours = Neighbours::new(&machine).await;
        let Neighbours { eve, bob, host, .. } = &neighbours;
        let nobody = [0; 6];
        let to_all = |from: Mac, message: Vec<u8>| ethernet(EVERYBODY, from, ARP, &message);
        let frames = [
            // "I am the gateway", as an answer, as a question, for nothing.
            to_all(eve.mac, arp(2, (eve.mac, GATEWAY), (bob.mac, BOB))),
            to_all(eve.mac, arp(1, (eve.mac, GATEWAY), (nobody, BOB))),
            to_all(eve.mac, arp(1, (eve.mac, GATEWAY), (nobody, GATEWAY))),
            // "I am Bob", and "nobody".
            to_all(eve.mac, arp(2, (eve.mac, BOB), (host.mac, GATEWAY))),
            to_all(eve.mac, arp(2, (eve.mac, GHOST), (host.mac, GATEWAY))),
            // "I have another link address", inside the message or outside.
            to_all(eve.mac, arp(2, (STRANGER, EVE), (bob.mac, BOB))),
            to_all(STRANGER, arp(2, (eve.mac, EVE), (bob.mac, BOB))),
            // "Bob is there", said by Bob's link address.
            to_all(bob.mac, arp(2, (bob.mac, BOB), (host.mac, GATEWAY))),
        ];
        let good = to_all(eve.mac, arp(1, (eve.mac, EVE), (nobody, BOB)));

        neighbours.assert_stopped(&frames);

        assert_eq!(neighbours.come_through(&good), ["Bob", "the host"]);
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn nothing_but_ipv4_and_arp_leaves_an_instance() {
    on_own_machine(async |machine| {
        let neighbours = Neighbours::new(&machine).await;
        let Neighbours { eve, bob, host, .. } = &neighbours;
        let inner = udp((EVE, 9), (BOB, 9), BAD);
        let all_nodes = [0x33, 0x33, 0, 0, 0, 1];
        let spanning_tree = [1, 0x80, 0xc2, 0, 0, 0];
        let frames = [
            ethernet(all_nodes, eve.mac, IPV6, &ipv6(BAD)),
            ethernet(bob.mac, eve.mac, IPV6, &ipv6(BAD)),
            ethernet(host.mac, eve.mac, IPV6, &ipv6(BAD)),
            tagged(bob.mac, eve.mac, 0, IPV4, &inner),
            tagged(bob.mac, eve.mac, 1, IPV4, &inner),
            tagged(EVERYBODY, eve.mac, 7, IPV4, &inner),
            // A tag within a tag; PPPoE; a kind of its own; LLC.
            ethernet(bob.mac, eve.mac, 0x88a8, &tagged_content(&inner)),
            ethernet(bob.mac, eve.mac, 0x8864, &inner),
            ethernet(bob.mac, eve.mac, 0x88b5, BAD),
            ethernet(
                spanning_tree,
                eve.mac,
                38,
                &[&[0x42, 0x42, 3][..], BAD].concat(),
            ),
        ];

        neighbours.assert_stopped(&frames);
    });
}

fn tagged_content(inner: &[u8]) -> Vec<u8> {
    [&[0, 7, 0x81, 0, 0, 8, 8, 0][..], inner].concat()
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn forged_packets_come_neither_to_the_host_nor_to_the_internet() {
    on_own_machine(async |machine| {
        let public = Outside::public();
        let neighbours = Neighbours::new(&machine).await;
        let Neighbours { eve, host, .. } = &neighbours;
        let socket = UdpSocket::bind((GATEWAY, 9)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let internet = Wire::open(&public.place, "eth0");
        let send = |source, target, text: &[u8]| {
            let packet = udp((source, 9), (target, 9), text);
            eve.send(&ethernet(host.mac, eve.mac, IPV4, &packet));
        };
        // What the host sends as from itself is believed there.
        for source in [BOB, GATEWAY, GHOST, public.machine, [127, 0, 0, 1].into()] {
            send(source, GATEWAY, BAD);
            send(source, public.address, BAD);
        }

        let last = neighbours.last();
        send(EVE, GATEWAY, &last);
        send(EVE, public.address, &last);

        let mut buffer = [0; 64];
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..length], last);
        let seen = internet.frames_before(&last);
        assert!(!seen.iter().any(|frame| contains(frame, BAD)), "{seen:?}");
    });
}

#[test]
#[ignore = "needs root: run ci/test.sh"]
fn instance_that_changes_its_own_addresses_is_alone() {
    on_own_machine(async |machine| {
        let neighbours = Neighbours::new(&machine).await;
        let place = Place::of(&machine, id(1));

        place
            .sh("ip address add 10.1.0.77/24 dev eth0; ip link set eth0 address 02:00:00:00:00:99");

        let bob = Place::of(&machine, id(2));
        let knock = super::probes::Knock::Udp(9);
        let limit = super::probes::DOUBT;
        knock.at(&place, &bob, BOB, limit).unwrap_err();
        knock
            .at(&place, &Place::here(), GATEWAY, limit)
            .unwrap_err();
        drop(neighbours);
    });
}
