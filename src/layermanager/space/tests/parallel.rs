//! Many who want the last bytes at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::{JoinSet, spawn_blocking};

use super::device::{SPARE, Small};
use super::{KIB, Kind, Room};

const WRITERS: u64 = 16;
const BUFFER: u64 = 4 * KIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_writers_never_take_more_than_is_free() {
    let small = Small::with_free(400 * KIB);
    for name in ["a", "b", "c", "d"] {
        small.layer(name, 10, 50 * KIB).await;
    }
    let written = Arc::new(AtomicU64::new(0));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (space, disk) = (small.space.clone(), Arc::clone(&small.disk));
        let written = Arc::clone(&written);
        writers.spawn(async move {
            // Some know what they need, some do not.
            let known = if writer % 2 == 0 { 40 * KIB } else { 0 };
            let Ok(mut room) = space.reserve(Kind::Services, known).await else {
                return None;
            };
            let done = spawn_blocking(move || {
                for _ in 0..15 {
                    room.take(BUFFER).ok()?;
                    disk.write(BUFFER);
                    assert!(disk.free() >= SPARE, "{} are free", disk.free());
                    written.fetch_add(BUFFER, Ordering::SeqCst);
                }
                Some(())
            });
            done.await.unwrap()
        });
    }

    let done = writers.join_all().await;

    let completed = done.iter().flatten().count();
    assert!(completed >= 1, "somebody gets what he needs");
    assert!(completed < done.len(), "not everybody can");
    assert!(written.load(Ordering::SeqCst) <= 600 * KIB);
    assert!(small.disk.free() >= SPARE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_promises_are_all_kept() {
    let small = Small::with_free(100 * KIB);
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let space = small.space.clone();
        calls.spawn(async move { space.reserve(Kind::Layers, 7 * KIB).await });
    }

    let outcomes = calls.join_all().await;

    let promised = outcomes.iter().flatten().count();
    assert_eq!(promised, 14, "no more than are free, and no less");
    drop(outcomes);
    assert!(small.space.reserve(Kind::Layers, 100 * KIB).await.is_ok());
}
