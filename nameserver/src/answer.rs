//! Answers of other servers.

use std::time::Duration;

use domain::base::iana::{Opcode, Rcode, Rtype};
use domain::base::message::RecordSection;
use domain::base::wire::ParseError;
use domain::base::{Message, ParsedRecord};
use domain::rdata::Soa;

use crate::query::HEADER;

/// Longest time that an answer is kept.
const LONGEST: Duration = Duration::from_secs(3600);
/// Longest time that it is kept that there is nothing.
const LONGEST_NOTHING: Duration = Duration::from_secs(300);
/// The lifetime of a record lies this far from the end of the record's data.
const TTL_BEFORE_DATA: usize = 6;

/// An answer that can be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Without the last section: it is the server's own business.
    message: Vec<u8>,
    /// Where the lifetimes are.
    ttls: Vec<usize>,
    /// How long it may be kept; zero: not at all.
    lifetime: Duration,
}

/// Why a packet is no answer to pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not for our question. The right one may still come.
    NotOurs,
    /// It is cut off; over TCP there is more.
    Truncated,
    /// The server cannot answer.
    Refused,
}

impl Answer {
    /// Reads a packet that came from the server that was asked `question` with
    /// this `id`.
    ///
    /// # Errors
    ///
    /// When it is not the answer, or not one that helps.
    pub fn read(packet: &[u8], id: u16, question: &[u8]) -> Result<Self, Fault> {
        let message = Message::from_slice(packet).map_err(|_| Fault::NotOurs)?;
        let header = message.header();
        let is_ours = header.qr()
            && header.id() == id
            && header.opcode() == Opcode::QUERY
            && message.header_counts().qdcount() == 1
            && is_same_question(packet, question);
        if !is_ours {
            return Err(Fault::NotOurs);
        }
        if header.tc() {
            return Err(Fault::Truncated);
        }
        if !matches!(header.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) {
            return Err(Fault::Refused);
        }

        // One that lies about its content will not get better.
        Self::cut(message).map_err(|_| Fault::Refused)
    }

    /// How long it may be kept; zero: not at all.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.message.len() + self.ttls.len() * size_of::<usize>()
    }

    /// The message as it is `age` after it came.
    #[must_use]
    pub fn message(&self, age: Duration) -> Vec<u8> {
        let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let mut message = self.message.clone();
        for &position in &self.ttls {
            if let Some(ttl) = message
                .get_mut(position..)
                .and_then(|rest| rest.first_chunk_mut::<4>())
            {
                *ttl = u32::from_be_bytes(*ttl).saturating_sub(age).to_be_bytes();
            }
        }

        message
    }

    fn cut(message: &Message<[u8]>) -> Result<Self, ParseError> {
        let is_negative = message.header().rcode() == Rcode::NXDOMAIN;
        let mut ttls = Vec::new();
        let mut shortest: Option<Duration> = None;
        let mut negative = Duration::ZERO;

        let mut answers = message.answer()?;
        let mut has_answer = false;
        while let Some(record) = step(&mut answers, &mut ttls)? {
            // A name that only has another name is no answer to what it has.
            has_answer = has_answer || record.rtype() != Rtype::CNAME;
            shortest = Some(shorter(shortest, record.ttl().into_duration()));
        }
        let mut authority = message.authority()?;
        while let Some(record) = step(&mut authority, &mut ttls)? {
            shortest = Some(shorter(shortest, record.ttl().into_duration()));
            if let Some(soa) = record.to_record::<Soa<_>>()? {
                negative = soa
                    .ttl()
                    .into_duration()
                    .min(soa.data().minimum().into_duration());
            }
        }

        let end = authority.pos();
        let mut message = message.as_slice().get(..end).unwrap_or_default().to_vec();
        if let Some(counts) = message.get_mut(10..12) {
            counts.fill(0);
        }
        let lifetime = if has_answer && !is_negative {
            shortest.unwrap_or_default().min(LONGEST)
        } else {
            shorter(shortest, negative).min(LONGEST_NOTHING)
        };
        Ok(Self {
            message,
            ttls,
            lifetime,
        })
    }
}

/// Goes to the next record, and notes where its lifetime is.
fn step<'a>(
    section: &mut RecordSection<'a, [u8]>,
    ttls: &mut Vec<usize>,
) -> Result<Option<ParsedRecord<'a, [u8]>>, ParseError> {
    let Some(record) = section.next().transpose()? else {
        return Ok(None);
    };
    let behind = TTL_BEFORE_DATA + usize::from(record.rdlen());
    ttls.push(section.pos().saturating_sub(behind));

    Ok(Some(record))
}

fn shorter(known: Option<Duration>, other: Duration) -> Duration {
    known.map_or(other, |known| known.min(other))
}

/// Names are the same in any case; type and class follow the final zero.
fn is_same_question(packet: &[u8], question: &[u8]) -> bool {
    let Some(found) = packet.get(HEADER..HEADER + question.len()) else {
        return false;
    };
    let (name, kind) = question.split_at(question.len().saturating_sub(4));
    let (found_name, found_kind) = found.split_at(name.len());

    found_kind == kind && found_name.eq_ignore_ascii_case(name)
}
