//! All that bounds a download.

use std::time::Duration;

/// Redirects that are followed in one attempt.
pub(super) const REDIRECTS: u32 = 5;
/// Bytes of a piece of the body. A status line with its headers is refused when it
/// is longer and what comes with the next piece does not end it.
pub(super) const BUFFER: usize = 64 << 10;
/// Headers of an answer.
pub(super) const HEADERS: usize = 64;
/// Pieces that wait for the reader: 2 MiB.
pub(super) const QUEUE: usize = 32;
/// Bytes of a spool between two syncs.
pub(super) const SYNC: u64 = 16 << 20;
/// How often an install may be told to begin again.
pub(super) const RESTARTS: u32 = 3;
/// How long a partial download is kept that nobody asks for.
pub(super) const STALE: Duration = Duration::from_hours(7 * 24);

/// How long a download waits for what.
#[derive(Clone, Copy, Debug)]
pub(in crate::layermanager) struct Patience {
    /// For name look-up and TCP.
    pub(super) connect: Duration,
    /// For the TLS handshake.
    pub(super) tls: Duration,
    /// From the request to the end of the headers.
    pub(super) answer: Duration,
    /// For a byte of the body.
    pub(super) stall: Duration,
    /// Shortest time between two attempts.
    pub(super) backoff_min: Duration,
    /// Longest time between two attempts, if the server asks for none.
    pub(super) backoff_max: Duration,
    /// Longest time between two attempts.
    pub(super) retry_after_max: Duration,
    /// Attempts without a byte before it is given up.
    pub(super) attempts: u32,
    /// Time without a byte before it is given up.
    pub(super) progress: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            tls: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            retry_after_max: Duration::from_mins(5),
            attempts: 8,
            progress: Duration::from_mins(10),
        }
    }
}
