//! Netlink messages as bytes, and a socket for them.

use anyhow::{Context, Result, ensure};
use rtnetlink::sys::{Socket, SocketAddr};

pub(crate) const REQUEST: u16 = 1;
const ACK: u16 = 4;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
const NESTED: u16 = 1 << 15;
const ERROR: u16 = 2;
/// Room for a batch of 200 instances.
const SEND_BUFFER: usize = 1 << 20;

/// Messages that are sent together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
}

impl Batch {
    /// A message: what follows its header, and attributes.
    pub(crate) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        attributes: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((REQUEST | flags).to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.raw(body);
        attributes(self);
        let length = u32::try_from(self.bytes.len() - start).expect("a message is short");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).expect("a value is short");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    pub(crate) fn nested(&mut self, kind: u16, attributes: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        attributes(self);
        let length = u16::try_from(self.bytes.len() - start).expect("a list is short");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Has the message that comes next, at this place, acknowledged.
    pub(crate) fn here(&self) -> usize {
        self.bytes.len()
    }

    /// Has the message that begins there acknowledged.
    pub(crate) fn acknowledge(&mut self, start: usize) {
        self.bytes[start + 6] |= ACK.to_ne_bytes()[0];
    }
}

/// A socket in the calling thread's network namespace.
pub(crate) fn open(protocol: isize) -> Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_cap_ack(true)?;
    nix::sys::socket::setsockopt(
        &socket,
        nix::sys::socket::sockopt::SndBufForce,
        &SEND_BUFFER,
    )?;
    Ok(socket)
}

/// Sends a batch of which the last message alone is acknowledged: the first
/// answer is that of the first message that failed, or that of the last one.
pub(crate) fn send(socket: &Socket, batch: &Batch) -> Result<()> {
    socket.send(&batch.bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let kind = answer.get(4..6).context("an answer is cut short")?;
    ensure!(kind == ERROR.to_ne_bytes(), "another answer than was asked");
    let code: [u8; 4] = answer
        .get(16..20)
        .context("an answer is cut short")?
        .try_into()?;
    let code = i32::from_ne_bytes(code);
    ensure!(
        code == 0,
        "the kernel refuses: {}",
        std::io::Error::from_raw_os_error(-code)
    );
    Ok(())
}
