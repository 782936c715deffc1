//! How fast content is read, and what it leaves behind in memory.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::compare::Depth;
use crate::layermanager::locks::locked;

/// Proof: only what was touched is read, and somebody waits for it.
pub(super) struct Hasty;

impl Depth for Hasty {
    fn reads_all(&self) -> bool {
        false
    }

    fn reader(&mut self, file: File) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(file))
    }

    fn read(&mut self, _: &File) {}
}

/// How fast the background check may read.
#[derive(Debug)]
pub(super) struct Speed {
    bytes_per_second: u64,
    /// Somebody waits for the result.
    full: Mutex<bool>,
    changed: Condvar,
}

impl Speed {
    pub(super) fn new(bytes_per_second: u64, full: bool) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            full: Mutex::new(full),
            changed: Condvar::new(),
        }
    }

    /// As fast as it goes from now on.
    pub(super) fn go(&self) {
        *locked(&self.full) = true;
        self.changed.notify_all();
    }

    /// Waits for as long as these bytes may take that were read since `began`.
    fn wait(&self, bytes: u64, began: Instant) {
        let due = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let rest = due.saturating_sub(began.elapsed());
        let full = locked(&self.full);
        // Whether it was woken or not: it goes on.
        drop(self.changed.wait_timeout_while(full, rest, |full| !*full));
    }
}

/// Check: all is read, from the disk if possible, and does not push what is
/// needed out of memory.
pub(super) struct Thorough<'a> {
    pub(super) speed: &'a Speed,
    pub(super) bytes: u64,
}

impl Depth for Thorough<'_> {
    fn reads_all(&self) -> bool {
        true
    }

    fn reader(&mut self, file: File) -> io::Result<Box<dyn Read + '_>> {
        // What is in memory says nothing of the disk.
        forget(&file);
        Ok(Box::new(Slow {
            file,
            speed: self.speed,
            bytes: &mut self.bytes,
        }))
    }

    fn read(&mut self, file: &File) {
        forget(file);
    }
}

/// Pages that nobody has mapped go. That they stay is no fault.
fn forget(file: &File) {
    if let Err(errno) = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED) {
        tracing::debug!(%errno, "cannot drop pages");
    }
}

struct Slow<'a> {
    file: File,
    speed: &'a Speed,
    bytes: &'a mut u64,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let began = Instant::now();
        let count = self.file.read(buffer)?;
        *self.bytes += count as u64;
        self.speed.wait(count as u64, began);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_takes_as_long_as_it_may_and_no_longer_once_it_is_wanted() {
        let speed = Speed::new(1000, false);
        let began = Instant::now();

        speed.wait(50, began);
        let slow = began.elapsed();
        speed.go();
        speed.wait(1_000_000, began);

        assert!(slow >= Duration::from_millis(50), "{slow:?}");
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}
