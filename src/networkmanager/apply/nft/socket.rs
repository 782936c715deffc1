//! A netlink socket of netfilter: lists, and batches that take effect together
//! or not at all.
//!
//! The kernel has answered when `send` returns, so no call ever waits.

use std::io;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use rtnetlink::sys::Socket;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use super::numbers::{BATCH_GENERATION, GENERATION_ID, message};
use super::wire::{self, Head, TableMessage, Writer};
use crate::networkmanager::apply::netlink;

/// nf_tables, as a subsystem of netfilter.
const SUBSYSTEM: u16 = 10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The list changed while the kernel wrote it down.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// Room for a batch; the kernel takes a little more than the batch for it.
const SEND_BUFFER: usize = 256 << 10;

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Nfnetlink {
    socket: Socket,
    sequence: u32,
    port: u32,
}

/// Messages that take effect together.
#[derive(Debug)]
pub(super) struct Batch {
    writer: Writer,
    /// What each message is about.
    about: Vec<String>,
    /// Where the last message begins.
    last: usize,
    /// Sequence number of the begin.
    first: u32,
}

/// Why a batch was refused: no part of it has taken effect.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What the message is about that is at fault, if one is.
    pub(super) about: Option<String>,
    pub(super) source: io::Error,
}

/// Answers as they came.
#[derive(Debug, Default)]
pub(super) struct Answers {
    datagrams: Vec<Vec<u8>>,
    /// The list changed while it was read.
    pub(super) torn: bool,
}

impl Nfnetlink {
    /// Opens a socket in the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let (socket, port) = netlink::connect(NETLINK_NETFILTER)?;
        socket.set_non_blocking(true)?;

