//! Asking other servers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::answer::{Answer, Fault};
use crate::desk::Ask;
use crate::query::{HEADER, LARGEST_DATAGRAM};

/// Where servers listen.
const PORT: u16 = 53;
/// How often all servers are asked.
const ROUNDS: usize = 2;
/// How long one server has for an answer over UDP.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long it has over TCP.
const STREAM_PATIENCE: Duration = Duration::from_secs(3);
/// How long a client can wait in all: its resolver tries again after five
/// seconds.
const LIMIT: Duration = Duration::from_millis(4800);
/// Packets that are taken for one question: whoever guesses has few guesses.
const MOST_PACKETS: usize = 32;

/// The first good answer of the servers, asked one after the other.
pub(crate) async fn ask(ask: &Ask) -> Option<Answer> {
    timeout(LIMIT, async {
        for server in ask.servers.iter().cycle().take(ROUNDS * ask.servers.len()) {
            // What exactly went wrong with one matters to nobody: another one
            // is asked, and the client is told when none is left.
            if let Ok(answer) = ask_one(ask, *server).await {
                return Some(answer);
            }
        }
        None
    })
    .await
    .ok()
    .flatten()
}

async fn ask_one(ask: &Ask, server: IpAddr) -> io::Result<Answer> {
    let server = SocketAddr::new(server, PORT);
    let id = random()?;
    match timeout(PATIENCE, by_datagram(ask, server, id)).await?? {
        Ok(answer) => Ok(answer),
        Err(Fault::Truncated) => {
            let id = random()?;
            timeout(STREAM_PATIENCE, by_stream(ask, server, id)).await?
        }
        Err(Fault::NotOurs | Fault::Refused) => Err(io::ErrorKind::Other.into()),
    }
}

/// The kernel picks a random port for each question, and gives us packets of
/// the server's address and port alone.
async fn by_datagram(ask: &Ask, server: SocketAddr, id: u16) -> io::Result<Result<Answer, Fault>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&packet(ask, id)).await?;

    let mut buffer = [0; LARGEST_DATAGRAM];
    for _ in 0..MOST_PACKETS {
        let length = socket.recv(&mut buffer).await?;
        match Answer::read(&buffer[..length], id, &ask.question) {
            Err(Fault::NotOurs) => {}
            outcome => return Ok(outcome),
        }
    }

    Ok(Err(Fault::NotOurs))
}

async fn by_stream(ask: &Ask, server: SocketAddr, id: u16) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let packet = packet(ask, id);
    let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), packet.as_slice()].concat())
        .await?;

    let length = stream.read_u16().await?;
    let mut buffer = vec![0; length.into()];
    stream.read_exact(&mut buffer).await?;
    Answer::read(&buffer, id, &ask.question)
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// The question with our own id, and an OPT record that says what we can take.
fn packet(ask: &Ask, id: u16) -> Vec<u8> {
    let key = &ask.key;
    let recursion = 0x01;
    let checking = u8::from(key.checking_disabled) << 4;
    let mut packet = Vec::with_capacity(HEADER + ask.question.len() + 11);
    packet.extend(id.to_be_bytes());
    packet.extend([recursion, checking, 0, 1, 0, 0, 0, 0, 0, 1]);
    packet.extend(&ask.question);
    let flags = u8::from(key.dnssec_ok) << 7;
    packet.extend([0, 0, 41, 0x04, 0xd0, 0, 0, flags, 0, 0, 0]);
    packet
}

fn random() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u16::from_be_bytes(bytes))
}
