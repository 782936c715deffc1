//! Memory goes back to the kernel when there is calm.

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, warn};

/// For how long nothing must have changed.
const CALM: Duration = Duration::from_secs(5);
/// How often it is looked, in calm, at what the work that comes by itself has left:
/// monitoring, the look at certificates, the check of content.
const LOOK: Duration = Duration::from_secs(10);
/// So many bytes more than were left last time are worth it: what the work of each ten
/// seconds comes by is less, and would come back at once.
const WORTH: u64 = 6 * 1024 * 1024;

/// Gives back what the start, each change of the instances, and all other work left. Ends
/// when the state has no sender any more.
pub(super) async fn give_back<T>(mut state: watch::Receiver<T>) {
    let mut held = 0;
    let mut wait = CALM;
    loop {
        match timeout(wait, state.changed()).await {
            Ok(Ok(())) => (held, wait) = (0, CALM),
            Ok(Err(_)) => return,
            Err(_) => {
                held = in_calm(held).await;
                wait = LOOK;
            }
        }
    }
}

/// Gives back what is worth it, after `held` bytes were left last time. Returns how many
/// are to be compared with next time.
async fn in_calm(held: u64) -> u64 {
    match spawn_blocking(move || give_back_above(held)).await {
        Ok(Ok(left)) => left,
        Ok(Err(error)) => {
            warn!(%error, "memory cannot be given back, which is not tried again");
            u64::MAX
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn give_back_above(held: u64) -> io::Result<u64> {
    let before = aos_memory::resident()?;
    if before <= held.saturating_add(WORTH) {
        return Ok(before.min(held));
    }

    aos_memory::give_back()?;
    let left = aos_memory::resident()?;
    debug!(before, left, "memory was given back");
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_with_the_state() {
        let (sender, state) = watch::channel(0);
        let ends = tokio::spawn(give_back(state));

        sender.send(1).expect("somebody listens");
        drop(sender);

        timeout(Duration::from_secs(60), ends)
            .await
            .expect("it ends")
            .expect("without a panic");
    }

    #[tokio::test]
    async fn only_what_is_worth_it_is_given_back() {
        let block = vec![1_u8; 8 * 1024 * 1024];
        let held = in_calm(0).await;
        assert!(held > 0, "{} bytes are worth it", block.len());

        // Of less than before nothing is given back; it is what counts from now on.
        let less = in_calm(u64::MAX).await;
        assert!((1..u64::MAX).contains(&less), "{less}");
    }
}
