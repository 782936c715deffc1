//! One reload of systemd for all who need one.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Counts who needs a reload, and who was served.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    wanted: AtomicU64,
    served: Mutex<u64>,
}

impl Reloads {
    /// Returns when a reload that began after this call has ended. `reload` is
    /// called only if there was none.
    pub(crate) async fn reload<E, F>(&self, reload: impl FnOnce() -> F) -> Result<(), E>
    where
        F: Future<Output = Result<(), E>>,
    {
        let mine = self.wanted.fetch_add(1, Ordering::SeqCst) + 1;
        let mut served = self.served.lock().await;
        if *served >= mine {
            return Ok(());
        }
        let all = self.wanted.load(Ordering::SeqCst);
        reload().await?;
        *served = all;

        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn many_at_once_share_a_reload() {
        let reloads = Arc::new(Reloads::default());
        let count = Arc::new(AtomicU64::new(0));

        let mut calls = JoinSet::new();
        for _ in 0..32 {
            let (reloads, count) = (reloads.clone(), count.clone());
            calls.spawn(async move {
                reloads
                    .reload(async || {
                        tokio::task::yield_now().await;
                        count.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, Infallible>(())
                    })
                    .await
            });
        }
        calls.join_all().await;

        assert!(count.load(Ordering::SeqCst) <= 2);
    }

    #[tokio::test]
    async fn each_that_comes_later_gets_a_new_one() {
        let reloads = Reloads::default();
        let mut count = 0;

        for _ in 0..3 {
            reloads
                .reload(async || {
                    count += 1;
                    Ok::<_, Infallible>(())
                })
                .await
                .unwrap();
        }

        assert_eq!(count, 3);
    }

    #[tokio::test]
    async fn a_failed_reload_serves_nobody() {
        let reloads = Reloads::default();
        let mut tried_again = false;

        let first = reloads.reload(async || Err("no")).await;
        let second = reloads
            .reload(async || {
                tried_again = true;
                Ok::<_, &str>(())
            })
            .await;

        assert_eq!((first, second), (Err("no"), Ok(())));
        assert!(tried_again);
    }
}
