//! The bytes of a package, in order: first those that are on disk, then those
//! that come. What comes is on disk before it is handed on.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::Instant;

use super::download::Message;
use super::error::FetchError;
use super::interest::Trail;
use super::limits::SYNC;
use super::progress::Tracker;
use super::spool::{Opened, Spool, refused};
use crate::model::Chain;

/// Reads a package that is on disk as a whole.
#[derive(Debug)]
pub(super) struct FileReader {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl FileReader {
    /// The bytes before `end`.
    pub(super) fn new(file: Arc<File>, end: u64) -> Self {
        Self {
            file,
            position: 0,
            end,
        }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let (buffer, _) = buffer.split_at_mut(length);
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

/// Reads a package that is being downloaded.
#[derive(Debug)]
pub(super) struct DownloadReader {
    before: FileReader,
    coming: Coming,
    /// Stored, and not handed on yet.
    piece: Bytes,
    stored: u64,
    synced: u64,
    file: Opened,
    spool: Spool,
    trail: Arc<Trail>,
}

/// Whether more may come.
#[derive(Debug)]
enum Coming {
    More(Box<Source>),
    Nothing,
    /// Whoever reads on after an error gets it again.
    Failed(Arc<FetchError>),
}

/// Given up as soon as nothing comes any more, so that the next one may download.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) tracker: Tracker,
    pub(super) _lock: OwnedMutexGuard<()>,
}

impl DownloadReader {
    /// Goes on after `before` bytes of `file`.
    pub(super) fn new(
        file: Opened,
        before: u64,
        spool: Spool,
        source: Source,
        trail: Arc<Trail>,
    ) -> Self {
        Self {
            before: FileReader::new(Arc::clone(&file), before),
            coming: Coming::More(Box::new(source)),
            piece: Bytes::new(),
            stored: before,
            synced: before,
            file,
            spool,
            trail,
        }
    }

    /// Gets the next piece into `self.piece`; not at the end.
    fn advance(&mut self) -> io::Result<()> {
        let source = match &mut self.coming {
            Coming::More(source) => source,
            Coming::Nothing => return Ok(()),
            Coming::Failed(error) => return Err(io::Error::other(Arc::clone(error))),
        };
        match source.messages.blocking_recv() {
            Some(Message::Piece(bytes)) => {
                let count = bytes.len() as u64;
                if let Err(error) = self.store(&bytes) {
                    return Err(self.fail(refused(&self.spool.part())(error)));
                }
                if let Coming::More(source) = &mut self.coming {
                    source.tracker.advance(count, Instant::now());
                }
                self.piece = bytes;
                Ok(())
            }
            Some(Message::Resumed) => {
                self.trail.doubt();
                Ok(())
            }
            Some(Message::End) => {
                let coming = std::mem::replace(&mut self.coming, Coming::Nothing);
                if let Coming::More(source) = coming {
                    source.tracker.finish(Instant::now());
                }
                Ok(())
            }
            Some(Message::Failed(FetchError::Restarted(reason))) => {
                self.remove();
                Err(self.fail(self.trail.restarted(reason)))
            }
            Some(Message::Failed(error)) => {
                if matches!(error, FetchError::TooLong { .. } | FetchError::Size { .. }) {
                    self.remove();
                }
                Err(self.fail(error))
            }
            // It says how it ends, unless the runtime does.
            Some(Message::Begin { .. }) | None => Err(self.fail(FetchError::Stopped)),
        }
    }

    fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.stored)?;
        self.stored += bytes.len() as u64;
        if self.stored - self.synced >= SYNC {
            self.file.sync_data()?;
            self.synced = self.stored;
        }
        Ok(())
    }

    fn fail(&mut self, error: FetchError) -> io::Error {
        let error = Arc::new(error);
        self.coming = Coming::Failed(Arc::clone(&error));
        io::Error::other(error)
    }

    /// While the lock is ours, nobody else put anything there.
    fn remove(&self) {
        if let Err(error) = self.spool.remove() {
            tracing::warn!(error = %Chain(&error), "a useless download is left");
        }
    }
}

impl Read for DownloadReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Coming::Failed(error) = &self.coming {
            return Err(io::Error::other(Arc::clone(error)));
        }
        if self.before.position < self.before.end {
            let read = self.before.read(buffer);
            return match read {
                Ok(0) => {
                    let cut = io::ErrorKind::UnexpectedEof.into();
                    Err(self.fail(refused(&self.spool.part())(cut)))
                }
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    Err(self.fail(refused(&self.spool.part())(error)))
                }
                read => read,
            };
        }

        while self.piece.is_empty() {
            if let Coming::Nothing = self.coming {
                return Ok(0);
            }
            self.advance()?;
        }
        let count = buffer.len().min(self.piece.len());
        let (buffer, _) = buffer.split_at_mut(count);
        self.piece.copy_to_slice(buffer);
        Ok(count)
    }
}
