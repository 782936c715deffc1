//! A machine of its own for each test, which ends with it.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use aos_names::{InstanceNames, NetworkNames};
use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, Ttl};
use domain::rdata::A;
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

/// How long something may take that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait for an answer.
const ANSWER: Duration = Duration::from_millis(700);
/// How long a resolver waits.
const RESOLVER: Duration = Duration::from_secs(5);

pub(crate) struct Machine {
    directory: TempDir,
    others: Cell<u8>,
}

/// A thread in the namespace of an instance.
pub(crate) struct Client {
    work: mpsc::Sender<Box<dyn FnOnce() + Send>>,
}

pub(crate) struct RunningServer {
    child: Child,
    log: Mutex<mpsc::Receiver<String>>,
}

/// How another name server is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Honest,
    Long,
    WrongId,
    WrongQuestion,
    Silent,
}

pub(crate) struct Other {
    pub(crate) address: Ipv4Addr,
    asked: Arc<AtomicUsize>,
}

pub(crate) struct Answer {
    pub(crate) code: u8,
    pub(crate) count: u16,
    pub(crate) is_truncated: bool,
    pub(crate) addresses: Vec<Ipv4Addr>,
}

pub(crate) fn on_own_machine(test: impl FnOnce(&Machine) + Send) {
    thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let machine = Machine {
                directory: TempDir::new().unwrap(),
                others: Cell::new(2),
            };
            fs::create_dir(machine.names()).unwrap();
            machine.run("ip link set lo up");
            test(&machine);
        };
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

pub(crate) fn address(third: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(172, 17, third, last)
}

pub(crate) fn names(id: &str, third: u8, instances: &[(&str, u8)]) -> NetworkNames {
    NetworkNames {
        network: id.into(),
        bridge: format!("br-{id}"),
        bridge_index: 0,
        gateway: address(third, 1),
        prefix: 24,
        dns_servers: Vec::new(),
        instances: instances
            .iter()
            .map(|(name, last)| InstanceNames {
                id: (*name).into(),
                address: address(third, *last),
                names: vec![(*name).into()],
            })
            .collect(),
    }
}

fn run(line: &str) {
    let mut words = line.split(' ');
    let status = Command::new(words.next().unwrap()).args(words).status();
    assert!(status.unwrap().success(), "{line}");
}

impl Machine {
    fn names(&self) -> PathBuf {
        self.directory.path().join("names")
    }

    pub(crate) fn run(&self, line: &str) {
        run(line);
    }

    /// Makes a bridge with its gateway, and one client at it.
    pub(crate) fn network(&self, id: &str, third: u8) -> Client {
        self.run(&format!("ip link add br-{id} type bridge"));
        self.run(&format!(
            "ip address add {}/24 dev br-{id}",
            address(third, 1)
        ));
        self.run(&format!("ip link set br-{id} up"));
        let (client, thread) = Client::start();
        self.run(&format!(
            "ip link add v{id} type veth peer name eth0 netns {thread}"
        ));
        self.run(&format!("ip link set v{id} master br-{id} up"));
        client.run(&format!(
            "ip address add {}/24 dev eth0",
            address(third, 200)
        ));
        client.run("ip link set eth0 up");
        client.run(&format!("ip route add default via {}", address(third, 1)));
        client
    }

    /// Writes a network's file as the service manager does.
    pub(crate) fn publish(&self, names: &NetworkNames) -> PathBuf {
        let index = fs::read_to_string("/proc/thread-self/net/dev_mcast")
            .unwrap()
            .lines()
            .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>())
            .find(|words| words[1] == names.bridge)
            .map_or(0, |words| words[0].parse().unwrap());
        let names = NetworkNames {
            bridge_index: index,
            ..names.clone()
        };
        let file = self.names().join(format!("{}.json", names.bridge));
        let new = file.with_extension("new");
        fs::write(&new, names.text()).unwrap();
        fs::rename(&new, &file).unwrap();
        file
    }

    /// Starts the server, and waits until it serves.
    pub(crate) fn server(&self) -> RunningServer {
        let mut child = Command::new(env!("CARGO_BIN_EXE_aos_nameserver"))
            .arg("--directory")
            .arg(self.names())
            .env_remove("JOURNAL_STREAM")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let server = RunningServer {
            child,
            log: Mutex::new(log),
        };
        server.wait_for("serving");
        server
    }

    /// Starts another name server, on an address of its own.
    pub(crate) fn other_server(&self, mood: Mood) -> Other {
        let last = self.others.replace(self.others.get() + 1);
        let address = Ipv4Addr::new(127, 0, 1, last);
        let asked = Arc::new(AtomicUsize::new(0));
        let udp = UdpSocket::bind((address, 53)).unwrap();
        let tcp = TcpListener::bind((address, 53)).unwrap();
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(packet) = say(mood, &buffer[..length], false) {
                    udp.send_to(&packet, from).unwrap();
                }
            }
        });
        thread::spawn(move || {
            while let Ok((mut stream, _)) = tcp.accept() {
                let query = read_message(&mut stream).unwrap();
                let packet = say(mood, &query, true).unwrap();
                write_message(&mut stream, &packet);
            }
        });
        Other { address, asked }
    }
}

impl Other {
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn say(mood: Mood, query: &[u8], is_stream: bool) -> Option<Vec<u8>> {
    let message = Message::from_octets(query).unwrap();
    let question = message.sole_question().unwrap();
    let mut builder = MessageBuilder::new_vec()
        .start_answer(&message, Rcode::NOERROR)
        .unwrap();
    let count = if mood == Mood::Long { 200 } else { 1 };
    builder
        .header_mut()
        .set_tc(mood == Mood::Long && !is_stream);
    for _ in 0..count {
        let record = (
            question.qname(),
            Ttl::from_secs(60),
            A::from_octets(9, 9, 9, 9),
        );
        builder.push(record).unwrap();
    }
    let mut packet = builder.finish();
    match mood {
        Mood::Honest => {}
        Mood::Long if is_stream => {}
        Mood::Long => packet.truncate(12 + query.len() - 12 - 11),
        Mood::WrongId => packet[0] ^= 0x55,
        Mood::WrongQuestion => packet[14] ^= 1,
        Mood::Silent => return None,
    }
    if mood == Mood::Long && !is_stream {
        packet[6..12].fill(0);
    }
    Some(packet)
}

impl RunningServer {
    /// Returns when the log has a line with this text.
    pub(crate) fn wait_for(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        let log = self.log.lock().unwrap();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if log.recv_timeout(left).unwrap().contains(text) {
                return;
            }
        }
    }

    /// What it has in memory, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Client {
    fn start() -> (Self, i32) {
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

    pub(crate) fn ask(&self, third: u8, name: &str, kind: &str) -> Option<Answer> {
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
            let mut stream = TcpStream::connect_timeout(&to, ANSWER).ok()?;
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
            if self.ask(third, name, "A").is_none() {
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
            .map(|record| record.unwrap().data().addr().into())
            .collect(),
    }
}

fn write_message(stream: &mut TcpStream, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap();
    let packet = [&length.to_be_bytes(), message].concat();
    stream.write_all(&packet).unwrap();
}

fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}