        Ok(Self {
            socket,
            sequence: 0,
            port,
        })
    }

    /// Whom the kernel names as the cause of our changes.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// The number of the last change of any table.
    pub(super) fn generation(&mut self) -> io::Result<u32> {
        let answers = self.ask(message::GET_GENERATION, 0, 0, |_| {})?;
        answers
            .messages()
            .find_map(|message| wire::number(message.get(GENERATION_ID)?))
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    /// Asks for a list.
    pub(super) fn list(
        &mut self,
        kind: u16,
        family: u8,
        attributes: impl FnOnce(&mut Writer),
    ) -> io::Result<Answers> {
        self.ask(kind, family, NLM_F_DUMP, attributes)
    }

    /// Begins a batch. With a `generation` the kernel refuses it when anything
    /// has changed since.
    pub(super) fn batch(&mut self, generation: Option<u32>) -> Batch {
        self.sequence += 1;
        let mut writer = Writer::default();
        let head = Head {
            kind: message::BATCH_BEGIN,
            flags: NLM_F_REQUEST,
            sequence: self.sequence,
            family: 0,
            resource: SUBSYSTEM,
        };
        writer.message(head, |writer| {
            if let Some(generation) = generation {
                writer.number(BATCH_GENERATION, generation);
            }
        });

        Batch {
            writer,
            about: Vec::new(),
            last: 0,
            first: self.sequence,
        }
    }

    /// Makes what a batch says true.
    pub(super) fn commit(&mut self, mut batch: Batch) -> Result<(), Refusal> {
        if batch.about.is_empty() {
            return Ok(());
        }

        let last = batch.end();
        self.sequence = last + 1;
        let bytes = batch.writer.as_bytes();
        self.forget_answers();
        self.make_room(bytes.len())?;
        self.socket.send(bytes, 0)?;

        let answers = self.receive_all()?;
        let mut done = false;
        for answer in answers.datagrams.iter().flat_map(|d| wire::messages(d)) {
            if answer.kind != NLMSG_ERROR || answer.sequence < batch.first {
                continue;
            }
            match answer.error() {
                Some(0) => done |= answer.sequence == last,
                Some(code) => {
                    let index = answer.sequence.checked_sub(batch.first + 1);
                    let about = index.and_then(|index| batch.about.get(index as usize));
                    return Err(Refusal {
                        about: about.cloned(),
                        source: io::Error::from_raw_os_error(-code),
                    });
                }
                None => {}
            }
        }

        if done {
            Ok(())
        } else {
            Err(io::Error::other("the kernel did not answer").into())
        }
    }

    fn ask(
        &mut self,
        kind: u16,
        family: u8,
        flags: u16,
        attributes: impl FnOnce(&mut Writer),
    ) -> io::Result<Answers> {
        self.sequence += 1;
        let mut writer = Writer::default();
        let head = Head {
            kind: SUBSYSTEM << 8 | kind,
            flags: NLM_F_REQUEST | flags,
            sequence: self.sequence,
            family,
            resource: 0,
        };
        writer.message(head, attributes);
        self.forget_answers();
        self.socket.send(writer.as_bytes(), 0)?;

        let answers = self.receive_all()?;
        let mut done = flags & NLM_F_DUMP == 0;
        for answer in answers.datagrams.iter().flat_map(|d| wire::messages(d)) {
            match (answer.kind, answer.error()) {
                (NLMSG_ERROR | NLMSG_DONE, Some(code)) if code != 0 => {
                    return Err(io::Error::from_raw_os_error(-code));
                }
                (NLMSG_DONE, _) => done = true,
                _ => {}
            }
        }

        if done {
            Ok(answers)
        } else {
            Err(io::Error::other("the kernel did not end its list"))
        }
    }

    /// Answers to what failed half way are in nobody's interest.
    fn forget_answers(&self) {
        while self.receive().is_ok() {}
    }

    fn receive_all(&self) -> io::Result<Answers> {
        let mut answers = Answers::default();
        loop {
            match self.receive() {
                Ok(datagram) => {
                    answers.torn |=
                        wire::messages(&datagram).any(|m| m.flags & NLM_F_DUMP_INTR != 0);
                    answers.datagrams.push(datagram);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        Ok(self.socket.recv_from_full()?.0)
    }

    /// A batch is one message for the socket.
    fn make_room(&self, length: usize) -> io::Result<()> {
        let room = (length + length / 4).max(SEND_BUFFER);
        setsockopt(&self.socket, sockopt::SndBufForce, &room).map_err(Errno::into)
    }
}

impl Batch {
    /// Adds a message, which is about the thing of that name.
    pub(super) fn push(
        &mut self,
        about: impl Into<String>,
        kind: u16,
        family: u8,
        flags: u16,
        attributes: impl FnOnce(&mut Writer),
    ) {
        self.last = self.writer.as_bytes().len();
        self.about.push(about.into());
        let head = Head {
            kind: SUBSYSTEM << 8 | kind,
            flags: NLM_F_REQUEST | flags,
            sequence: self.sequence(),
            family,
            resource: 0,
        };
        self.writer.message(head, attributes);
    }

    /// Writes the end. Only the last message is acknowledged, and each one that
    /// fails: thousands of answers would not fit the socket. The number of the
    /// last message.
    fn end(&mut self) -> u32 {
        let last = self.sequence();
        self.writer.add_flags(self.last, NLM_F_ACK);
        let head = Head {
            kind: message::BATCH_END,
            flags: NLM_F_REQUEST,
            sequence: last + 1,
            family: 0,
            resource: SUBSYSTEM,
        };
        self.writer.message(head, |_| {});

        last
    }

    /// The number of the last message.
    fn sequence(&self) -> u32 {
        let count = u32::try_from(self.about.len()).expect("a batch has some thousand messages");
        self.first.wrapping_add(count)
    }
}

impl Answers {
    /// The messages about nf_tables.
    pub(super) fn messages(&self) -> impl Iterator<Item = TableMessage<'_>> {
        self.datagrams
            .iter()
            .flat_map(|datagram| wire::messages(datagram))
            .filter_map(|message| message.of_tables())
    }
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Self {
        Self {
            about: None,
            source,
        }
    }
}
