//! Size and SHA3 sums of a package file, computed while it is read.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Builder};

use aos_package::{PackageSums, Sha3Long, Sha3Short};

/// Pieces that may wait for a hasher.
const QUEUE: usize = 8;

/// A file, as far as `read` looked at it and beyond.
pub(super) struct Summed<T> {
    pub(super) outcome: T,
    pub(super) sums: PackageSums,
    pub(super) size: u64,
}

/// Gives `source` to `read`, reads what `read` leaves, and sums up all of it.
/// Each of the two sums is slower than reading, so each has its own thread.
pub(super) fn summed<T>(
    source: impl Read,
    read: impl FnOnce(&mut dyn Read) -> T,
) -> io::Result<Summed<T>> {
    thread::scope(|scope| {
        let (to_short, for_short) = sync_channel(QUEUE);
        let (to_long, for_long) = sync_channel(QUEUE);
        let short = Builder::new().spawn_scoped(scope, move || {
            let mut sum = Sha3Short::default();
            each(&for_short, |piece| sum.update(piece));
            sum.finish()
        })?;
        let long = Builder::new().spawn_scoped(scope, move || {
            let mut sum = Sha3Long::default();
            each(&for_long, |piece| sum.update(piece));
            sum.finish()
        })?;

        let mut tap = Tap {
            source,
            hashers: [to_short, to_long],
            size: 0,
        };
        let outcome = read(&mut tap);
        let rest = drain(&mut tap);
        let size = tap.size;
        drop(tap);

        let joined = (short.join(), long.join());
        rest?;
        let (Ok(sha3_256), Ok(sha3_512)) = joined else {
            return Err(io::Error::other("a hasher failed"));
        };
        Ok(Summed {
            outcome,
            sums: PackageSums { sha3_256, sha3_512 },
            size,
        })
    })
}

type Piece = Arc<[u8]>;

fn each(pieces: &Receiver<Piece>, mut take: impl FnMut(&[u8])) {
    while let Ok(piece) = pieces.recv() {
        take(&piece);
    }
}

fn drain(source: &mut dyn Read) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

struct Tap<R> {
    source: R,
    hashers: [SyncSender<Piece>; 2],
    size: u64,
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let (bytes, _) = buffer.split_at(count);
        let piece = Piece::from(bytes);
        for hasher in &self.hashers {
            hasher
                .send(Arc::clone(&piece))
                .map_err(|_| io::Error::other("a hasher failed"))?;
        }
        self.size += count as u64;

        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_count_whether_they_were_looked_at_or_not() {
        let content = (0..3_000_000_u32)
            .map(|value| value.to_le_bytes()[1])
            .collect::<Vec<_>>();

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
    fn source_that_fails_is_an_error() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }

        assert!(summed(Broken, |_| ()).is_err());
    }
}
