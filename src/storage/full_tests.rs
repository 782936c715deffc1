//! The database on disks that are small and full. As root: other tests have no
//! disk that they may fill.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

use super::Database;

/// A filesystem of 16 MB.
struct Disk {
    directory: TempDir,
}

impl Disk {
    fn tmpfs() -> Self {
        let directory = TempDir::new().unwrap();
        let point = directory.path().join("disk");
        fs::create_dir(&point).unwrap();
        let options = Some("size=16m");
        mount(
            Some("tmpfs"),
            &point,
            Some("tmpfs"),
            MsFlags::empty(),
            options,
        )
        .unwrap();
        Self { directory }
    }

    /// As devices have them, with blocks that only root may use.
    fn ext4() -> Self {
        let directory = TempDir::new().unwrap();
        let point = directory.path().join("disk");
        let image = directory.path().join("image");
        fs::create_dir(&point).unwrap();
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&image)
            .arg(&point));
        Self { directory }
    }

    fn both() -> [Self; 2] {
        [Self::tmpfs(), Self::ext4()]
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    fn database(&self) -> PathBuf {
        self.path().join("sm.db")
    }

    fn fill(&self) {
        fill(&self.path().join("filler"));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The connection of a test that failed may still be open.
        umount2(&self.path(), MntFlags::MNT_DETACH).unwrap();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Takes every byte that there is.
fn fill(path: &Path) {
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    for size in [1 << 16, 512, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    let error = file.write_all(b"x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    // Where blocks are only promised until they are written.
    drop(file.sync_all());
}

async fn open(path: PathBuf) -> Database {
    let opened = tokio::task::spawn_blocking(move || Database::open(&path));
    opened.await.unwrap().unwrap().database
}

/// Ends the owner thread, and with it the connection.
async fn close(database: Database, path: &Path) {
    drop(database);
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    while Path::new(&wal).exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn calls_go_on_when_the_disk_is_full() {
    for disk in Disk::both() {
        let database = open(disk.database()).await;
        database.set_value("list", "a").await.unwrap();
        disk.fill();

        // Far more than the journal holds, and at the end more than before.
        for round in 0..300 {
            disk.fill();
            let list = format!("{round}").repeat(5000);
            database.set_value("list", list.clone()).await.unwrap();
            assert_eq!(database.value("list").await.unwrap(), Some(list));
        }
        let size = fs::metadata(disk.path().join("sm.db-wal")).unwrap().len();
        assert!(size < 1 << 20, "{size}");
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn start_on_a_full_disk_uses_the_reserve_and_makes_it_again() {
    for disk in Disk::both() {
        let path = disk.database();
        let reserve = disk.path().join("sm.db.reserve");
        let database = open(path.clone()).await;
        database.set_value("list", "a").await.unwrap();
        // It is made between two calls.
        database.value("list").await.unwrap();
        assert!(reserve.exists());
        close(database, &path).await;
        disk.fill();

        let database = open(path.clone()).await;
        assert!(!reserve.exists());
        disk.fill();
        database.set_value("list", "b").await.unwrap();
        assert_eq!(database.value("list").await.unwrap().unwrap(), "b");

        fs::remove_file(disk.path().join("filler")).unwrap();
        database.set_value("list", "c").await.unwrap();
        database.value("list").await.unwrap();
        assert!(reserve.exists());
    }
}

#[tokio::test]
#[ignore = "needs root: run ci/test.sh"]
async fn what_does_not_fit_at_all_says_so_and_hurts_no_later_call() {
    for disk in Disk::both() {
        let database = open(disk.database()).await;
        database.set_value("list", "a").await.unwrap();
        disk.fill();

        let error = database.set_value("list", "b".repeat(8 << 20)).await;

        let error = error.unwrap_err();
        assert!(error.is_full(), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the disk is full: the database cannot be written"
        );
        assert_eq!(database.value("list").await.unwrap().unwrap(), "a");
        database.set_value("list", "c").await.unwrap();
        assert_eq!(database.value("list").await.unwrap().unwrap(), "c");
    }
}
