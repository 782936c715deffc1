//! What others do to our tables.

use std::fmt;
use std::io;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, TokioSocket};

use super::numbers::{GENERATION_PROGRAM, GROUP, message};
use super::wire::{self, Message};
use super::{Seen, decode};
use crate::networkmanager::firewall::ObjectKind;
use crate::networkmanager::firewall::skeleton::TABLE;

/// Room for the news of a large transaction.
const BUFFER: usize = 4 << 20;

/// Hears of changes of our tables that are not our own.
pub(in crate::networkmanager) struct Watch {
    socket: TokioSocket,
    news: News,
}

/// Somebody else changed our tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::networkmanager) struct Tampering {
    /// The program that did it, when the kernel says so.
    pub(in crate::networkmanager) by: Option<String>,
    /// What the counters that are gone had seen, where the kernel says so: newer
    /// ones do not.
    pub(super) seen: Seen,
}

/// News of one transaction, of which more may come.
#[derive(Debug)]
pub(super) struct News {
    /// The port of our own changes.
    own: u32,
    tampering: Option<Tampering>,
}

impl Watch {
    /// Opens a socket in the calling thread's network namespace, within a
    /// runtime. `own` is the port of the socket that our own changes come from.
    pub(super) fn open(own: u32) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        let inner = socket.socket_mut();
        inner.bind_auto()?;
        inner.add_membership(GROUP)?;
        setsockopt(inner, sockopt::RcvBufForce, &BUFFER)?;

        Ok(Self {
            socket,
            news: News::new(own),
        })
    }

    /// Returns when others changed our tables. Nothing is lost when the call is
    /// given up and made again.
    pub(in crate::networkmanager) async fn changed(&mut self) -> io::Result<Tampering> {
        loop {
            match self.socket.recv_from_full().await {
                Ok((datagram, _)) => {
                    if let Some(tampering) = self.news.hear(&datagram) {
                        return Ok(tampering);
                    }
                }
                // So much happened that we have not heard all of it.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    return Ok(self.news.tampering.take().unwrap_or_default());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("news", &self.news)
            .finish_non_exhaustive()
    }
}

impl News {
    pub(super) fn new(own: u32) -> Self {
        Self {
            own,
            tampering: None,
        }
    }

    /// Takes up a datagram; the last one of a transaction tells whether it was
    /// about us.
    pub(super) fn hear(&mut self, datagram: &[u8]) -> Option<Tampering> {
        let mut complete = None;
        for message in wire::messages(datagram) {
            if let Some(tampering) = self.take_up(message) {
                let all: &mut Tampering = complete.get_or_insert_default();
                all.by = tampering.by;
                all.seen.extend(tampering.seen);
            }
        }

        complete
    }

    fn take_up(&mut self, message: Message<'_>) -> Option<Tampering> {
        let about = message.of_tables()?;
        if about.kind == message::NEW_GENERATION {
            let mut tampering = self.tampering.take()?;
            let program = about.get(GENERATION_PROGRAM).and_then(wire::text);
            tampering.by = program.map(str::to_owned);
            return Some(tampering);
        }

        // Nobody caused it: the kernel tells that a quota is used up.
        let of_kernel = message.port == 0;
        let (_, table) = decode::table(&about)?;
        if table != TABLE || message.port == self.own || of_kernel {
            return None;
        }
        let tampering = self.tampering.get_or_insert_default();
        if about.kind == message::DELETE_OBJECT
            && let Some((id, object)) = decode::object(&about)
            && id.kind == ObjectKind::Counter
        {
            tampering.seen.insert(id, object.bytes());
        }

        None
    }
}
