//! The clocks of the fake machine: they go with the runtime's, and jump on demand.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::launcher::host::Moment;

/// Where the wall clock starts: later than any build of the program.
const START: Duration = Duration::from_secs(4_000_000_000);

#[derive(Debug)]
pub(in crate::launcher) struct FakeClocks {
    wall: SystemTime,
    boots: u32,
    booted: Instant,
}

impl Default for FakeClocks {
    fn default() -> Self {
        Self {
            wall: UNIX_EPOCH + START,
            boots: 1,
            booted: Instant::now(),
        }
    }
}

impl FakeClocks {
    pub(in crate::launcher) fn now(&self) -> Moment {
        Moment {
            wall: self.wall + self.booted.elapsed(),
            since_boot: self.booted.elapsed(),
            boot: Arc::from(format!("boot {}", self.boots)),
        }
    }

    /// The wall clock is set.
    pub(in crate::launcher) fn set(&mut self, wall: SystemTime) {
        self.wall = wall - self.booted.elapsed();
    }

    /// The machine boots, with this on its wall clock.
    pub(in crate::launcher) fn boot(&mut self, wall: SystemTime) {
        self.boots += 1;
        self.booted = Instant::now();
        self.wall = wall;
    }
}
