//! Netlink messages of netfilter, as bytes.
//!
//! A message is a header, four bytes that name a family, and attributes. Numbers
//! in attributes have the network's byte order. `netlink-packet-netfilter` types
//! about a third of the attributes that the tables need: no objects, no contents
//! of elements, no concatenations, no connections, no address translation. Two
//! encodings side by side would be harder to read than this one.

use rtnetlink::packet_core::{NLA_F_NESTED, NLA_TYPE_MASK};

/// Length of a message's header.
const HEADER: usize = 16;
/// Length of what follows it.
const FAMILY: usize = 4;
/// Length of an attribute's header.
const ATTRIBUTE: usize = 4;
/// The messages of nf_tables.
const NFTABLES: u16 = 10;

/// Head of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    pub(super) family: u8,
    pub(super) resource: u16,
}

/// Bytes of messages that are being written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn message(&mut self, head: Head, attributes: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(head.kind.to_ne_bytes());
        self.bytes.extend(head.flags.to_ne_bytes());
        self.bytes.extend(head.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend([head.family, 0]);
        self.bytes.extend(head.resource.to_be_bytes());
        attributes(self);

        let length = u32::try_from(self.bytes.len() - start).expect("a batch is a few MB at most");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(ATTRIBUTE + value.len()).expect("no value of ours is that long");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
    }

    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub(super) fn long(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A text that ends with a zero.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat());
    }

    /// An attribute made of others. Those who call see to it that all of it is
    /// shorter than 64 KiB.
    pub(super) fn nested(&mut self, kind: u16, attributes: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NLA_F_NESTED).to_ne_bytes());
        attributes(self);

        let length = u16::try_from(self.bytes.len() - start).expect("lists are cut in parts");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Adds flags to the message that begins at `start`.
    pub(super) fn add_flags(&mut self, start: usize, flags: u16) {
        if let Some([low, high]) = self.bytes.get_mut(start + 6..start + 8) {
            let sum = u16::from_ne_bytes([*low, *high]) | flags;
            [*low, *high] = sum.to_ne_bytes();
        }
    }

    /// Adds attributes that are written already.
    #[cfg(test)]
    pub(super) fn append(&mut self, attributes: &[u8]) {
        self.bytes.extend(attributes);
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// A message that was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// Whose doing it is.
    pub(super) port: u32,
    /// All behind the header.
    pub(super) body: &'a [u8],
}

/// A message about nf_tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableMessage<'a> {
    pub(super) kind: u16,
    pub(super) family: u8,
    attributes: &'a [u8],
}

/// The messages of a datagram. What is damaged ends them.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
        let message = rest.get(..length)?;
        let body = message.get(HEADER..)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();

        Some(Message {
            kind: u16::from_ne_bytes(*message.get(4..)?.first_chunk()?),
            flags: u16::from_ne_bytes(*message.get(6..)?.first_chunk()?),
            sequence: u32::from_ne_bytes(*message.get(8..)?.first_chunk()?),
            port: u32::from_ne_bytes(*message.get(12..)?.first_chunk()?),
            body,
        })
    })
}

impl<'a> Message<'a> {
    /// The number of the error that the message tells; 0: none.
    pub(super) fn error(&self) -> Option<i32> {
        Some(i32::from_ne_bytes(*self.body.first_chunk()?))
    }

    /// The message, when it is about nf_tables.
    pub(super) fn of_tables(&self) -> Option<TableMessage<'a>> {
        if self.kind >> 8 != NFTABLES {
            return None;
        }

        Some(TableMessage {
            kind: self.kind & 0xff,
            family: *self.body.first()?,
            attributes: self.body.get(FAMILY..)?,
        })
    }
}

impl<'a> TableMessage<'a> {
    /// An attribute of this kind.
    pub(super) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        get(self.attributes, kind)
    }
}

/// The attributes in these bytes. What is damaged ends them.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & NLA_TYPE_MASK;
        let value = rest.get(ATTRIBUTE..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();

        Some((kind, value))
    })
}

/// An attribute of this kind.
pub(super) fn get(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A number of four bytes.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*value.first_chunk()?))
}

/// A number of eight bytes.
pub(super) fn long(value: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*value.first_chunk()?))
}

/// A text, up to its zero.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    let end = value.iter().position(|byte| *byte == 0);
    std::str::from_utf8(value.get(..end.unwrap_or(value.len()))?).ok()
}
