//! What a client asks, and answers that are not made of another server's.

use std::fmt::Write;
use std::net::Ipv4Addr;

use aos_names::is_name;
use domain::base::iana::{Class, Opcode, Rcode, Rtype};
use domain::base::message_builder::PushError;
use domain::base::name::{ToLabelIter, ToName};
use domain::base::{Message, MessageBuilder, Name, Question, Ttl};
use domain::rdata::{A, Ptr};

/// Largest answer over UDP: it passes every link without fragments.
pub const LARGEST_DATAGRAM: usize = 1232;
/// Largest answer over UDP to a client that does not say more.
const PLAIN_DATAGRAM: usize = 512;
/// Bytes of a header.
pub(crate) const HEADER: usize = 12;
/// Names of the unit may be another's the next moment.
const OWN_TTL: Ttl = Ttl::ZERO;

/// A query that makes sense.
#[derive(Clone, Debug)]
pub struct Query {
    id: u16,
    wants_recursion: bool,
    /// The client checks signatures itself: errors of that are its business.
    pub checking_disabled: bool,
    /// The client wants signatures.
    pub dnssec_ok: bool,
    has_edns: bool,
    datagram: usize,
    question: Question<Name<Vec<u8>>>,
    /// What is asked for, as text in lower case without a dot at its end. No
    /// two names have the same.
    pub name: String,
}

/// What becomes of a packet that is no query to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody waits for an answer, or nobody should get one.
    Silence,
    /// It is told what is wrong.
    Answer(Vec<u8>),
}

/// What the server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The name has this address.
    Address(Ipv4Addr),
    /// The address has this name.
    Pointer(&'a str),
    /// There is the name, but not with this type.
    NoData,
    /// There is no such name.
    NoName,
    /// Nobody who should know could be asked.
    Failure,
}

impl Query {
    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// When it is no query that could be answered from names or by others.
    pub fn read(packet: &[u8]) -> Result<Self, Refusal> {
        let message = Message::from_slice(packet).map_err(|_| Refusal::Silence)?;
        let header = message.header();
        if header.qr() {
            return Err(Refusal::Silence);
        }
        if header.opcode() != Opcode::QUERY {
            return Err(refused(message, Rcode::NOTIMP));
        }
        let (Ok(question), Ok(additional)) = (message.sole_question(), message.additional()) else {
            return Err(refused(message, Rcode::FORMERR));
        };
        // Nothing is before it that it could point to.
        if additional
            .map(|record| record.map(drop))
            .any(|r| r.is_err())
            || question.qname().is_compressed()
        {
            return Err(refused(message, Rcode::FORMERR));
        }
        let opt = message.opt();
        if opt.as_ref().is_some_and(|opt| opt.version() != 0) {
            return Err(bad_version(message));
        }
        if question.qclass() != Class::IN {
            return Err(refused(message, Rcode::REFUSED));
        }
        // Answers to these are long by nature, or are no business of clients.
        match question.qtype() {
            Rtype::ANY | Rtype::OPT | Rtype::TKEY | Rtype::TSIG => {
                return Err(refused(message, Rcode::NOTIMP));
            }
            Rtype::AXFR | Rtype::IXFR => return Err(refused(message, Rcode::REFUSED)),
            _ => {}
        }

        let asked = opt.as_ref().map(|opt| usize::from(opt.udp_payload_size()));
        let datagram = asked.unwrap_or(PLAIN_DATAGRAM);
        let name: Name<Vec<u8>> = question.qname().to_name();
        Ok(Self {
            id: header.id(),
            wants_recursion: header.rd(),
            checking_disabled: header.cd(),
            dnssec_ok: opt.as_ref().is_some_and(|opt| opt.dnssec_ok()),
            has_edns: opt.is_some(),
            datagram: datagram.clamp(PLAIN_DATAGRAM, LARGEST_DATAGRAM),
            name: text_of(&name),
            question: Question::new(name, question.qtype(), Class::IN),
        })
    }

    /// The type that is asked for.
    #[must_use]
    pub fn qtype(&self) -> Rtype {
        self.question.qtype()
    }

    /// The question as it was sent.
    #[must_use]
    pub fn question(&self) -> Vec<u8> {
        let mut bytes = self.question.qname().as_slice().to_vec();
        bytes.extend(self.qtype().to_int().to_be_bytes());
        bytes.extend(Class::IN.to_int().to_be_bytes());
        bytes
    }

    /// An answer of our own.
    #[must_use]
    pub fn reply(&self, reply: &Reply<'_>) -> Vec<u8> {
        let outcome = self.build(reply, false);
        outcome.unwrap_or_else(|_| self.header_only(Rcode::SERVFAIL))
    }

