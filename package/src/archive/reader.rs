//! The entries of a tar, one after the other.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::error::{ArchiveError, CutOff, Limit};
use super::header::{NO_BYTES, checksum, kind_of};
use super::pax::Records;
use super::{Limits, Name};

const BLOCK: u64 = 512;
/// Bytes of a long name, more than any path can have.
const NAME_MAX: u64 = 16 * 1024;
/// Bytes of the records of one entry: room for some attributes of 64 KiB.
const EXTENSION_MAX: u64 = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file with content.
    File,
    /// Another name of an earlier file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A directory.
    Directory,
    /// A character or block device.
    Device,
    /// A named pipe.
    Fifo,
    /// A sparse file.
    Sparse,
    /// Something else.
    Unknown(u8),
}

/// A time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    /// Since 1970.
    pub seconds: i64,
    /// Added to the seconds, below 10⁹.
    pub nanoseconds: u32,
}

/// One entry, as the archive describes it: nothing is checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// Bytes of content in the archive.
    pub size: u64,
    /// Where the content is in the (decompressed) archive.
    pub offset: u64,
    /// Permissions, and what else was written there.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Last change.
    pub mtime: Timestamp,
    /// How many extended attributes it has.
    pub attributes: u64,
}

/// Reads a tar from `R`. Reading from the archive itself gives the content of
/// the present entry.
#[derive(Debug)]
pub struct Archive<R> {
    source: R,
    limits: Limits,
    position: u64,
    entries: u64,
    names: u64,
    /// Bytes of the present entry not yet read.
    content: u64,
    /// Bytes between its end and the next header.
    padding: u64,
    ended: bool,
}

impl<R: Read> Archive<R> {
    /// Starts at the beginning of `source`.
    pub fn new(source: R, limits: Limits) -> Self {
        Self {
            source,
            limits,
            position: 0,
            entries: 0,
            names: 0,
            content: 0,
            padding: 0,
            ended: false,
        }
    }

    /// The source, wherever reading ended.
    pub fn into_source(self) -> R {
        self.source
    }

    /// Reads what is left of the source, and so sees whether it is whole: an archive
    /// may end before what it is compressed with.
    pub fn finish(mut self) -> Result<R, ArchiveError> {
        self.skip_rest()?;
        let mut rest = self.limits.bytes.saturating_sub(self.position);
        rest = rest.saturating_add(1);
        let count = io::copy(&mut (&mut self.source).take(rest), &mut io::sink())
            .map_err(ArchiveError::Read)?;
        if count == rest {
            return Err(exceeded(Limit::Bytes, self.limits.bytes));
        }
        Ok(self.source)
    }

