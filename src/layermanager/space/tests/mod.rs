//! Promises on a disk that is small.

mod device;
mod parallel;

use std::fs;

use super::{Amount, Kind, Room};
use crate::layermanager::shared::Item;
use device::{SPARE, Small};

const KIB: u64 = 1024;

#[tokio::test]
async fn what_is_promised_is_not_promised_again_until_it_is_given_back() {
    let small = Small::with_free(100 * KIB);

    let first = small.space.reserve(Kind::Services, 60 * KIB).await.unwrap();
    let refused = small.space.reserve(Kind::Layers, 60 * KIB).await;

    let error = refused.unwrap_err();
    assert_eq!(error.missing, 20 * KIB);
    let text = format!(
        "not enough space on {}: 20480 bytes missing (needs 61440, 40960 free, 0 could be made free)",
        small.layers().display()
    );
    assert_eq!(error.to_string(), text);
    drop(first);
    assert!(small.space.reserve(Kind::Layers, 60 * KIB).await.is_ok());
}

#[tokio::test]
async fn download_directory_shares_the_account() {
    let small = Small::with_free(100 * KIB);

    let _first = small
        .space
        .reserve(Kind::Downloads, 60 * KIB)
        .await
        .unwrap();

    assert!(small.space.reserve(Kind::Services, 60 * KIB).await.is_err());
}

#[tokio::test]
async fn refused_promise_takes_nothing() {
    let small = Small::with_free(100 * KIB);

    let refused = small.space.reserve(Kind::Services, 101 * KIB).await;

    assert!(refused.is_err());
    assert!(small.space.reserve(Kind::Services, 100 * KIB).await.is_ok());
}

#[tokio::test]
async fn oldest_goes_across_services_and_layers_and_no_more_than_needed() {
    let small = Small::with_free(10 * KIB);
    let young = small.service("young", 30, 50 * KIB).await;
    let old = small.layer("old", 10, 50 * KIB).await;
    let older = small.service("older", 5, 50 * KIB).await;
    let record = old.with_extension("files");
    fs::write(&record, "").unwrap();

    let _room = small.space.reserve(Kind::Services, 90 * KIB).await.unwrap();

    assert!(young.exists());
    assert!(!old.exists() && !older.exists() && !record.exists());
    assert_eq!(small.rows().await, ["young"]);
}

#[tokio::test]
async fn nothing_goes_when_all_of_it_would_not_do() {
    let small = Small::with_free(10 * KIB);
    let old = small.layer("old", 10, 50 * KIB).await;

    let error = small
        .space
        .reserve(Kind::Services, 90 * KIB)
        .await
        .unwrap_err();

    assert_eq!(error.missing, 30 * KIB);
    assert!(
        error.to_string().contains("51200 could be made free"),
        "{error}"
    );
    assert!(old.exists());
    assert_eq!(small.rows().await, ["old"]);
}

#[tokio::test]
async fn what_is_in_use_never_goes() {
    let small = Small::with_free(0);
    let used = small.layer("used", 10, 50 * KIB).await;
    small.use_layers().await;

    assert!(small.space.reserve(Kind::Services, 1).await.is_err());

    assert!(used.exists());
}

#[tokio::test]
async fn what_is_being_taken_into_use_is_passed_over_and_not_waited_for() {
    let small = Small::with_free(0);
    let old = small.layer("old", 10, 50 * KIB).await;
    let young = small.layer("young", 20, 50 * KIB).await;
    let lock = small.keeper.locks.lock(Item::Layer("old".into())).await;

    let room = small.space.reserve(Kind::Services, KIB).await.unwrap();

    assert!(old.exists() && !young.exists());
    drop(room);
    assert!(small.space.reserve(Kind::Services, 60 * KIB).await.is_err());
    drop(lock);
    assert!(small.space.reserve(Kind::Services, 60 * KIB).await.is_ok());
    assert!(!old.exists());
}

#[tokio::test]
async fn what_an_instance_runs_on_stays_whatever_its_row_says() {
    let small = Small::with_free(0);
    let run_on = small.layer("old", 10, 50 * KIB).await;
    small.users_say(Ok(vec![run_on.join("rootfs")]));

    assert!(small.space.reserve(Kind::Services, 1).await.is_err());

    assert!(run_on.exists());
    small.users_say(Err("no idea"));
    assert!(small.space.reserve(Kind::Services, 1).await.is_err());
    small.users_say(Ok(vec![]));
    assert!(small.space.reserve(Kind::Services, 1).await.is_ok());
}

#[tokio::test]
async fn partial_downloads_that_nobody_waits_for_go_first() {
    let small = Small::with_free(0);
    let old = small.layer("old", 10, 50 * KIB).await;
    let (left, wanted) = small.partial_downloads(50 * KIB);

    let room = small.space.reserve(Kind::Services, 40 * KIB).await.unwrap();

    assert!(old.exists() && !left.exists() && wanted.exists());
    drop(room);
    let _room = small.space.reserve(Kind::Services, 90 * KIB).await.unwrap();
    assert!(!old.exists() && wanted.exists());
}

#[tokio::test]
async fn row_goes_first_and_a_directory_that_stays_is_remembered() {
    let small = Small::with_free(0);
    let stuck = small.layer("stuck\0", 10, 50 * KIB).await;

    assert!(small.space.reserve(Kind::Services, 1).await.is_err());

    assert_eq!(small.rows().await, [""; 0]);
    assert_eq!(*small.keeper.replaced(), [stuck]);
}

