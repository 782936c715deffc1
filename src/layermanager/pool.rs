//! Buffers that go round between threads. There are so many and no more: whoever
//! runs ahead waits for one to come back, so they bound memory and queues alike.

use std::io::{self, Read};
use std::ops::Deref;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Bytes of a buffer.
pub(super) const BUFFER: usize = 256 * 1024;

/// Owns the buffers that nobody uses.
#[derive(Debug)]
pub(super) struct Pool {
    free: Receiver<Vec<u8>>,
    home: SyncSender<Vec<u8>>,
}

/// A buffer with content. It goes home when it is dropped, be it by a panic.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
    home: SyncSender<Vec<u8>>,
}

impl Pool {
    pub(super) fn new(count: usize) -> Self {
        let (home, free) = sync_channel(count);
        for _ in 0..count {
            // Its memory is taken when it is first used.
            home.try_send(vec![0; BUFFER])
                .expect("the queue has a place for each");
        }
        Self { free, home }
    }

    /// Waits for a buffer to be free.
    pub(super) fn take(&self) -> Buffer {
        let bytes = self.free.recv().expect("this pool has a sender itself");
        Buffer {
            bytes,
            filled: 0,
            home: self.home.clone(),
        }
    }
}

impl Buffer {
    /// Reads once. Returns whether the source has not ended.
    pub(super) fn read_once(&mut self, source: &mut (impl Read + ?Sized)) -> io::Result<bool> {
        let rest = self.bytes.get_mut(self.filled..).unwrap_or_default();
        loop {
            match source.read(rest) {
                Ok(count) => {
                    self.filled += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads until the buffer is full or the source ends. Content that was read
    /// before an error is kept.
    pub(super) fn fill(&mut self, source: &mut (impl Read + ?Sized)) -> io::Result<()> {
        while self.filled < self.bytes.len() && self.read_once(source)? {}
        Ok(())
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // Without a pool there is nobody to have it, and it is freed.
        drop(self.home.try_send(std::mem::take(&mut self.bytes)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn buffer_comes_back_empty_when_the_last_one_who_has_it_lets_it_go() {
        let pool = Pool::new(1);
        let mut buffer = pool.take();
        buffer.fill(&mut &b"content"[..]).unwrap();
        let one = Arc::new(buffer);
        let two = Arc::clone(&one);

        assert_eq!(**two, *b"content");
        assert!(pool.free.try_recv().is_err());
        drop(one);
        assert!(pool.free.try_recv().is_err());
        drop(two);

        assert_eq!(&*pool.take(), b"");
    }

    #[test]
    fn panic_of_who_has_a_buffer_does_not_lose_it() {
        let pool = Pool::new(1);
        let buffer = pool.take();

        let thread = thread::spawn(move || {
            let _held = buffer;
            panic!("expected by this test");
        });
        thread.join().unwrap_err();

        assert_eq!(pool.take().bytes.len(), BUFFER);
    }

    #[test]
    fn buffer_outlives_its_pool() {
        let pool = Pool::new(1);
        let mut buffer = pool.take();
        drop(pool);

        buffer.fill(&mut &b"content"[..]).unwrap();

        assert_eq!(&*buffer, b"content");
    }

    #[test]
    fn filling_ends_with_the_buffer_and_with_the_source() {
        let pool = Pool::new(2);
        let (mut large, mut small) = (pool.take(), pool.take());

        large.fill(&mut io::repeat(1)).unwrap();
        small.fill(&mut io::repeat(1).take(5)).unwrap();

        assert_eq!((large.len(), small.len()), (BUFFER, 5));
    }
}