    /// Goes to the next entry, past what is left of the present one. `None`: the
    /// archive has ended, by its end mark or because nothing follows.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let (mut name, mut link, mut records) = (None, None, None);
        loop {
            let described = name.is_some() || link.is_some() || records.is_some();
            self.skip_rest()?;
            let offset = self.position;
            let Some(header) = self.next_header()? else {
                return if described {
                    Err(damaged(offset, "long name without an entry"))
                } else {
                    Ok(None)
                };
            };

            match header.entry_type() {
                EntryType::GNULongName => name = Some(self.long_name(&header, offset)?),
                EntryType::GNULongLink => link = Some(self.long_name(&header, offset)?),
                EntryType::XHeader => {
                    let bytes = self.extension(&header, offset, Limit::Extension, EXTENSION_MAX)?;
                    let parsed = Records::parse(&bytes);
                    records = Some(parsed.ok_or(damaged(offset, "PAX records"))?);
                }
                // Defaults for all that follows, in practice only a comment.
                EntryType::XGlobalHeader => {
                    let size = entry_size(&header, offset)?;
                    self.begin_content(size, offset)?;
                }
                kind => {
                    let records = records.unwrap_or_default();
                    return self
                        .describe(&header, kind, name, link, records, offset)
                        .map(Some);
                }
            }
        }
    }

    fn describe(
        &mut self,
        header: &Header,
        kind: EntryType,
        name: Option<Vec<u8>>,
        link: Option<Vec<u8>>,
        records: Records,
        offset: u64,
    ) -> Result<Entry, ArchiveError> {
        let name = records
            .path
            .or(name)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = records.link.or(link).unwrap_or_else(|| {
            let link = header.link_name_bytes();
            link.map(std::borrow::Cow::into_owned).unwrap_or_default()
        });
        self.names += (name.len() + link.len()) as u64;
        if self.names > self.limits.names {
            return Err(exceeded(Limit::Names, self.limits.names));
        }

        let size = records
            .size
            .map_or_else(|| entry_size(header, offset), Ok)?;
        let kind = kind_of(kind, header, &name, records.sparse);
        // Whatever their headers say, these have no content.
        let header_only = matches!(
            kind,
            Kind::HardLink | Kind::Symlink | Kind::Directory | Kind::Device | Kind::Fifo
        );
        let size = if header_only { 0 } else { size };
        self.begin_content(size, offset)?;

        let number = |value: io::Result<u64>, what| value.map_err(|_| damaged(offset, what));
        let mtime = match records.mtime {
            Some(mtime) => mtime,
            None => Timestamp {
                seconds: i64::try_from(number(header.mtime(), "time")?)
                    .map_err(|_| damaged(offset, "time"))?,
                nanoseconds: 0,
            },
        };
        Ok(Entry {
            name,
            kind,
            link,
            size,
            offset: self.position,
            mode: header.mode().map_err(|_| damaged(offset, "mode"))?,
            uid: records
                .uid
                .map_or_else(|| number(header.uid(), "owner"), Ok)?,
            gid: records
                .gid
                .map_or_else(|| number(header.gid(), "group"), Ok)?,
            mtime,
            attributes: records.attributes,
        })
    }

    fn next_header(&mut self) -> Result<Option<Header>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        let offset = self.position;
        let mut header = Header::new_old();
        let read = self.fill(header.as_mut_bytes())?;
        if read == 0 || (read as u64 == BLOCK && header.as_bytes().iter().all(|byte| *byte == 0)) {
            self.ended = true;
            return Ok(None);
        }
        if (read as u64) < BLOCK {
            return Err(self.truncated("a header"));
        }

        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(exceeded(Limit::Entries, self.limits.entries));
        }
        if header.cksum().ok() != Some(checksum(&header)) {
            return Err(damaged(offset, "wrong checksum"));
        }
        Ok(Some(header))
    }

    fn begin_content(&mut self, size: u64, offset: u64) -> Result<(), ArchiveError> {
        let padded = size
            .checked_next_multiple_of(BLOCK)
            .ok_or(damaged(offset, "size"))?;
        if padded > self.limits.bytes.saturating_sub(self.position) {
            return Err(exceeded(Limit::Bytes, self.limits.bytes));
        }
        self.content = size;
        self.padding = padded - size;
        Ok(())
    }

    /// Content of a header that describes the next one.
    fn extension(
        &mut self,
        header: &Header,
        offset: u64,
        limit: Limit,
        allowed: u64,
    ) -> Result<Vec<u8>, ArchiveError> {
        let size = entry_size(header, offset)?;
        if size > allowed {
            return Err(exceeded(limit, allowed));
        }
        self.begin_content(size, offset)?;
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)
            .map_err(ArchiveError::of_content)?;
        Ok(bytes)
    }

    fn long_name(&mut self, header: &Header, offset: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut name = self.extension(header, offset, Limit::Name, NAME_MAX)?;
        let end = name.iter().position(|byte| *byte == 0);
        name.truncate(end.unwrap_or(name.len()));
        Ok(name)
    }

    fn skip_rest(&mut self) -> Result<(), ArchiveError> {
        io::copy(self, &mut io::sink()).map_err(ArchiveError::of_content)?;

        // A last entry without its padding is whole.
        let mut padding = NO_BYTES;
        let wanted = usize::try_from(self.padding).unwrap_or_default();
        self.padding = 0;
        if let Some(padding) = padding.get_mut(..wanted) {
            self.fill(padding)?;
        }
        Ok(())
    }

    /// Reads until the buffer is full or the source ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ArchiveError::Read(error)),
            }
        }
        self.position += filled as u64;
        if self.position > self.limits.bytes {
            return Err(exceeded(Limit::Bytes, self.limits.bytes));
        }
        Ok(filled)
    }

    fn truncated(&self, within: &'static str) -> ArchiveError {
        ArchiveError::Truncated {
            offset: self.position,
            within,
        }
    }
}

impl<R: Read> Read for Archive<R> {
    /// Content that ends too early is an error, not an end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.content).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        let Some(buffer) = buffer.get_mut(..wanted) else {
            return Ok(0);
        };
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.source.read(buffer)?;
        if count == 0 {
            let cut = CutOff {
                offset: self.position,
                within: "an entry",
            };
            return Err(cut.into());
        }
        self.content -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

fn entry_size(header: &Header, offset: u64) -> Result<u64, ArchiveError> {
    header.entry_size().map_err(|_| damaged(offset, "size"))
}

fn damaged(offset: u64, reason: &'static str) -> ArchiveError {
    ArchiveError::Header { offset, reason }
}

fn exceeded(limit: Limit, allowed: u64) -> ArchiveError {
    ArchiveError::Limit { limit, allowed }
}

impl Entry {
    /// Its name, to be printed.
    #[must_use]
    pub fn shown(&self) -> Name {
        Name::from(self.name.as_slice())
    }
}