#[tokio::test]
async fn sizes_that_rows_got_wrong_are_found_out_by_looking_again() {
    let small = Small::with_free(0);
    let liar = small.layer("liar", 10, KIB).await;
    small.row_says("liar", 500 * KIB).await;
    let other = small.layer("other", 20, 50 * KIB).await;

    let _room = small.space.reserve(Kind::Services, 40 * KIB).await.unwrap();

    assert!(!liar.exists() && !other.exists());
}

#[tokio::test]
async fn limit_counts_rows_promises_and_what_lost_its_row() {
    let small = Small::limited(1000 * KIB, 50);
    let half = (1000 * KIB + SPARE) / 2;
    small.service("old", 10, 100 * KIB).await;
    let replaced = small.services().join("replaced");
    fs::create_dir(&replaced).unwrap();
    fs::write(replaced.join("file"), vec![1; 100_000]).unwrap();
    let on_disk = super::disk_usage(&replaced).unwrap().bytes;
    small.keeper.replaced().push(replaced);
    let room = half - 100 * KIB - on_disk;

    let first = small
        .space
        .reserve(Kind::Services, room - 10)
        .await
        .unwrap();
    let second = small.space.reserve(Kind::Services, 10).await.unwrap();
    assert_eq!(small.rows().await, ["old"]);
    let third = small
        .space
        .reserve(Kind::Services, 100 * KIB)
        .await
        .unwrap();

    assert_eq!(small.rows().await, [""; 0], "its own directory makes room");
    let error = small.space.reserve(Kind::Services, 1).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("0 free of the 50 % of the partition"),
        "{error}"
    );
    assert!(small.space.reserve(Kind::Layers, 100 * KIB).await.is_ok());
    drop((first, second, third));
    assert!(small.space.reserve(Kind::Services, room).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_counts_once() {
    let small = Small::with_free(100 * KIB);
    let mut room = small.space.reserve(Kind::Services, 80 * KIB).await.unwrap();

    let disk = small.disk.clone();
    let room = tokio::task::spawn_blocking(move || {
        for _ in 0..20 {
            room.take(4 * KIB).unwrap();
            disk.write(4 * KIB);
        }
        room.take(0).unwrap();
        room
    })
    .await
    .unwrap();

    assert!(small.space.reserve(Kind::Services, 21 * KIB).await.is_err());
    let rest = small.space.reserve(Kind::Services, 20 * KIB).await.unwrap();
    drop((rest, room));
    assert!(small.space.reserve(Kind::Services, 20 * KIB).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_last_may_not_be_written_yet_and_is_promised_still() {
    let small = Small::with_free(100 * KIB);
    let mut room = small.space.reserve(Kind::Services, 80 * KIB).await.unwrap();
    let take = move |bytes| {
        tokio::task::spawn_blocking(move || {
            room.take(bytes).unwrap();
            room
        })
    };

    let mut room = take(80 * KIB).await.unwrap();

    assert!(small.space.reserve(Kind::Layers, 21 * KIB).await.is_err());
    small.disk.write(80 * KIB);
    let room = tokio::task::spawn_blocking(move || {
        room.take_inodes(1).unwrap();
        room.take(0).unwrap();
        room
    });
    let _room = room.await.unwrap();
    assert!(small.space.reserve(Kind::Layers, 20 * KIB).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn promise_grows_as_it_is_used_and_evicts_for_that() {
    let small = Small::with_free(10 * KIB);
    let old = small.layer("old", 10, 50 * KIB).await;
    let mut room = small.space.reserve(Kind::Services, 0).await.unwrap();

    let disk = small.disk.clone();
    let (taken, error) = tokio::task::spawn_blocking(move || {
        let mut taken = 0;
        loop {
            if let Err(error) = room.take(4 * KIB) {
                return (taken, error);
            }
            disk.write(4 * KIB);
            taken += 4 * KIB;
        }
    })
    .await
    .unwrap();

    assert_eq!(taken, 60 * KIB);
    assert!(!old.exists());
    assert_eq!(error.missing, 4 * KIB);
    assert!(small.space.reserve(Kind::Services, 1).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn inodes_run_out_too_and_cached_ones_make_room() {
    let small = Small::with_free(1000 * KIB);
    small.disk.leave_inodes(3);
    let old = small.layer("old", 10, KIB).await;
    let mut room = small.space.reserve(Kind::Services, 0).await.unwrap();

    let disk = small.disk.clone();
    let error = tokio::task::spawn_blocking(move || {
        room.take_inodes(3).unwrap();
        disk.leave_inodes(0);
        let error = room.take_inodes(9).unwrap_err();
        disk.leave_inodes(9);
        room.take_inodes(9).unwrap();
        error
    })
    .await
    .unwrap();

    assert!(old.exists());
    assert!(error.to_string().contains(" 7 inodes missing"), "{error}");
}

#[tokio::test]
async fn disk_that_does_not_tell_leaves_it_to_the_write() {
    let small = Small::with_free(0);
    small.disk.fall_silent();

    assert!(small.space.reserve(Kind::Services, KIB).await.is_ok());
}

#[test]
fn amounts_end_at_nothing_and_at_the_largest() {
    let (one, most) = (
        Amount {
            bytes: 1,
            inodes: 1,
        },
        Amount {
            bytes: u64::MAX,
            inodes: u64::MAX,
        },
    );

    assert_eq!(one.minus(most), Amount::default());
    assert_eq!(most.plus(one), most);
    assert_eq!(most.at_most(one), one);
}
