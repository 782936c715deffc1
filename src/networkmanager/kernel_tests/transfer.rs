//! Transfers between instances, and their rates.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::machine::{Machine, dial};
use crate::model::InstanceId;

/// How long a rate is measured.
const MEASURED: Duration = Duration::from_millis(1500);
/// How often it is measured, on a machine that is too busy for it.
const ATTEMPTS: usize = 4;
/// How long a receiver waits for a byte.
const PATIENCE: Duration = Duration::from_secs(10);
/// Payload of a full packet.
const DATAGRAM: usize = 1472;

/// A sender that never stops by itself, and the end that receives.
pub(super) struct Transfer {
    receiver: Option<Receiver>,
    sender: Option<(Sender<()>, JoinHandle<()>)>,
}

enum Receiver {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Transfer {
    /// Sends as fast as TCP can.
    pub(super) fn tcp(
        machine: &Machine,
        from: InstanceId,
        to: InstanceId,
        address: Ipv4Addr,
    ) -> Self {
        let listener = machine
            .inside(to, || TcpListener::bind((address, 0)))
            .unwrap();
        let target = listener.local_addr().unwrap();
        let mut sender = machine.inside(from, || dial(target)).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        receiver.set_read_timeout(Some(PATIENCE)).unwrap();

        let (stop, _) = mpsc::channel();
        let thread = thread::spawn(move || {
            // Ends when the receiver closes the connection.
            while sender.write_all(&[0; 16384]).is_ok() {}
        });
        Self {
            receiver: Some(Receiver::Tcp(receiver)),
            sender: Some((stop, thread)),
        }
    }

    /// Sends datagrams at half as much again as a limit, in kbit/s.
    pub(super) fn udp(
        machine: &Machine,
        from: InstanceId,
        to: InstanceId,
        address: Ipv4Addr,
        limit: u64,
    ) -> Self {
        let (sender, receiver) = datagrams(machine, from, to, address);
        let (stop, stopped) = mpsc::channel();
        // Half as much again as a kbit/s, which is 1/8000 byte in a microsecond.
        let bytes_in = move |time: Duration| time.as_micros() * u128::from(limit) * 3 / 16_000;
        let thread = thread::spawn(move || {
            let start = Instant::now();
            let mut sent = 0;
            let pause = Duration::from_millis(2);
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                // On a busy machine it falls behind, and must still end.
                for _ in 0..1000 {
                    if sent >= bytes_in(start.elapsed()) {
                        break;
                    }
                    // Refused once the receiver has gone.
                    drop(sender.send(&[0; DATAGRAM]));
                    sent += DATAGRAM as u128;
                }
            }
        });

        Self {
            receiver: Some(Receiver::Udp(receiver)),
            sender: Some((stop, thread)),
        }
    }

    /// Checks that the rate is a limit in kbit/s, up to a tenth. It is never
    /// higher; on a busy machine it may be lower for a while.
    pub(super) fn assert_rate(&mut self, limit: u64, what: &str) {
        let burst = usize::try_from(limit).unwrap() * 125 / 5 + 3200;
        let mut rates = Vec::new();
        for _ in 0..ATTEMPTS {
            let rate = self.rate(burst);
            rates.push(rate);
            assert!(
                rate <= limit + limit / 10,
                "{what}: {rate} of {limit} kbit/s"
            );
            if rate >= limit - limit / 10 {
                return;
            }
        }
        panic!("{what}: only {rates:?} of {limit} kbit/s");
    }

    /// The rate at which payload arrives, in kbit/s, after the first `skip`
    /// bytes.
    pub(super) fn rate(&mut self, skip: usize) -> u64 {
        let receiver = self.receiver.as_mut().unwrap();
        let mut skipped = 0;
        while skipped < skip {
            skipped += receiver.read();
        }

        let start = Instant::now();
        let mut bytes = 0;
        while start.elapsed() < MEASURED {
            bytes += receiver.read();
        }
        let kbit = bytes as u128 * 8000 / start.elapsed().as_micros();
        kbit.try_into().unwrap()
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // A connection that is closed with data in it is reset.
        self.receiver = None;
        if let Some((stop, thread)) = self.sender.take() {
            drop(stop);
            thread.join().unwrap();
        }
    }
}

impl Receiver {
    fn read(&mut self) -> usize {
        let mut buffer = [0; 65536];
        let count = match self {
            Self::Tcp(stream) => stream.read(&mut buffer),
            Self::Udp(socket) => socket.recv(&mut buffer),
        };
        match count {
            Ok(0) => panic!("the connection is lost"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing arrives"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sockets for datagrams from one instance to another.
pub(super) fn datagrams(
    machine: &Machine,
    from: InstanceId,
    to: InstanceId,
    address: Ipv4Addr,
) -> (UdpSocket, UdpSocket) {
    let receiver = machine
        .inside(to, || UdpSocket::bind((address, 0)))
        .unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let target = receiver.local_addr().unwrap();
    let sender = machine
        .inside(from, || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect(target)?;
            Ok(socket)
        })
        .unwrap();

    (sender, receiver)
}
