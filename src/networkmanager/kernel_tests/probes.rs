//! Single questions: does a packet of this kind come from here to there, and
//! the answer back?

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::places::Place;

/// For what has to arrive.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// For what must not arrive. Longer than a packet takes on a busy machine; a
/// rule that lets a packet pass does so at once.
pub(super) const DOUBT: Duration = Duration::from_millis(250);

/// How to knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knock {
    Tcp(u16),
    Udp(u16),
    Icmp,
}

impl Knock {
    /// Knocks from one place at an address of another; says from where the
    /// other one saw it come, for ICMP nothing.
    pub(super) fn at(
        self,
        from: &Place,
        to: &Place,
        address: Ipv4Addr,
        limit: Duration,
    ) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(port) => tcp(from, to, (address, port).into(), limit).map(Some),
            Self::Udp(port) => udp(from, to, (address, port).into(), limit).map(Some),
            Self::Icmp => icmp(from, address, limit).map(|()| None),
        }
    }
}

/// Connects and talks both ways.
fn tcp(from: &Place, to: &Place, target: SocketAddr, limit: Duration) -> io::Result<SocketAddr> {
    use std::io::{Read, Write};

    let listener = to.run(|| TcpListener::bind(target)).expect("bind");
    let mut client = from.run(|| TcpStream::connect_timeout(&target, limit))?;
    let (mut server, peer) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(limit))?;
    }
    let mut byte = [0];
    client.write_all(b"?")?;
    server.read_exact(&mut byte)?;
    server.write_all(b"!")?;
    client.read_exact(&mut byte)?;
    Ok(peer)
}

/// Sends a datagram and one back.
fn udp(from: &Place, to: &Place, target: SocketAddr, limit: Duration) -> io::Result<SocketAddr> {
    let server = to.run(|| UdpSocket::bind(target)).expect("bind");
    let client = from.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(target)?;
        Ok(socket)
    })?;
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(limit))?;
    }
    let mut buffer = [0; 16];
    client.send(b"?")?;
    let (_, peer) = server.recv_from(&mut buffer)?;
    server.send_to(b"!", peer)?;
    client
        .recv(&mut buffer)
        .map_err(|error| io::Error::other(format!("the answer is lost: {error}")))?;
    Ok(peer)
}

/// Sends an echo request and waits for the reply.
fn icmp(from: &Place, target: Ipv4Addr, limit: Duration) -> io::Result<()> {
    let echo = Echo::open(from, target)?;
    echo.send(1)?;
    let end = Instant::now() + limit;
    while let Some(number) = echo.reply_before(end)? {
        if number == 1 {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// A socket for echo requests to one target.
#[derive(Debug)]
pub(super) struct Echo {
    socket: UdpSocket,
    identifier: u16,
}

impl Echo {
    pub(super) fn open(from: &Place, target: Ipv4Addr) -> io::Result<Self> {
        let socket = from.run(|| {
            let raw = socket(
                AddressFamily::Inet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::Icmp,
            )?;
            let socket = UdpSocket::from(raw);
            socket.connect((target, 0))?;
            Ok(socket)
        })?;
        let identifier = fastrand::u16(..);
        Ok(Self { socket, identifier })
    }

    pub(super) fn send(&self, number: u16) -> io::Result<()> {
        let message = echo_request(self.identifier, number, &[]);
        self.socket.send(&message).map(drop)
    }

    /// The number of the next reply, or `None` when it is `end`.
    pub(super) fn reply_before(&self, end: Instant) -> io::Result<Option<u16>> {
        let mut buffer = [0; 2048];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            // After the IP header without options: echo reply, code, checksum,
            // identifier, number.
            if let Some([0, 0, _, _, i, j, m, n]) = buffer[..length].get(20..28)
                && u16::from_be_bytes([*i, *j]) == self.identifier
            {
                return Ok(Some(u16::from_be_bytes([*m, *n])));
            }
        }
    }
}

/// An ICMP echo request.
pub(super) fn echo_request(identifier: u16, number: u16, data: &[u8]) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(number.to_be_bytes());
    message.extend(data);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// The Internet checksum.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
