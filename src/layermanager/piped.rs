//! Content on its way from one thread to another.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Builder};

use super::pool::{Buffer, Pool};
use super::sums::joined;

/// Buffers that may wait for the reader of a pipe. The pool has fewer.
const QUEUE: usize = 64;

type Piece = io::Result<Buffer>;

/// The end of a pipe that is read. What the writing end failed with is read last.
#[derive(Debug)]
pub(super) struct PipeReader {
    pieces: Receiver<Piece>,
    piece: Option<Buffer>,
    position: usize,
}

/// The end of a pipe that is written to.
#[derive(Debug)]
pub(super) struct PipeWriter<'p> {
    pool: &'p Pool,
    pieces: SyncSender<Piece>,
}

/// Runs `produce` here and `consume` in a thread of its own, which has ended when
/// this returns or unwinds.
pub(super) fn piped<'p, P, C: Send>(
    pool: &'p Pool,
    produce: impl FnOnce(PipeWriter<'p>) -> P,
    consume: impl FnOnce(&mut PipeReader) -> C + Send,
) -> io::Result<(P, C)> {
    thread::scope(|scope| {
        let (sender, pieces) = sync_channel(QUEUE);
        let consumer = Builder::new()
            .name("unpack".into())
            .spawn_scoped(scope, move || {
                consume(&mut PipeReader {
                    pieces,
                    piece: None,
                    position: 0,
                })
            })?;

        let produced = produce(PipeWriter {
            pool,
            pieces: sender,
        });
        Ok((produced, joined(consumer)))
    })
}

impl PipeWriter<'_> {
    /// Reads a buffer full from `source`. It is empty when the source has ended.
    pub(super) fn fill(&self, source: &mut impl Read) -> io::Result<Buffer> {
        let mut buffer = self.pool.take();
        buffer.fill(source)?;
        Ok(buffer)
    }

    /// Returns whether the reader still reads.
    pub(super) fn send(&self, buffer: Buffer) -> bool {
        self.pieces.send(Ok(buffer)).is_ok()
    }

    /// Lets the reader fail.
    pub(super) fn fail(self, error: io::Error) {
        // It may have enough already.
        drop(self.pieces.send(Err(error)));
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut rest = self
                .piece
                .as_deref()
                .and_then(|piece| piece.get(self.position..))
                .unwrap_or_default();
            if !rest.is_empty() {
                let count = rest.read(buffer)?;
                self.position += count;
                return Ok(count);
            }

            // The buffer goes home before we wait for the next.
            self.piece = None;
            self.position = 0;
            match self.pieces.recv() {
                Ok(piece) => self.piece = Some(piece?),
                Err(_) => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::pool::BUFFER;
    use super::*;

    /// Sends all of `content` as long as somebody reads.
    fn send(mut content: impl Read, pipe: &PipeWriter<'_>) -> bool {
        loop {
            let buffer = pipe.fill(&mut content).unwrap();
            if buffer.is_empty() {
                return true;
            }
            if !pipe.send(buffer) {
                return false;
            }
        }
    }

    #[test]
    fn far_more_than_the_buffers_hold_comes_through() {
        let pool = Pool::new(2);
        let content = (0..10 * BUFFER).map(|value| value.to_le_bytes()[2]);
        let content = content.collect::<Vec<_>>();

        let (sent, read) = piped(
            &pool,
            |pipe| send(&content[..], &pipe),
            |pipe| {
                let mut read = Vec::new();
                pipe.read_to_end(&mut read).map(|_| read)
            },
        )
        .unwrap();

        assert!(sent);
        assert!(read.unwrap() == content);
    }

    #[test]
    fn writer_is_never_ahead_by_more_than_the_buffers() {
        struct Counted<'a>(&'a AtomicUsize);
        impl Read for Counted<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.fetch_add(buffer.len(), Ordering::Relaxed);
                Ok(buffer.len())
            }
        }
        let (pool, written) = (Pool::new(3), AtomicUsize::new(0));

        let (_, ahead) = piped(
            &pool,
            |pipe| send(Counted(&written), &pipe),
            |pipe| {
                pipe.read_exact(&mut [0; 10]).unwrap();
                // It gets so far, and no further as long as nothing more is read.
                while written.load(Ordering::Relaxed) < 3 * BUFFER {
                    thread::yield_now();
                }
                written.load(Ordering::Relaxed)
            },
        )
        .unwrap();

        assert_eq!(ahead, 3 * BUFFER);
    }

    #[test]
    fn reader_that_has_enough_lets_the_writer_know() {
        let pool = Pool::new(2);

        let (sent, byte) = piped(
            &pool,
            |pipe| send(io::repeat(7), &pipe),
            |pipe| {
                let mut byte = [0];
                pipe.read_exact(&mut byte).map(|()| byte)
            },
        )
        .unwrap();

        assert!(!sent);
        assert_eq!(byte.unwrap(), [7]);
    }

    #[test]
    fn failure_is_read_after_what_came_before_it() {
        let pool = Pool::new(2);

        let ((), (read, error)) = piped(
            &pool,
            |pipe| {
                pipe.send(pipe.fill(&mut &b"content"[..]).unwrap());
                pipe.fail(io::Error::other("broken"));
            },
            |pipe| {
                let mut read = Vec::new();
                let error = pipe.read_to_end(&mut read).unwrap_err();
                (read, error)
            },
        )
        .unwrap();

        assert_eq!(read, b"content");
        assert_eq!(error.to_string(), "broken");
    }

    #[test]
    fn panic_at_either_end_leaves_no_thread_waiting() {
        let pool = Pool::new(1);

        let reader = catch_unwind(AssertUnwindSafe(|| {
            piped(
                &pool,
                |pipe| send(io::repeat(7), &pipe),
                |_| panic!("expected by this test"),
            )
        }));
        let writer = catch_unwind(AssertUnwindSafe(|| {
            piped(
                &pool,
                |_| panic!("expected by this test"),
                |pipe| io::copy(pipe, &mut io::sink()),
            )
        }));

        assert!(reader.is_err() && writer.is_err());
        assert!(pool.take().is_empty());
    }
}
