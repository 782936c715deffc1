//! What does not fit is counted to its end, so that it can be said how much is
//! missing.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aos_package::archive::Limits;
use tempfile::TempDir;

use super::support::{Device, ServiceParts, Tar, gzip};
use super::unpacking::unpack_within;
use crate::layermanager::allowance::BLOCK;
use crate::layermanager::fetch::{Fetched, PackageId, open_file};
use crate::layermanager::install::{Source, stage_service};
use crate::layermanager::package::Expected;
use crate::layermanager::space::{NoSpace, Room};
use crate::layermanager::{InstallError, UnpackError};
use crate::model::ServiceInfo;

/// Everything of all kinds, some of it more than once.
fn root() -> Vec<u8> {
    let large = "large".repeat(200_000);
    let tar = Tar::new()
        .directory("d")
        .file("d/large", &large)
        .hard_link("hard", "d/large")
        .file("implied/by/this", "small")
        .symlink("short", "d")
        .symlink("long", &"d/".repeat(50))
        .file("gone/.wh.file", "")
        .file("empty", "")
        .directory("d")
        .file("d/again", &large);
    (0..50)
        .fold(tar, |tar, number| tar.file(&format!("d/{number}"), "x"))
        .build()
}

/// Has so much, and notes what was taken of it.
struct Limited {
    left: u64,
    taken: Arc<AtomicU64>,
}

impl Room for Limited {
    fn take(&mut self, bytes: u64) -> Result<(), NoSpace> {
        assert_eq!(bytes % BLOCK, 0, "whole blocks");
        assert!(bytes <= 1 << 20, "no whole file at once");
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return Err(NoSpace::new("/room".into(), bytes - self.left)),
        }
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

fn expected<'a>(info: &'a ServiceInfo, id: &'a PackageId) -> Expected<'a> {
    Expected { url: &info.url, id }
}

fn open(info: &ServiceInfo) -> Fetched {
    let path = Path::new(info.url.trim_start_matches("file://"));
    open_file(path, info.size).unwrap()
}

/// Stages a service with so much room. What it took, and what came of it.
fn staged(info: &ServiceInfo, directory: &Path, left: u64) -> (u64, Result<(), InstallError>) {
    let taken = Arc::new(AtomicU64::new(0));
    let room = Limited {
        left,
        taken: Arc::clone(&taken),
    };
    let id = PackageId::from(info);
    let source = Source {
        expected: expected(info, &id),
        package: open(info),
        room: Ok(Box::new(room)),
        stopped: &|| false,
    };
    let result = stage_service(info, directory, source).map(drop);
    (taken.load(Ordering::Relaxed), result)
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn exactly_what_is_missing_is_told_wherever_the_room_ends() {
    let device = Device::new().await;
    let directory = TempDir::new().unwrap();
    for root in [root(), gzip(&root())] {
        let info = device.service("foo", 3, &ServiceParts::new(&root).build());
        let (needed, result) = staged(&info, directory.path(), u64::MAX);
        result.unwrap();
        let room = [0, 1, 17, 100, 250, 300, 400, 500].map(|blocks| blocks * BLOCK);

        for left in room.into_iter().chain([needed - BLOCK]) {
            assert!(left < needed, "{left} of {needed}");
            let (taken, result) = staged(&info, directory.path(), left);

            assert!(taken <= left);
            match result {
                Err(InstallError::NoSpace(refused)) => {
                    assert_eq!(left + refused.missing, needed, "with {left}");
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        }
        assert!(staged(&info, directory.path(), needed).1.is_ok());
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn what_is_taken_is_what_is_written() {
    let device = Device::new().await;
    let directory = TempDir::new().unwrap();
    let info = device.service("foo", 3, &ServiceParts::new(&root()).build());

    let (taken, _) = staged(&info, directory.path(), u64::MAX);
    device.content.install_service(&info).await.unwrap();

    let used = crate::layermanager::space::disk_usage(&device.services()).unwrap();
    let more = taken - used.bytes;
    assert!(more <= 24 * BLOCK, "{taken} for {}", used.bytes);
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn several_layers_are_counted_together() {
    let device = Device::new().await;
    let directory = TempDir::new().unwrap();
    let mut parts = ServiceParts::new(&root());
    // It could be a layer, for all that is known when it comes.
    let other = Tar::new().file("other", &"y".repeat(300_000)).build();
    parts.files.insert(0, ("other.tar".into(), other));
    let manifest = parts.manifest.to_string().into_bytes();
    parts.files.push(("manifest.json".into(), manifest));
    let package = super::support::tar_of(&parts.files);
    let info = device.service("foo", 3, &package);

    let (_, alone) = staged(
        &device.service("foo", 4, &ServiceParts::new(&root()).build()),
        directory.path(),
        0,
    );
    let (_, both) = staged(&info, directory.path(), 0);

    let missing = |result| match result {
        Err(InstallError::NoSpace(refused)) => refused.missing,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(both) - missing(alone), 74 * BLOCK);
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn wrong_sum_is_told_rather_than_missing_space() {
    let device = Device::new().await;
    let directory = TempDir::new().unwrap();
    let mut info = device.service("foo", 3, &ServiceParts::new(&root()).build());
    info.sha512[0] ^= 1;

    let (_, result) = staged(&info, directory.path(), 0);

    assert!(
        matches!(result, Err(InstallError::Package { .. })),
        "{result:?}"
    );
}

#[test]
fn damage_after_the_room_has_ended_is_told() {
    let tar = root();
    let root = TempDir::new().unwrap();

    let error = unpack_within(root.path(), &tar[..tar.len() - 2000], Limits::default(), 0);

    assert!(matches!(error, Err(UnpackError::Archive(_))), "{error:?}");
}

#[test]
fn counting_keeps_to_the_limits() {
    let root = TempDir::new().unwrap();
    let tar = (0..100).fold(Tar::new(), |tar, number| tar.file(&number.to_string(), "x"));
    let limits = Limits {
        bytes: 64 * 1024,
        ..Limits::default()
    };

    let error = unpack_within(root.path(), &tar.build(), limits, BLOCK).unwrap_err();

    assert_eq!(error.to_string(), "the archive has more than 65536 bytes");
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn stop_ends_an_install_wherever_it_is() {
    let device = Device::new().await;
    let directory = TempDir::new().unwrap();
    let info = device.service("foo", 3, &ServiceParts::new(&gzip(&root())).build());
    let mut asked = u64::MAX;

    for at in 0.. {
        let (count, was_told) = (AtomicU64::new(0), AtomicBool::new(false));
        let stopped = || {
            let stops = count.fetch_add(1, Ordering::Relaxed) >= at;
            was_told.fetch_or(stops, Ordering::Relaxed);
            stops
        };
        let id = PackageId::from(&info);
        let source = Source {
            expected: expected(&info, &id),
            package: open(&info),
            room: Ok(Box::new(Limited {
                left: u64::MAX,
                taken: Arc::default(),
            })),
            stopped: &stopped,
        };

        let result = stage_service(&info, directory.path(), source).map(drop);

        if !was_told.load(Ordering::Relaxed) {
            result.unwrap();
            asked = at;
            break;
        }
        assert!(matches!(result, Err(InstallError::Stopped)), "{result:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
    assert!(asked > 60, "asked {asked} times for 60 files");
}
