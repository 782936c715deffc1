//! The lines of a record, one after the other.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::format::{HEAD, LINE_MAX, SUM};
use super::hash::ContentHasher;
use super::{Entry, RecordError};

/// Reads a record. That all of it was read, and is as it was written, is known
/// when the iterator has ended without an error: whoever must not act on a
/// damaged record goes through it once before.
pub(in crate::layermanager) struct Record<R = File> {
    path: PathBuf,
    lines: BufReader<R>,
    sum: ContentHasher,
    /// The one read last, and which one that is.
    line: Vec<u8>,
    number: u64,
    ended: bool,
}

impl Record {
    /// Opens the record at `path`.
    ///
    /// # Errors
    ///
    /// There is none, or it is not one.
    pub(in crate::layermanager) fn open(path: &Path) -> Result<Self, RecordError> {
        let file = File::open(path).map_err(|source| RecordError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::new(file, path)
    }
}

impl<R: Read> Record<R> {
    pub(super) fn new(source: R, path: &Path) -> Result<Self, RecordError> {
        let mut record = Self {
            path: path.to_owned(),
            lines: BufReader::with_capacity(64 * 1024, source),
            sum: ContentHasher::new(),
            line: Vec::new(),
            number: 0,
            ended: false,
        };
        record.read_line()?;
        if record.line != HEAD {
            return Err(record.damaged("it is no record, or of another release"));
        }
        record.sum.update(HEAD);
        Ok(record)
    }

    fn read_line(&mut self) -> Result<(), RecordError> {
        self.line.clear();
        self.number += 1;
        (&mut self.lines)
            .take(LINE_MAX as u64 + 1)
            .read_until(b'\n', &mut self.line)
            .map_err(|source: io::Error| RecordError::Read {
                path: self.path.clone(),
                source,
            })?;
        Ok(())
    }

    fn next_entry(&mut self) -> Result<Option<Entry>, RecordError> {
        self.read_line()?;
        let reason = match self.line.strip_prefix(SUM) {
            _ if self.line.len() > LINE_MAX => "the line is too long",
            _ if !self.line.ends_with(b"\n") => "it is cut off",
            Some(sum) if sum == format!("{:032x}\n", self.sum.finish()).as_bytes() => {
                self.read_line()?;
                if self.line.is_empty() {
                    return Ok(None);
                }
                "something follows the sum"
            }
            Some(_) => "the sum is wrong",
            None => match Entry::parse(&self.line) {
                Ok(entry) => {
                    self.sum.update(&self.line);
                    return Ok(Some(entry));
                }
                Err(reason) => reason,
            },
        };
        Err(self.damaged(reason))
    }

    fn damaged(&self, reason: &'static str) -> RecordError {
        RecordError::Damaged {
            path: self.path.clone(),
            line: self.number,
            reason,
        }
    }
}

impl<R: Read> Iterator for Record<R> {
    type Item = Result<Entry, RecordError>;

    /// Ends with the record or the first error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_entry().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
