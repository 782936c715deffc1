//! Frames as they are on a link: sent as one likes, and watched.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};

use super::places::Place;
use super::probes::checksum;

pub(super) const ARP: u16 = 0x0806;
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
pub(super) const EVERYBODY: Mac = [0xff; 6];

pub(super) type Mac = [u8; 6];

/// A socket that sends and sees whole frames of one interface.
#[derive(Debug)]
pub(super) struct Wire {
    socket: UdpSocket,
    pub(super) mac: Mac,
}

impl Wire {
    pub(super) fn open(place: &Place, interface: &str) -> Self {
        let (socket, link) = place.run(|| open(interface)).unwrap();
        Self {
            // It only lends its calls: there is no type for such sockets.
            socket: UdpSocket::from(socket),
            mac: link.addr().unwrap(),
        }
    }

    pub(super) fn send(&self, frame: &[u8]) {
        self.socket.send(frame).unwrap();
    }

    /// Frames that are here before one that contains `last`; panics when that
    /// does not come.
    pub(super) fn frames_before(&self, last: &[u8]) -> Vec<Vec<u8>> {
        let end = Instant::now() + Duration::from_secs(5);
        let mut frames = Vec::new();
        loop {
            let frame = self.next(end).expect("the last frame has to arrive");
            if contains(&frame, last) {
                return frames;
            }
            frames.push(frame);
        }
    }

    fn next(&self, end: Instant) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65536];
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        self.socket.set_read_timeout(Some(left)).unwrap();
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

fn open(interface: &str) -> io::Result<(std::os::fd::OwnedFd, LinkAddr)> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    setsockopt(&socket, sockopt::RcvBuf, &(4 << 20))?;
    let link = getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .ok_or(io::ErrorKind::NotFound)?;
    bind(socket.as_raw_fd(), &link)?;
    Ok((socket, link))
}

/// Whether `part` is somewhere in `whole`.
pub(super) fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

/// A frame with this content.
pub(super) fn ethernet(to: Mac, from: Mac, kind: u16, content: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), content].concat()
}

/// A frame with an 802.1Q tag.
pub(super) fn tagged(to: Mac, from: Mac, vlan: u16, kind: u16, content: &[u8]) -> Vec<u8> {
    let inner = [&vlan.to_be_bytes()[..], &kind.to_be_bytes(), content].concat();
    ethernet(to, from, 0x8100, &inner)
}

/// An ARP message: 1 asks, 2 answers.
pub(super) fn arp(operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut message = vec![0, 1, 8, 0, 6, 4];
    message.extend(operation.to_be_bytes());
    for (mac, address) in [sender, target] {
        message.extend(mac);
        message.extend(address.octets());
    }
    message
}

/// A UDP datagram in an IPv4 packet.
pub(super) fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(from.1.to_be_bytes());
    datagram.extend(to.1.to_be_bytes());
    datagram.extend(u16::try_from(8 + data.len()).unwrap().to_be_bytes());
    // No checksum.
    datagram.extend([0, 0]);
    datagram.extend(data);
    ipv4(from.0, to.0, 17, &datagram)
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + content.len()).unwrap().to_be_bytes();
    let mut packet = vec![
        0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, protocol, 0, 0,
    ];
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(content);
    packet
}

/// An IPv6 packet without an upper layer, to all nodes of the link.
pub(super) fn ipv6(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], 59, 255];
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(data);
    packet
}
