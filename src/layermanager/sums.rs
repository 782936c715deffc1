//! Size and SHA3 sums of a package, computed while it is read.

use std::io::{self, Read};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Builder, ScopedJoinHandle};

use aos_package::{PackageSums, Sha3Long, Sha3Short};

use super::pool::{Buffer, Pool};

/// Buffers between the reader and its slowest hasher.
pub(super) const BUFFERS: usize = 8;

/// A package, as far as `read` looked at it and beyond.
pub(super) struct Summed<T> {
    pub(super) outcome: T,
    pub(super) sums: PackageSums,
    pub(super) size: u64,
}

/// Gives `source` to `read`, reads what `read` leaves, and sums up all of it.
/// Each of the two sums is slower than reading, so each has its own thread. Both
/// have ended when this returns or unwinds.
pub(super) fn summed<T>(
    source: impl Read,
    read: impl FnOnce(&mut dyn Read) -> T,
) -> io::Result<Summed<T>> {
    thread::scope(|scope| {
        let (to_short, for_short) = sync_channel(BUFFERS);
        let (to_long, for_long) = sync_channel(BUFFERS);
        let short = Builder::new()
            .name("sha3-256".into())
            .spawn_scoped(scope, move || {
                let mut sum = Sha3Short::default();
                each(&for_short, |piece| sum.update(piece));
                sum.finish()
            })?;
        let long = Builder::new()
            .name("sha3-512".into())
            .spawn_scoped(scope, move || {
                let mut sum = Sha3Long::default();
                each(&for_long, |piece| sum.update(piece));
                sum.finish()
            })?;

        let mut tap = Tap {
            source,
            hashers: [to_short, to_long],
            pool: Pool::new(BUFFERS),
            piece: None,
            position: 0,
            size: 0,
            failed: None,
        };
        let outcome = read(&mut tap);
        let rest = tap.drain();
        let (size, failed) = (tap.size, tap.failed.take());
        drop(tap);

        let (sha3_256, sha3_512) = (joined(short), joined(long));
        if let Some(error) = failed {
            return Err(error);
        }
        rest?;
        Ok(Summed {
            outcome,
            sums: PackageSums { sha3_256, sha3_512 },
            size,
        })
    })
}

type Piece = Arc<Buffer>;

fn each(pieces: &Receiver<Piece>, mut take: impl FnMut(&[u8])) {
    while let Ok(piece) = pieces.recv() {
        take(&piece);
    }
}

/// A panic is passed on.
pub(super) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

struct Tap<R> {
    source: R,
    hashers: [SyncSender<Piece>; 2],
    pool: Pool,
    /// Read last, and looked at up to the position.
    piece: Option<Piece>,
    position: usize,
    size: u64,
    /// What the source failed with. It might go on, with a gap.
    failed: Option<io::Error>,
}

impl<R: Read> Tap<R> {
    /// Reads the next piece and has it hashed. Returns whether there is one.
    fn next(&mut self) -> io::Result<bool> {
        self.piece = None;
        self.position = 0;
        if let Some(error) = &self.failed {
            return Err(copy_of(error));
        }
        let mut buffer = self.pool.take();
        match buffer.read_once(&mut self.source) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => {
                let copy = copy_of(&error);
                self.failed = Some(error);
                return Err(copy);
            }
        }

        let piece = Arc::new(buffer);
        for hasher in &self.hashers {
            hasher
                .send(Arc::clone(&piece))
                .map_err(|_| io::Error::other("a hasher failed"))?;
        }
        self.size += piece.len() as u64;
        self.piece = Some(piece);
        Ok(true)
    }

    fn drain(&mut self) -> io::Result<()> {
        while self.next()? {}
        Ok(())
    }
}

/// What others are told of an error that is kept.
fn copy_of(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = |tap: &Self| {
            let piece = tap.piece.as_deref();
            piece.is_some_and(|piece| piece.len() > tap.position)
        };
        if !left(self) && !self.next()? {
            return Ok(0);
        }

        let piece = self.piece.as_deref().map(|piece| &**piece);
        let mut rest = piece
            .and_then(|piece| piece.get(self.position..))
            .unwrap_or_default();
        let count = rest.read(buffer)?;
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn content() -> Vec<u8> {
        (0..3_000_000_u32)
            .map(|value| value.to_le_bytes()[1])
            .collect()
    }

    #[test]
    fn all_bytes_count_whether_they_were_looked_at_or_not() {
        let content = content();

        let summed = summed(&content[..], |source| {
            let mut start = [0; 10];
            source.read_exact(&mut start).map(|()| start)
        })
        .unwrap();

        assert_eq!(summed.outcome.unwrap(), content[..10]);
        assert_eq!(summed.sums, PackageSums::of(&content));
        assert_eq!(summed.size, content.len() as u64);
    }

    #[test]
    fn bytes_come_as_they_are_however_they_are_read() {
        /// Gives a few bytes at a time.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = buffer.len().min(777);
                self.0.read(&mut buffer[..count])
            }
        }

        let content = content();
        let summed = summed(Slow(&content), |source| {
            let mut all = Vec::new();
            source.take(50).read_to_end(&mut all).unwrap();
            source.read_to_end(&mut all).unwrap();
            all
        })
        .unwrap();

        assert!(summed.outcome == content);
        assert_eq!(summed.sums, PackageSums::of(&content));
    }

    #[test]
    fn source_that_fails_is_an_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }

        assert!(summed(Broken, |_| ()).is_err());
    }

    #[test]
    fn source_that_goes_on_after_it_failed_is_not_read_on() {
        struct Gap(u8);
        impl Read for Gap {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    2 => Err(io::Error::other("broken")),
                    4.. => Ok(0),
                    _ => Ok(buffer.len()),
                }
            }
        }

        let result = summed(Gap(0), |source| io::copy(source, &mut io::sink()).is_err());

        assert_eq!(result.err().unwrap().to_string(), "broken");
    }

    #[test]
    fn panic_of_the_reader_leaves_no_thread_waiting() {
        let content = content();

        let panic = catch_unwind(AssertUnwindSafe(|| {
            summed(&content[..], |source| {
                source.read_exact(&mut [0; 10]).unwrap();
                panic!("expected by this test");
            })
        }));

        assert!(panic.is_err());
    }
}
