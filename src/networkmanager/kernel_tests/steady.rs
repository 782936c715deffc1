//! Traffic that goes on while something else happens, and counts what it loses.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::places::Place;
use super::probes::{Echo, PATIENCE};

/// Between two echo requests.
const INTERVAL: Duration = Duration::from_millis(5);
/// Of the transfer, in each [`INTERVAL`].
const CHUNK: usize = 32 << 10;

/// A ping each 5 ms.
#[derive(Debug)]
pub(super) struct Ping {
    stop: Sender<()>,
    thread: JoinHandle<io::Result<Tally>>,
}

/// What became of the requests of a [`Ping`].
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) sent: u16,
    /// Numbers without a reply.
    pub(super) lost: BTreeSet<u16>,
}

impl Ping {
    /// Begins, and returns after the first reply.
    pub(super) fn start(from: &Place, target: Ipv4Addr) -> Self {
        let echo = Echo::open(from, target).unwrap();
        let (stop, stopped) = mpsc::channel();
        let (begun, wait) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut tally = Tally {
                sent: 0,
                lost: BTreeSet::new(),
            };
            let mut due = Instant::now();
            while stopped.try_recv().is_err() {
                due += INTERVAL;
                echo.send(tally.sent)?;
                tally.lost.insert(tally.sent);
                tally.sent += 1;
                while let Some(number) = echo.reply_before(due)? {
                    tally.lost.remove(&number);
                    // Later ones are told to nobody.
                    begun.send(()).ok();
                }
            }
            let end = Instant::now() + Duration::from_secs(1);
            while !tally.lost.is_empty() {
                let Some(number) = echo.reply_before(end)? else {
                    break;
                };
                tally.lost.remove(&number);
            }
            Ok(tally)
        });
        wait.recv_timeout(PATIENCE).expect("a first reply");
        Self { stop, thread }
    }

    /// Ends it; nothing may be lost.
    pub(super) fn stop_unharmed(self) {
        let tally = self.stop();
        assert!(tally.lost.is_empty(), "{tally:?}");
    }

    pub(super) fn stop(self) -> Tally {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap().unwrap()
    }
}

/// A TCP connection that carries some megabytes a second.
#[derive(Debug)]
pub(super) struct Transfer {
    stop: Sender<()>,
    writer: JoinHandle<io::Result<u64>>,
    reader: JoinHandle<io::Result<Received>>,
    resent_before: u64,
}

/// What the other end of a [`Transfer`] saw.
#[derive(Debug)]
struct Received {
    bytes: u64,
    longest_pause: Duration,
}

impl Transfer {
    /// Begins, and returns when the first bytes have arrived.
    pub(super) fn start(from: &Place, to: &Place, address: Ipv4Addr) -> Self {
        let listener = to.run(|| TcpListener::bind((address, 0))).unwrap();
        let target = listener.local_addr().unwrap();
        let resent_before = from.resent();
        let mut client = from
            .run(|| TcpStream::connect_timeout(&target, PATIENCE))
            .unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let (stop, stopped) = mpsc::channel();
        let writer = thread::spawn(move || {
            let chunk = vec![7; CHUNK];
            let mut bytes = 0;
            client.set_write_timeout(Some(PATIENCE))?;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(INTERVAL) {
                client.write_all(&chunk)?;
                bytes += chunk.len() as u64;
            }
            Ok(bytes)
        });
        let (begun, wait) = mpsc::channel();
        let reader = thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            let mut received = Received {
                bytes: 0,
                longest_pause: Duration::ZERO,
            };
            server.set_read_timeout(Some(PATIENCE))?;
            let mut last = Instant::now();
            loop {
                let length = server.read(&mut buffer)?;
                received.longest_pause = received.longest_pause.max(last.elapsed());
                last = Instant::now();
                if length == 0 {
                    return Ok(received);
                }
                received.bytes += length as u64;
                // Later ones are told to nobody.
                begun.send(()).ok();
            }
        });
        wait.recv_timeout(PATIENCE).expect("first bytes");
        Self {
            stop,
            writer,
            reader,
            resent_before,
        }
    }

    /// Ends it; all has to have arrived, and nothing been sent twice by the
    /// place that it came from.
    pub(super) fn stop_unharmed(self, from: &Place) {
        let resent = self.stop_whole(from);
        assert_eq!(resent, 0);
    }

    /// Ends it; all has to have arrived. Says how many segments that place has
    /// sent again meanwhile.
    pub(super) fn stop_whole(self, from: &Place) -> u64 {
        self.stop.send(()).unwrap();
        let sent = self.writer.join().unwrap().unwrap();
        let received = self.reader.join().unwrap().unwrap();
        let resent = from.resent() - self.resent_before;
        assert_eq!(
            received.bytes, sent,
            "{received:?}, {resent} segments sent again"
        );
        resent
    }
}
