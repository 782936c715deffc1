//! Another name server, good or bad.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Ttl};
use domain::rdata::A;

use crate::client::{read_message, write_message};

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

impl Other {
    /// Starts it, on an address of its own.
    pub(crate) fn start(address: Ipv4Addr, mood: Mood) -> Self {
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
        Self { address, asked }
    }

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
