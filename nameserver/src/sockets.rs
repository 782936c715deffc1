//! The sockets of a network.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use aos_names::NetworkNames;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

const PORT: u16 = 53;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// Where one network asks.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
}

/// What cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({kind}), bridge {bridge}: {source}")]
pub(crate) struct BindError {
    address: SocketAddrV4,
    kind: &'static str,
    bridge: String,
    source: io::Error,
}

impl Sockets {
    /// Binds the gateway's address, for packets of its bridge alone. The
    /// address need not be there yet.
    pub(crate) fn bind(names: &NetworkNames) -> Result<Self, BindError> {
        let address = SocketAddrV4::new(names.gateway, PORT);
        let failed = |kind| {
            move |source| BindError {
                address,
                kind,
                bridge: names.bridge.clone(),
                source,
            }
        };
        let bridge = names.bridge.as_bytes();
        let udp = || {
            let socket = bound(address, bridge, Type::DGRAM, Protocol::UDP)?;
            UdpSocket::from_std(socket.into())
        };
        let tcp = || {
            let socket = bound(address, bridge, Type::STREAM, Protocol::TCP)?;
            socket.listen(BACKLOG)?;
            TcpListener::from_std(socket.into())
        };

        Ok(Self {
            udp: udp().map_err(failed("UDP"))?,
            tcp: tcp().map_err(failed("TCP"))?,
        })
    }
}

fn bound(
    address: SocketAddrV4,
    bridge: &[u8],
    kind: Type,
    protocol: Protocol,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, kind.nonblocking().cloexec(), Some(protocol))?;
    if kind == Type::STREAM {
        // Connections of the last run may still be closing.
        socket.set_reuse_address(true)?;
    }
    socket.set_freebind_v4(true)?;
    socket.bind_device(Some(bridge))?;
    socket.bind(&SockAddr::from(SocketAddr::V4(address)))?;
    Ok(socket)
}
