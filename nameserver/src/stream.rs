//! Queries over TCP.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long a client may take for its next query, and to take its answer.
const IDLE: Duration = Duration::from_secs(10);
/// Longest query that is read.
const LONGEST_QUERY: u16 = 4096;

/// A query of a connection.
#[derive(Debug)]
pub(crate) struct StreamQuery {
    pub(crate) client: Ipv4Addr,
    pub(crate) packet: Vec<u8>,
    pub(crate) answer: oneshot::Sender<Vec<u8>>,
}

/// Serves one connection, a query at a time, until the client has no more or
/// is no good. Returns whose it was.
pub(crate) async fn serve(
    mut stream: TcpStream,
    client: Ipv4Addr,
    queries: mpsc::Sender<StreamQuery>,
) -> Ipv4Addr {
    // However it ends, nobody but the client could do anything about it.
    while let Ok(true) = one(&mut stream, client, &queries).await {}

    client
}

async fn one(
    stream: &mut TcpStream,
    client: Ipv4Addr,
    queries: &mpsc::Sender<StreamQuery>,
) -> io::Result<bool> {
    let packet = timeout(IDLE, async {
        let length = stream.read_u16().await?;
        if length > LONGEST_QUERY {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let mut packet = vec![0; length.into()];
        stream.read_exact(&mut packet).await?;
        Ok(packet)
    })
    .await??;

    let (answer, outcome) = oneshot::channel();
    let query = StreamQuery {
        client,
        packet,
        answer,
    };
    if queries.send(query).await.is_err() {
        return Ok(false);
    }
    // No answer: it is not worth one.
    let Ok(packet) = outcome.await else {
        return Ok(false);
    };
    let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
    let packet = [&length.to_be_bytes(), packet.as_slice()].concat();
    timeout(IDLE, stream.write_all(&packet)).await??;

    Ok(true)
}
