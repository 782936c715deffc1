//! A netlink socket that sends many requests at once.
//!
//! The kernel works on a request before `send` returns, and answers wait in the
//! socket. So a batch costs two or three system calls, and nothing ever waits
//! for long: blocking calls, from a thread that may block.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use tracing::debug;

/// The list changed while the kernel wrote it down.
const NLM_F_DUMP_INTR: u16 = 0x10;
/// How often such a list is asked for again.
const DUMP_ATTEMPTS: usize = 20;

/// Room for answers that wait: each takes most of a kilobyte, and the usual room
/// is for less than 300.
const RECEIVE_BUFFER: usize = 4 << 20;

/// One request of a batch.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) message: RouteNetlinkMessage,
    pub(super) flags: u16,
    /// An answer that is as good as success: what was to go is not there.
    pub(super) accept: Option<i32>,
    /// What kernels can be built without, and then refuse this.
    pub(super) needs: Option<&'static str>,
}

impl Request {
    /// Changes what exists.
    pub(super) fn change(message: RouteNetlinkMessage) -> Self {
        Self {
            message,
            flags: 0,
            accept: None,
            needs: None,
        }
    }

    /// Makes something new.
    pub(super) fn create(message: RouteNetlinkMessage) -> Self {
        Self {
            message,
            flags: NLM_F_CREATE | NLM_F_EXCL,
            accept: None,
            needs: None,
        }
    }

    /// Makes something new, or changes what is there into it.
    pub(super) fn replace(message: RouteNetlinkMessage) -> Self {
        Self {
            flags: NLM_F_CREATE | NLM_F_REPLACE,
            ..Self::change(message)
        }
    }

    /// Names what the kernel must have for it.
    pub(super) fn needs(mut self, what: &'static str) -> Self {
        self.needs = Some(what);
        self
    }

    /// Takes something away that may not be there, as `absent` says then.
    pub(super) fn delete(message: RouteNetlinkMessage, absent: i32) -> Self {
        Self {
            message,
            flags: 0,
            accept: Some(absent),
            needs: None,
        }
    }
}

/// Opens a socket to the kernel in the calling thread's network namespace, with
/// room for the answers to a large batch. Its port is what the kernel names as
/// the cause of changes.
pub(super) fn connect(protocol: isize) -> io::Result<(Socket, u32)> {
    let mut socket = Socket::new(protocol)?;
    let port = socket.bind_auto()?.port_number();
    socket.connect(&SocketAddr::new(0, 0))?;
    // Answers do not repeat the request.
    socket.set_cap_ack(true)?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;

    Ok((socket, port))
}

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Rtnetlink {
    socket: Socket,
    sequence: u32,
}

impl Rtnetlink {
    /// Opens a socket in the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let (socket, _) = connect(NETLINK_ROUTE)?;

        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends requests in one message. The kernel works on all of them, also on
    /// those after one that failed; the error is that of the first.
    pub(super) fn execute(&mut self, requests: Vec<Request>) -> Result<(), (usize, io::Error)> {
        let count = requests.len();
        let first = self.sequence + 1;
        let mut terms = Vec::with_capacity(count);
        let mut batch = Vec::new();
        for request in requests {
            terms.push((request.accept, request.needs));
            self.append(&mut batch, request.message, request.flags | NLM_F_ACK);
        }
        self.socket.send(&batch, 0).map_err(|error| (0, error))?;

        let mut outcome = Ok(());
        let mut answered = 0;
        while answered < count {
            for answer in self.receive().map_err(|error| (0, error))? {
                let answer = answer.map_err(|error| (0, error))?;
                let NetlinkPayload::Error(status) = answer.payload else {
                    continue;
                };
                let Some(index) = answer.header.sequence_number.checked_sub(first) else {
                    continue;
                };
                let index = index as usize;
                answered += 1;
                let (accepted, needs) = terms.get(index).copied().unwrap_or_default();
                let refused = status.code.filter(|code| Some(-code.get()) != accepted);
                if refused.is_some() && outcome.is_ok() {
                    outcome = Err((index, refusal(status.to_io(), needs)));
                }
            }
        }

        outcome
    }