    /// `answer` with the client's id, question and wishes, no longer than it
    /// can take over UDP, if that is how it asks.
    #[must_use]
    pub(crate) fn adopt(&self, mut answer: Vec<u8>, is_datagram: bool) -> Vec<u8> {
        let question = self.question();
        let end = HEADER + question.len();
        if answer.len() < end {
            return self.reply(&Reply::Failure);
        }
        answer[..2].copy_from_slice(&self.id.to_be_bytes());
        let rcode = answer[3] & 0x0f;
        answer[2] = 0x80 | u8::from(self.wants_recursion);
        answer[3] = 0x80 | (u8::from(self.checking_disabled) << 4) | rcode;
        answer[HEADER..end].copy_from_slice(&question);
        if self.has_edns {
            answer[11] = 1;
            answer.extend(self.opt());
        }
        if is_datagram && answer.len() > self.datagram {
            return self
                .build(&Reply::NoData, true)
                .unwrap_or_else(|_| self.header_only(Rcode::SERVFAIL));
        }

        answer
    }

    fn build(&self, reply: &Reply<'_>, is_truncated: bool) -> Result<Vec<u8>, PushError> {
        let mut builder = MessageBuilder::new_vec();
        let header = builder.header_mut();
        header.set_id(self.id);
        header.set_qr(true);
        header.set_rd(self.wants_recursion);
        header.set_ra(true);
        header.set_cd(self.checking_disabled);
        header.set_tc(is_truncated);
        header.set_aa(!is_truncated && *reply != Reply::Failure);
        header.set_rcode(match reply {
            Reply::Address(_) | Reply::Pointer(_) | Reply::NoData => Rcode::NOERROR,
            Reply::NoName => Rcode::NXDOMAIN,
            Reply::Failure => Rcode::SERVFAIL,
        });
        let mut builder = builder.question();
        builder.push(&self.question)?;
        let mut builder = builder.answer();
        let owner = self.question.qname();
        match reply {
            Reply::Address(address) => {
                builder.push((owner, OWN_TTL, A::new(address.octets().into())))?;
            }
            Reply::Pointer(name) => {
                if let Some(name) = name_of(name) {
                    builder.push((owner, OWN_TTL, Ptr::new(name)))?;
                }
            }
            Reply::NoData | Reply::NoName | Reply::Failure => {}
        }
        let mut builder = builder.additional();
        if self.has_edns {
            builder.opt(|opt| {
                opt.set_udp_payload_size(1232);
                opt.set_dnssec_ok(self.dnssec_ok);
                Ok(())
            })?;
        }

        Ok(builder.finish())
    }

    fn header_only(&self, rcode: Rcode) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(self.id);
        builder.header_mut().set_qr(true);
        builder.header_mut().set_rcode(rcode);
        builder.finish()
    }

    /// Our OPT record: root, type, size, no extended code, flags, no options.
    fn opt(&self) -> [u8; 11] {
        let flags = u8::from(self.dnssec_ok) << 7;
        [0, 0, 41, 0x04, 0xd0, 0, 0, flags, 0, 0, 0]
    }
}

fn refused(message: &Message<[u8]>, rcode: Rcode) -> Refusal {
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    header.set_id(message.header().id());
    header.set_qr(true);
    header.set_opcode(message.header().opcode());
    header.set_rd(message.header().rd());
    header.set_rcode(rcode);
    Refusal::Answer(builder.finish())
}

fn bad_version(message: &Message<[u8]>) -> Refusal {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(message.header().id());
    builder.header_mut().set_qr(true);
    let mut builder = builder.additional();
    let outcome = builder.opt(|opt| {
        opt.set_udp_payload_size(1232);
        opt.set_rcode(domain::base::iana::OptRcode::BADVERS);
        Ok(())
    });
    match outcome {
        Ok(()) => Refusal::Answer(builder.finish()),
        Err(_) => Refusal::Silence,
    }
}

/// The name of an instance, for the wire.
fn name_of(text: &str) -> Option<Name<Vec<u8>>> {
    is_name(text).then(|| Name::from_chars(text.chars()).ok())?
}

fn text_of(name: &Name<Vec<u8>>) -> String {
    let mut text = String::new();
    for label in name.iter_labels().filter(|label| !label.is_root()) {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label.as_slice() {
            if byte.is_ascii_graphic() && !matches!(byte, b'.' | b'\\') {
                text.push(char::from(byte.to_ascii_lowercase()));
            } else {
                write!(text, "\\{byte:03}").expect("writing to a String cannot fail");
            }
        }
    }

    text
}
