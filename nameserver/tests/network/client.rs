//! Who asks: an instance, and what it understands of answers.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use domain::base::iana::Rtype;
use domain::base::{Message, MessageBuilder, Name};
use domain::rdata::A;
use nix::sched::{CloneFlags, unshare};

use crate::machine::{PATIENCE, address, run};

/// How long to wait for an answer.
const ANSWER: Duration = Duration::from_millis(700);
/// How often it is asked again.
const TRIES: usize = 8;
/// How long a resolver waits.
const RESOLVER: Duration = Duration::from_secs(5);

/// A thread in the namespace of an instance.
pub(crate) struct Client {
    work: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

pub(crate) struct Answer {
    pub(crate) code: u8,
    pub(crate) count: u16,
    pub(crate) is_truncated: bool,
    pub(crate) addresses: Vec<Ipv4Addr>,
}

impl Client {
    pub(crate) fn start() -> (Self, i32) {
        let (work, jobs) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (sender, thread) = mpsc::channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            sender.send(nix::unistd::gettid().as_raw()).unwrap();
            for job in jobs {
                job();
            }
        });
        (Self { work }, thread.recv().unwrap())
    }

    /// Runs `work` where the instance runs.
    pub(crate) fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, outcome) = mpsc::channel();
        let job = move || drop(sender.send(work()));
        self.work.send(Box::new(job)).unwrap();
        outcome.recv().expect("the client panicked")
    }

    pub(crate) fn run(&self, line: &str) {
        let line = line.to_owned();
        self.inside(move || run(&line));
    }

    /// Asks as a resolver does: again when a packet may have been lost.
    pub(crate) fn ask(&self, third: u8, name: &str, kind: &str) -> Option<Answer> {
        (0..TRIES).find_map(|_| self.ask_once(third, name, kind))
    }

    pub(crate) fn ask_once(&self, third: u8, name: &str, kind: &str) -> Option<Answer> {
        let query = query(name, kind);
        let any = Ipv4Addr::UNSPECIFIED;
        self.inside(move || exchange(any, address(third, 1), &query, ANSWER))
    }

    pub(crate) fn ask_patiently(&self, third: u8, name: &str) -> Option<Answer> {
        let query = query(name, "A");
        let any = Ipv4Addr::UNSPECIFIED;
        self.inside(move || exchange(any, address(third, 1), &query, RESOLVER))
    }

    pub(crate) fn ask_from(&self, from: Ipv4Addr, third: u8, name: &str) -> Option<Answer> {
        let query = query(name, "A");
        self.inside(move || exchange(from, address(third, 1), &query, ANSWER))
    }

    pub(crate) fn ask_by_tcp(&self, third: u8, name: &str, kind: &str) -> Option<Answer> {
        let query = query(name, kind);
        self.inside(move || {
            let to = SocketAddr::from((address(third, 1), 53));
            let mut stream = TcpStream::connect_timeout(&to, 2 * ANSWER).ok()?;
            stream.set_read_timeout(Some(RESOLVER)).unwrap();
            write_message(&mut stream, &query);
            Some(read(&read_message(&mut stream)?))
        })
    }

    /// Asks again and again until the answer is good.
    pub(crate) fn ask_until(
        &self,
        third: u8,
        name: &str,
        is_good: impl Fn(&Answer) -> bool,
    ) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.ask(third, name, "A").as_ref().is_some_and(&is_good) {
                return true;
            }
        }
        false
    }

    pub(crate) fn ask_until_silent(&self, third: u8, name: &str) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.ask_once(third, name, "A").is_none() {
                return true;
            }
        }
        false
    }

    /// Sends many different queries without waiting for answers.
    pub(crate) fn flood(&self, third: u8, count: usize) {
        self.inside(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            for n in 0..count {
                let query = query(&format!("n{n}.example.com"), "A");
                socket.send_to(&query, (address(third, 1), 53)).unwrap();
            }
        });
    }
}

fn query(name: &str, kind: &str) -> Vec<u8> {
    let name: Name<Vec<u8>> = Name::from_chars(name.chars()).unwrap();
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(4711);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder
        .push((name, kind.parse::<Rtype>().unwrap()))
        .unwrap();
    builder.finish()
}

fn exchange(from: Ipv4Addr, to: Ipv4Addr, query: &[u8], wait: Duration) -> Option<Answer> {
    let socket = UdpSocket::bind((from, 0)).unwrap();
    socket.set_read_timeout(Some(wait)).unwrap();
    socket.send_to(query, (to, 53)).ok()?;
    let mut buffer = [0; 4096];
    let (length, sender) = socket.recv_from(&mut buffer).ok()?;
    assert_eq!(sender.ip(), IpAddr::V4(to));
    Some(read(&buffer[..length]))
}

fn read(packet: &[u8]) -> Answer {
    let message = Message::from_octets(packet).unwrap();
    assert_eq!(message.header().id(), 4711);
    let records = message.answer().unwrap().limit_to::<A>();
    Answer {
        code: message.header().rcode().to_int(),
        count: message.header_counts().ancount(),
        is_truncated: message.header().tc(),
        addresses: records
            .map(|record| record.unwrap().data().addr())
            .collect(),
    }
}

pub(crate) fn write_message(stream: &mut TcpStream, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap();
    let packet = [&length.to_be_bytes(), message].concat();
    stream.write_all(&packet).unwrap();
}

pub(crate) fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}
