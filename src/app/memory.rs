//! Memory goes back to the kernel when there is calm.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, warn};

/// For how long nothing must have changed.
const CALM: Duration = Duration::from_secs(5);

/// Gives back what the start, and each change of the instances, left. Ends when the
/// state has no sender any more.
pub(super) async fn give_back<T>(mut state: watch::Receiver<T>) {
    loop {
        loop {
            match timeout(CALM, state.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => break,
            }
        }
        match spawn_blocking(aos_memory::give_back).await {
            Ok(Ok(())) => debug!("memory was given back"),
            Ok(Err(error)) => warn!(%error, "memory cannot be given back"),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        if state.changed().await.is_err() {
            return;
        }
    }
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
}
