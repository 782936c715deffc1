//! Answers of others, kept as long as they say, within bounds.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::answer::Answer;
use crate::desk::Key;

/// Answers that are kept for a network.
const MOST_ENTRIES: usize = 512;
/// Bytes of them.
const MOST_BYTES: usize = 256 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: HashMap<Key, Entry>,
    /// By the time when they go; the number tells apart those of one moment.
    order: BTreeMap<(Instant, u64), Key>,
    next: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    came: Instant,
    goes: (Instant, u64),
}

impl Cache {
    /// The answer as it is now.
    pub(crate) fn get(&self, key: &Key, now: Instant) -> Option<Vec<u8>> {
        let entry = self.entries.get(key)?;
        (entry.goes.0 > now).then(|| entry.answer.message(now.duration_since(entry.came)))
    }

    /// Keeps an answer. For want of room those go that would go first.
    pub(crate) fn put(&mut self, key: Key, answer: Answer, now: Instant) {
        self.remove(&key);
        let size = size(&key, &answer);
        if answer.lifetime() < Duration::from_secs(1) || size > MOST_BYTES {
            return;
        }
        while self.entries.len() >= MOST_ENTRIES || self.bytes + size > MOST_BYTES {
            let Some((_, oldest)) = self.order.first_key_value() else {
                break;
            };
            let oldest = oldest.clone();
            self.remove(&oldest);
        }

        let goes = (now + answer.lifetime(), self.next);
        self.next += 1;
        self.bytes += size;
        self.order.insert(goes, key.clone());
        let entry = Entry {
            answer,
            came: now,
            goes,
        };
        self.entries.insert(key, entry);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.goes);
            self.bytes -= size(key, &entry.answer);
        }
    }
}

/// The name is there twice.
fn size(key: &Key, answer: &Answer) -> usize {
    2 * (key.name.len() + size_of::<Key>()) + answer.size()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::tests::{answer, key};

    #[tokio::test(start_paused = true)]
    async fn answer_goes_when_its_time_is_over() {
        let mut cache = Cache::default();
        let start = Instant::now();
        cache.put(key("a.b"), answer("a.b", 30, 1), start);

        let later = cache
            .get(&key("a.b"), start + Duration::from_secs(20))
            .unwrap();

        assert_eq!(later, answer("a.b", 10, 1).message(Duration::ZERO));
        assert_eq!(
            cache.get(&key("a.b"), start + Duration::from_secs(30)),
            None
        );
        assert_eq!(cache.get(&key("a.c"), start), None);
    }

    #[tokio::test(start_paused = true)]
    async fn answer_without_a_lifetime_is_not_kept() {
        let mut cache = Cache::default();
        let now = Instant::now();

        cache.put(key("a.b"), answer("a.b", 0, 1), now);

        assert_eq!(cache.get(&key("a.b"), now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn number_and_bytes_are_bounded_and_the_newest_stays() {
        let mut cache = Cache::default();
        let now = Instant::now();

        for n in 0..2 * MOST_ENTRIES {
            let name = format!("a.b{n}");
            cache.put(key(&name), answer(&name, 30, 1 + n % 50), now);
            assert!(cache.get(&key(&name), now).is_some());
            assert!(cache.bytes <= MOST_BYTES && cache.entries.len() <= MOST_ENTRIES);
            assert_eq!(cache.entries.len(), cache.order.len());
        }

        cache.clear();
        assert_eq!(cache.bytes, 0);
    }
}
