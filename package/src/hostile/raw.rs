//! Tars written by hand: with all that no packing tool writes.

use std::ops::Range;

const BLOCK: usize = 512;
const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..107;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..147;
const CHECKSUM: Range<usize> = 148..156;
const KIND: Range<usize> = 156..157;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;

pub(super) const FILE: u8 = b'0';
pub(super) const HARD_LINK: u8 = b'1';
pub(super) const SYMLINK: u8 = b'2';
pub(super) const CHARACTER: u8 = b'3';
pub(super) const BLOCK_DEVICE: u8 = b'4';
pub(super) const DIRECTORY: u8 = b'5';
pub(super) const FIFO: u8 = b'6';
pub(super) const PAX: u8 = b'x';
pub(super) const PAX_GLOBAL: u8 = b'g';
pub(super) const LONG_NAME: u8 = b'L';
pub(super) const LONG_LINK: u8 = b'K';

/// A header whose fields can be anything.
#[derive(Clone)]
pub(super) struct Header([u8; BLOCK]);

impl Header {
    pub(super) fn new(name: impl AsRef<[u8]>, kind: u8, size: usize) -> Self {
        let mode: &[u8] = if kind == DIRECTORY {
            b"0000755"
        } else {
            b"0000644"
        };
        Self([0; BLOCK])
            .set(NAME, name.as_ref())
            .set(MODE, mode)
            .set(UID, b"0000000")
            .set(GID, b"0000000")
            .set(SIZE, format!("{size:011o}").as_bytes())
            .set(MTIME, b"00000000000")
            .set(KIND, &[kind])
            .set(MAGIC, b"ustar\x0000")
    }

    pub(super) fn link(self, target: impl AsRef<[u8]>) -> Self {
        self.set(LINK, target.as_ref())
    }

    pub(super) fn mode(self, octal: &[u8]) -> Self {
        self.set(MODE, octal)
    }

    pub(super) fn uid(self, field: &[u8]) -> Self {
        self.set(UID, field)
    }

    pub(super) fn size(self, field: &[u8]) -> Self {
        self.set(SIZE, field)
    }

    /// With its checksum, changed by `difference`.
    pub(super) fn bytes(self, difference: u32) -> [u8; BLOCK] {
        let blank = self.set(CHECKSUM, b"        ");
        let sum: u32 = blank.0.iter().map(|byte| u32::from(*byte)).sum();
        let sum = format!("{:06o}\0 ", sum + difference);
        blank.set(CHECKSUM, sum.as_bytes()).0
    }

    fn set(mut self, field: Range<usize>, value: &[u8]) -> Self {
        for (byte, value) in self
            .0
            .iter_mut()
            .take(field.end)
            .skip(field.start)
            .zip(value)
        {
            *byte = *value;
        }
        self
    }
}

/// A tar in the making.
#[derive(Clone, Default)]
pub(super) struct Tar(Vec<u8>);

impl Tar {
    pub(super) fn file(self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.add(Header::new(name, FILE, content.len()), content)
    }

    pub(super) fn directory(self, name: impl AsRef<[u8]>) -> Self {
        self.add(Header::new(name, DIRECTORY, 0), b"")
    }

    pub(super) fn symlink(self, name: impl AsRef<[u8]>, target: &str) -> Self {
        self.add(Header::new(name, SYMLINK, 0).link(target), b"")
    }

    pub(super) fn hard_link(self, name: impl AsRef<[u8]>, target: &str) -> Self {
        self.add(Header::new(name, HARD_LINK, 0).link(target), b"")
    }

    /// An entry without content.
    pub(super) fn empty(self, name: impl AsRef<[u8]>, kind: u8) -> Self {
        self.add(Header::new(name, kind, 0).link("target"), b"")
    }

    /// A name that does not fit into the header of the next entry, or a link.
    pub(super) fn long(self, kind: u8, text: impl AsRef<[u8]>) -> Self {
        let text = [text.as_ref(), b"\0"].concat();
        self.add(Header::new("././@LongLink", kind, text.len()), &text)
    }

    /// Records for the next entry.
    pub(super) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.records(PAX, records)
    }

    pub(super) fn records(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let bytes = records.iter().flat_map(|(key, value)| {
            // The length counts its own digits.
            let rest = key.len() + value.len() + 3;
            let mut length = rest;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
        });
        let bytes = bytes.collect::<Vec<_>>();
        self.add(Header::new("PaxHeaders/x", kind, bytes.len()), &bytes)
    }

    pub(super) fn add(self, header: Header, content: &[u8]) -> Self {
        let padding = content.len().next_multiple_of(BLOCK) - content.len();
        self.raw(&header.bytes(0))
            .raw(content)
            .raw(&vec![0; padding])
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Without its end.
    pub(super) fn open(self) -> Vec<u8> {
        self.0
    }

    /// With its end.
    pub(super) fn end(self) -> Vec<u8> {
        self.raw(&[0; 2 * BLOCK]).0
    }
}
