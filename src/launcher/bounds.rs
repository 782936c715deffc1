//! How much of what costs memory and processors is done at the same time.
//!
//! Work is begun without a bound where it only waits. What has a bound here waits
//! for its turn first; the time for it counts from its turn on. Work that takes
//! much longer than it should gives its turn to the next one and goes on beside: a
//! runtime that hangs holds up its own instance, not the others.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::host::Resource;
use super::probes::Check;

/// Runtimes that may start containers at the same time, and as many that may
/// stop them. Each is some processes of 10 MB and more.
const RUNTIMES: usize = 16;

/// As many more, of each kind, may hang.
const HANGING: usize = 128;

/// Longer than a runtime takes that works, on a slow device as well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Commands that may be run in containers at the same time: each is a runtime.
const COMMANDS: usize = 4;

/// Roots that may be mounted at the same time. Each is a thread that blocks, and
/// some open files.
const MOUNTS: usize = 8;

/// The bounds of one launcher.
#[derive(Debug)]
pub(super) struct Bounds {
    starts: Turns,
    stops: Turns,
    mounts: Turns,
    commands: Turns,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            starts: Turns::new(RUNTIMES, HANGING),
            stops: Turns::new(RUNTIMES, HANGING),
            mounts: Turns::new(MOUNTS, 0),
            commands: Turns::new(COMMANDS, HANGING),
        }
    }
}

impl Bounds {
    /// Takes a resource when it is its turn.
    pub(super) async fn acquire<T>(&self, resource: Resource, work: impl Future<Output = T>) -> T {
        match resource {
            Resource::Unit => self.starts.take(work).await,
            Resource::RootFilesystem => self.mounts.take(work).await,
            Resource::Secret | Resource::Network | Resource::Spec => work.await,
        }
    }

    /// Gives a resource back when it is its turn.
    pub(super) async fn release<T>(&self, resource: Resource, work: impl Future<Output = T>) -> T {
        match resource {
            Resource::Unit => self.stops.take(work).await,
            Resource::RootFilesystem => self.mounts.take(work).await,
            Resource::Secret | Resource::Network | Resource::Spec => work.await,
        }
    }
}

impl Bounds {
    /// Asks a probe when it is its turn.
    pub(super) async fn probe<T>(&self, check: &Check, work: impl Future<Output = T>) -> T {
        match check {
            Check::Exec(_) => self.commands.take(work).await,
            Check::Tcp(_) | Check::Http { .. } => work.await,
        }
    }
}

/// So many at a time, and so many more that hang.
#[derive(Debug)]
struct Turns {
    now: Semaphore,
    hanging: Semaphore,
}

impl Turns {
    fn new(now: usize, hanging: usize) -> Self {
        Self {
            now: Semaphore::new(now),
            hanging: Semaphore::new(hanging),
        }
    }

    async fn take<T>(&self, work: impl Future<Output = T>) -> T {
        let turn = self.now.acquire().await;
        let mut work = pin!(work);
        if let Ok(done) = timeout(PATIENCE, &mut work).await {
            return done;
        }

        // Without a place among those that hang it keeps its turn.
        tokio::select! {
            done = &mut work => done,
            hanging = self.hanging.acquire() => {
                drop(turn);
                let done = work.await;
                drop(hanging);
                done
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use tokio::task::{JoinSet, yield_now};
    use tokio::time::Instant;

    use super::*;

    fn hang(turns: &Arc<Turns>, count: usize) -> JoinSet<()> {
        let mut hung = JoinSet::new();
        for _ in 0..count {
            let turns = turns.clone();
            hung.spawn(async move { turns.take(pending()).await });
        }
        hung
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_hang_give_their_turns_to_the_others() {
        let turns = Arc::new(Turns::new(2, 3));
        let begin = Instant::now();
        let _hung = hang(&turns, 3);
        yield_now().await;

        turns.take(async {}).await;

        assert_eq!(begin.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_hang_than_may() {
        let turns = Arc::new(Turns::new(2, 3));
        let mut hung = hang(&turns, 5);
        yield_now().await;

        let beside = timeout(PATIENCE * 100, turns.take(async {})).await;
        hung.abort_all();
        while hung.join_next().await.is_some() {}
        turns.take(async {}).await;

        assert!(beside.is_err());
        assert_eq!(turns.now.available_permits(), 2);
        assert_eq!(turns.hanging.available_permits(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_ends_while_all_places_are_taken_is_not_held_up() {
        let turns = Arc::new(Turns::new(2, 0));
        let work = tokio::time::sleep(PATIENCE * 2);
        let begin = Instant::now();

        turns.take(work).await;

        assert_eq!(begin.elapsed(), PATIENCE * 2);
        assert_eq!(turns.now.available_permits(), 2);
    }
}