    /// Asks for one thing.
    pub(super) fn get(&mut self, message: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        let mut batch = Vec::new();
        self.append(&mut batch, message, 0);
        self.socket.send(&batch, 0)?;

        loop {
            for answer in self.receive()? {
                let answer = answer?;
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => return Ok(message),
                    NetlinkPayload::Error(status) => return Err(status.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// Asks for a list. What this program cannot read, such as a link of a kind
    /// that is newer than it, is left out.
    pub(super) fn dump(
        &mut self,
        message: &RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(list) = self.try_dump(message.clone())? {
                return Ok(list);
            }
        }

        Err(io::Error::other("the list changed each time it was read"))
    }

    fn try_dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
        let mut batch = Vec::new();
        self.append(&mut batch, message, NLM_F_DUMP);
        self.socket.send(&batch, 0)?;

        let mut list = Vec::new();
        let mut whole = true;
        loop {
            for answer in self.receive()? {
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(error) => {
                        debug!(%error, "an entry of the list is left out");
                        continue;
                    }
                };
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                whole &= answer.header.flags & NLM_F_DUMP_INTR == 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => list.push(message),
                    NetlinkPayload::Done(_) => return Ok(whole.then_some(list)),
                    NetlinkPayload::Error(status) => return Err(status.to_io()),
                    _ => {}
                }
            }
        }
    }

    fn append(&mut self, batch: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();

        let start = batch.len();
        // Each message begins at a multiple of four bytes.
        batch.resize(start + message.buffer_len().next_multiple_of(4), 0);
        message.serialize(&mut batch[start..]);
    }

    /// The answers of one datagram.
    fn receive(&self) -> io::Result<Vec<io::Result<Answer>>> {
        let (datagram, _) = self.socket.recv_from_full()?;
        Ok(parse(&datagram))
    }
}

/// Says so when the kernel was built without what a request needs, or cannot
/// load it.
fn refusal(error: io::Error, needs: Option<&str>) -> io::Error {
    let unknown = [Errno::ENOENT, Errno::EOPNOTSUPP].map(|errno| Some(errno as i32));
    match needs {
        Some(needs) if unknown.contains(&error.raw_os_error()) => io::Error::new(
            io::ErrorKind::Unsupported,
            format!("the kernel has no {needs}; it has to be built with them, or given the module"),
        ),
        _ => error,
    }
}

type Answer = NetlinkMessage<RouteNetlinkMessage>;

fn parse(datagram: &[u8]) -> Vec<io::Result<Answer>> {
    let mut answers = Vec::new();
    let mut rest = datagram;
    while let Some(length) = rest.first_chunk::<4>() {
        let length = u32::from_ne_bytes(*length) as usize;
        let Some(bytes) = rest.get(..length).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        let answer = NetlinkMessage::deserialize(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
        answers.push(answer);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }

    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_what_the_kernel_was_built_without() {
        for errno in [Errno::ENOENT, Errno::EOPNOTSUPP] {
            let error = refusal(errno.into(), Some("ifb links (CONFIG_IFB)"));

            assert_eq!(
                error.to_string(),
                "the kernel has no ifb links (CONFIG_IFB); it has to be built with them, or given the module"
            );
        }
    }

    #[test]
    fn other_refusals_are_told_as_they_are() {
        let other = refusal(Errno::ENODEV.into(), Some("ifb links"));
        let unneeded = refusal(Errno::ENOENT.into(), None);

        assert_eq!(other.raw_os_error(), Some(Errno::ENODEV as i32));
        assert_eq!(unneeded.raw_os_error(), Some(Errno::ENOENT as i32));
    }

    #[test]
    #[ignore = "needs root: run ci/test.sh"]
    fn answers_of_a_large_batch_have_room() {
        let requests = (0..2000).map(|_| Request {
            accept: Some(Errno::ENODEV as i32),
            ..Request::change(super::super::messages::get_link("nobody"))
        });

        let outcome = Rtnetlink::open().unwrap().execute(requests.collect());

        assert!(outcome.is_ok(), "{outcome:?}");
    }

    /// Two acknowledgements, the second one with an error.
    fn datagram() -> Vec<u8> {
        let mut datagram = Vec::new();
        for (sequence, code) in [(1_u32, 0_i32), (2, -19)] {
            datagram.extend(36_u32.to_ne_bytes());
            datagram.extend(2_u16.to_ne_bytes());
            datagram.extend(0_u16.to_ne_bytes());
            datagram.extend(sequence.to_ne_bytes());
            datagram.extend(0_u32.to_ne_bytes());
            datagram.extend(code.to_ne_bytes());
            datagram.extend([0; 16]);
        }
        datagram
    }

    #[test]
    fn messages_of_a_datagram_are_told_apart() {
        let answers = parse(&datagram());

        let sequences: Vec<u32> = answers
            .iter()
            .map(|answer| answer.as_ref().unwrap().header.sequence_number)
            .collect();
        assert_eq!(sequences, [1, 2]);
    }

    #[test]
    fn damaged_datagram_ends_reading_and_nothing_else() {
        let whole = datagram();
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).len() <= 1);
        }

        for wrong in [0_u32, 1, 15, 37, u32::MAX] {
            let mut damaged = whole.clone();
            damaged[36..40].copy_from_slice(&wrong.to_ne_bytes());

            assert!(parse(&damaged)[0].is_ok());
        }
    }
}
