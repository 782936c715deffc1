//! Time that passes no faster than what happens meanwhile.
//!
//! The runtime's paused clock leaps to its next timer when nobody has anything to
//! do, and does not see that the database has: its thread takes its own time.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use super::Unit;

/// How often the launcher and the database may have to wait for each other.
const ROUNDS: usize = 4;

const STEPS: u32 = 20;

impl Unit {
    /// So much time passes, and what follows from it happens.
    pub(super) async fn later(&self, time: Duration) {
        self.calm().await;
        for _ in 0..STEPS {
            sleep(time / STEPS).await;
            self.calm().await;
        }
    }

    /// What can happen without time has happened.
    pub(super) async fn calm(&self) {
        for _ in 0..ROUNDS {
            at_once(self.launcher.alive()).await;
            for _ in 0..20 {
                yield_now().await;
            }
            at_once(self.database.call(|_| Ok(()))).await.unwrap();
        }
    }
}

/// Waits without letting the clock leap.
async fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
            Poll::Ready(value) => return value,
            Poll::Pending => yield_now().await,
        }
    }
}
