//! Changes of links, addresses, routes and forwarding, as the kernel tells them.
//!
//! What has changed is not read: whoever waits looks at everything anyway. Many
//! changes that come together are one event, some time after the last of them.
//! If the kernel has more to tell than the socket can hold, that is a change.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket, TokioSocket};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use super::{Kernel, netns};

/// Links, IPv4 addresses, IPv4 routes, settings of links for IPv4.
const GROUPS: [u32; 4] = [1, 5, 7, 24];

/// How long nothing may change until what has changed is an event.
const QUIET: Duration = Duration::from_millis(200);
/// How long an event may be held back by further changes.
const LONGEST: Duration = Duration::from_secs(2);

/// Changes as events.
pub(in crate::networkmanager) struct Events {
    socket: TokioSocket,
    burst: Burst,
}

/// Changes that will be one event.
#[derive(Debug, Default)]
struct Burst {
    /// When the first and the last one came.
    seen: Option<(Instant, Instant)>,
}

impl Kernel {
    /// Begins to listen in the host's network namespace. To be called inside a
    /// runtime.
    pub(in crate::networkmanager) fn events(&self) -> io::Result<Events> {
        let runtime = Handle::current();
        let socket = netns::run_in(self.host.as_fd(), || {
            let _runtime = runtime.enter();
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            let netlink = socket.socket_mut();
            netlink.bind_auto()?;
            for group in GROUPS {
                netlink.add_membership(group)?;
            }
            Ok(socket)
        })?;

        Ok(Events {
            socket,
            burst: Burst::default(),
        })
    }
}

impl Events {
    /// Waits for something to change. May be dropped while it waits: nothing is
    /// lost.
    pub(in crate::networkmanager) async fn next(&mut self) -> io::Result<()> {
        loop {
            let Some(due) = self.burst.due() else {
                self.read().await?;
                continue;
            };
            tokio::select! {
                // What is there belongs to this event, if it is not due.
                biased;
                () = sleep_until(due) => {
                    self.burst = Burst::default();
                    return Ok(());
                }
                read = self.read() => read?,
            }
        }
    }

    /// Waits for a message and drops it.
    async fn read(&mut self) -> io::Result<()> {
        // What does not fit is dropped by the kernel.
        let mut message = [0; 1];
        match poll_fn(|context| self.socket.poll_recv(context, &mut &mut message[..])).await {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            // Messages were lost.
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {}
            received => received?,
        }
        self.burst.add(Instant::now());

        Ok(())
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("burst", &self.burst)
            .finish_non_exhaustive()
    }
}

impl Burst {
    fn add(&mut self, now: Instant) {
        let first = self.seen.map_or(now, |(first, _)| first);
        self.seen = Some((first, now));
    }

    fn due(&self) -> Option<Instant> {
        self.seen
            .map(|(first, last)| (last + QUIET).min(first + LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_comes_after_a_quiet_time() {
        let mut burst = Burst::default();
        let start = Instant::now();
        assert_eq!(burst.due(), None);

        burst.add(start);
        burst.add(start + QUIET / 2);

        assert_eq!(burst.due(), Some(start + QUIET / 2 + QUIET));
    }

    #[test]
    fn changes_without_end_hold_no_event_back_for_ever() {
        let mut burst = Burst::default();
        let start = Instant::now();

        for step in 0..1000 {
            burst.add(start + QUIET / 2 * step);
        }

        assert_eq!(burst.due(), Some(start + LONGEST));
    }
}
