//! Installed services, read once for all who ask at the same time.
//!
//! When SM starts, all its instances ask at once, and most of them run the same few
//! services. What did not change is one value for all of them, however many they are.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::model::{ServiceContent, ServiceKey};

/// What is known of each service.
#[derive(Debug, Default)]
pub(super) struct Services {
    known: Mutex<HashMap<ServiceKey, Arc<Known>>>,
}

#[derive(Debug, Default)]
struct Known {
    /// Those who have asked.
    asked: AtomicU64,
    last: tokio::sync::Mutex<Last>,
}

/// What was read last.
#[derive(Debug, Default)]
struct Last {
    /// Of those who have asked, how many had done so when the read began.
    served: u64,
    content: Weak<ServiceContent>,
}

impl Services {
    /// A service as it was read after this call. `read` is called only if nobody
    /// else has begun to read it since.
    pub(super) async fn get<E, F>(
        &self,
        key: &ServiceKey,
        read: impl FnOnce() -> F,
    ) -> Result<Arc<ServiceContent>, E>
    where
        F: Future<Output = Result<ServiceContent, E>>,
    {
        let known = self.known(key);
        let mine = known.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = known.last.lock().await;
        if last.served >= mine
            && let Some(content) = last.content.upgrade()
        {
            return Ok(content);
        }

        let all = known.asked.load(Ordering::SeqCst);
        let content = read().await?;
        let same = last.content.upgrade().filter(|last| **last == content);
        let content = same.unwrap_or_else(|| Arc::new(content));
        *last = Last {
            served: all,
            content: Arc::downgrade(&content),
        };

        Ok(content)
    }

    /// Those that nobody has or asks for are forgotten.
    fn known(&self, key: &ServiceKey) -> Arc<Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| {
            Arc::strong_count(known) > 1
                || known
                    .last
                    .try_lock()
                    .is_ok_and(|last| last.content.strong_count() > 0)
        });

        Arc::clone(known.entry(key.clone()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use aos_package::{ImageConfig, ServiceConfig};
    use futures_util::future::join_all;

    use super::*;

    fn installed(id: &str) -> ServiceContent {
        ServiceContent {
            key: ServiceKey {
                id: id.into(),
                version: 1,
            },
            provider_id: "provider".into(),
            gid: 3000,
            manifest_digest: "sha256:00".to_owned(),
            root: "/content/root".into(),
            layers: Vec::new(),
            layer_digests: Vec::new(),
            image: ImageConfig::default(),
            config: ServiceConfig::default(),
        }
    }

    async fn read(
        services: &Services,
        content: &ServiceContent,
        reads: &Cell<u32>,
    ) -> Arc<ServiceContent> {
        let outcome = services.get(&content.key, || async {
            reads.set(reads.get() + 1);
            tokio::task::yield_now().await;
            Ok::<_, ()>(content.clone())
        });
        outcome.await.unwrap()
    }

    #[tokio::test]
    async fn those_who_ask_together_share_a_read() {
        let (services, reads) = (Services::default(), Cell::new(0));
        let content = installed("service");

        let all = join_all((0..100).map(|_| read(&services, &content, &reads))).await;

        assert!(reads.get() <= 2, "{}", reads.get());
        assert!(all.iter().all(|each| Arc::ptr_eq(each, &all[0])));
    }

    #[tokio::test]
    async fn who_asks_later_gets_what_is_there_then() {
        let (services, reads) = (Services::default(), Cell::new(0));
        let old = installed("service");
        let new = ServiceContent {
            gid: old.gid + 1,
            ..old.clone()
        };

        let first = read(&services, &old, &reads).await;
        let again = read(&services, &old, &reads).await;
        let changed = read(&services, &new, &reads).await;

        assert_eq!(reads.get(), 3);
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(*changed, new);
    }

    #[tokio::test]
    async fn each_learns_of_an_error_by_itself() {
        let services = Services::default();
        let content = installed("service");

        let refused: Result<_, u8> = services.get(&content.key, || async { Err(7) }).await;
        let found = services.get(&content.key, || async { Ok::<_, u8>(content.clone()) });

        assert_eq!(refused, Err(7));
        assert_eq!(*found.await.unwrap(), content);
    }

    #[tokio::test]
    async fn nothing_is_kept_for_nobody() {
        let (services, reads) = (Services::default(), Cell::new(0));
        drop(read(&services, &installed("gone"), &reads).await);

        drop(read(&services, &installed("other"), &reads).await);

        assert_eq!(services.known.lock().unwrap().len(), 1);
    }
}
