//! Rows and directories agree again after a start, and nothing that may be in
//! use goes for that.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aos_package::hex;

use super::support::{Device, Tar, layer_package};
use crate::layermanager::{Users, store};
use crate::model::LayerInfo;

fn layer(device: &Device, text: &str) -> LayerInfo {
    let tar = Tar::new().file("file", text).build();
    device.layer(&tar, &layer_package(&tar))
}

fn path(device: &Device, info: &LayerInfo) -> PathBuf {
    device.layers().join(info.digest.replace(':', "/"))
}

async fn installed(device: &Device, text: &str) -> (LayerInfo, PathBuf) {
    let info = layer(device, text);
    device.content.install_layer(&info).await.unwrap();
    let path = path(device, &info);
    (info, path)
}

async fn execute(device: &Device, sql: &'static str) {
    let done = device
        .database
        .call(move |connection| Ok(connection.execute_batch(sql)?));
    done.await.unwrap();
}

async fn retain(device: &Device, info: &LayerInfo) {
    let digests = vec![info.digest.clone()];
    device.content.retain(vec![], digests).await.unwrap();
}

fn count(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[tokio::test]
async fn what_has_no_row_goes_with_the_first_retain_and_not_before() {
    let mut device = Device::new().await;
    let (info, kept) = installed(&device, "text").await;
    fs::write(kept.with_extension("files"), "").unwrap();
    let zeros = hex(&[0; 32]);
    let lefts = [
        "layers/.staging-1/content",
        "layers/other",
        &format!("layers/sha256/{zeros}"),
        &format!("layers/sha256/{zeros}.files"),
        "layers/sha256/other",
        "services/.staging-1/content/rootfs",
        "services/other",
        "services/gone.files",
        "extract/left",
    ];
    let lefts = lefts.map(|left| device.directory.path().join(left));
    for left in &lefts {
        fs::create_dir_all(left.parent().unwrap()).unwrap();
        if left.extension().is_some() {
            fs::write(left, "").unwrap();
        } else {
            fs::create_dir_all(left).unwrap();
        }
    }
    fs::write(device.services().join("file"), "").unwrap();
    let outside = device.directory.path().join("outside");
    fs::create_dir_all(outside.join("kept")).unwrap();
    std::os::unix::fs::symlink(&outside, device.services().join("link")).unwrap();

    device.restart().await;
    assert!(lefts.iter().all(|left| left.exists()), "{lefts:?}");
    retain(&device, &info).await;

    assert_eq!(count(&device.services()), 0);
    assert_eq!(count(&device.layers()), 1);
    assert_eq!(count(&device.layers().join("sha256")), 2, "with its record");
    assert_eq!(count(&device.directory.path().join("extract")), 0);
    assert!(kept.exists() && outside.join("kept").exists());
}

#[tokio::test]
async fn what_is_made_after_the_start_is_no_leftover() {
    let mut device = Device::new().await;
    device.restart().await;
    let staging = device.layers().join(".staging-2");
    fs::create_dir(&staging).unwrap();

    device.content.retain(vec![], vec![]).await.unwrap();

    assert!(staging.exists(), "an install may be at it");
}

#[tokio::test]
async fn lost_database_takes_nothing_from_what_runs() {
    let mut device = Device::new().await;
    let (_, run_on) = installed(&device, "run on").await;
    let (_, other) = installed(&device, "other").await;
    fs::write(run_on.with_extension("files"), "").unwrap();
    execute(&device, "DELETE FROM layers").await;
    let used = vec![run_on.clone()];
    device.settings.users = Users::new(move || Ok(used.clone()));

    device.restart().await;
    device.content.retain(vec![], vec![]).await.unwrap();

    assert!(run_on.join("file").exists() && run_on.with_extension("files").exists());
    assert!(!other.exists());
}

#[tokio::test]
async fn nothing_goes_as_long_as_nobody_knows_what_runs() {
    let mut device = Device::new().await;
    let (info, left) = installed(&device, "left").await;
    execute(&device, "DELETE FROM layers").await;
    let replaced = device.directory.path().join("replaced");
    fs::create_dir(&replaced).unwrap();
    let knows = Arc::new(AtomicBool::new(false));
    let known = Arc::clone(&knows);
    device.settings.users = Users::new(move || {
        let answer = known.load(Ordering::SeqCst).then(Vec::new);
        answer.ok_or_else(|| io::Error::other("a bundle cannot be read"))
    });
    device.restart().await;
    device.content.shared().replaced().push(replaced.clone());

    let error = device.content.retain(vec![], vec![]).await.unwrap_err();

    let text = super::support::told(&error);
    assert_eq!(
        text,
        "cannot find out what instances are made of: a bundle cannot be read"
    );
    assert!(left.exists() && replaced.exists());
    knows.store(true, Ordering::SeqCst);
    retain(&device, &info).await;
    assert!(!left.exists() && !replaced.exists());
}

#[tokio::test]
async fn replaced_content_stays_as_long_as_an_instance_runs_on_it() {
    let mut device = Device::new().await;
    let replaced = device.services().join("replaced");
    fs::create_dir_all(replaced.join("rootfs")).unwrap();
    let runs = Arc::new(AtomicBool::new(true));
    let (running, root) = (Arc::clone(&runs), replaced.join("rootfs"));
    device.settings.users = Users::new(move || {
        let used = running.load(Ordering::SeqCst).then(|| root.clone());
        Ok(used.into_iter().collect())
    });
    device.restart().await;
    device.content.shared().replaced().push(replaced.clone());

    device.content.retain(vec![], vec![]).await.unwrap();
    assert!(replaced.exists());

    runs.store(false, Ordering::SeqCst);
    device.content.retain(vec![], vec![]).await.unwrap();
    assert!(!replaced.exists());
}

#[tokio::test]
async fn start_keeps_what_mkfs_made() {
    let mut device = Device::new().await;
    fs::create_dir(device.services().join("lost+found")).unwrap();

    device.restart().await;
    device.content.retain(vec![], vec![]).await.unwrap();

    assert!(device.services().join("lost+found").exists());
}

#[tokio::test]
async fn start_removes_rows_without_a_directory() {
    let mut device = Device::new().await;
    let (_, path) = installed(&device, "text").await;
    fs::remove_dir_all(path).unwrap();

    device.restart().await;

    assert_eq!(store::layers(&device.database).await.unwrap(), []);
}

#[tokio::test]
async fn row_that_cannot_be_removed_does_not_fail_the_start() {
    let mut device = Device::new().await;
    let (info, path) = installed(&device, "text").await;
    fs::remove_dir_all(&path).unwrap();
    let refuse =
        "CREATE TRIGGER full BEFORE DELETE ON layers BEGIN SELECT RAISE(ABORT, 'full'); END";
    execute(&device, refuse).await;

    device.restart().await;

    execute(&device, "DROP TRIGGER full").await;
    assert_eq!(store::layers(&device.database).await.unwrap().len(), 1);
    device.content.install_layer(&info).await.unwrap();
    let rows = store::layers(&device.database).await.unwrap();
    assert!(device.layers().join(&rows[0].path).exists());
}

#[tokio::test]
async fn directory_that_cannot_be_used_fails_its_installs_and_nothing_else() {
    let mut device = Device::new().await;
    let left = device.services().join("left");
    fs::create_dir(&left).unwrap();
    fs::remove_dir_all(device.layers()).unwrap();
    fs::write(device.layers(), "no directory").unwrap();

    device.restart().await;
    device.content.retain(vec![], vec![]).await.unwrap();

    assert!(!left.exists(), "the other directory is swept");
    let info = layer(&device, "text");
    let error = device.content.install_layer(&info).await.unwrap_err();
    let text = super::support::told(&error);
    assert!(
        text.contains(&device.layers().display().to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn row_that_cannot_be_read_hides_no_other_and_is_installed_anew() {
    let mut device = Device::new().await;
    let (good, good_path) = installed(&device, "good").await;
    let (bad, _) = installed(&device, "bad").await;
    let digest = bad.digest.clone();
    let damage = "UPDATE layers SET path = CAST(x'ff' AS TEXT) WHERE digest = ?1";
    let damaged = device.database.call(move |connection| {
        connection.execute(damage, [digest])?;
        Ok(())
    });
    damaged.await.unwrap();

    device.restart().await;

    let rows = store::layers(&device.database).await.unwrap();
    assert_eq!(rows.len(), 1);
    retain(&device, &good).await;
    assert!(good_path.exists());
    device.content.install_layer(&bad).await.unwrap();
    assert_eq!(store::layers(&device.database).await.unwrap().len(), 2);
}

#[tokio::test]
async fn row_that_cannot_be_read_keeps_its_directory() {
    let mut device = Device::new().await;
    let (_, path) = installed(&device, "text").await;
    execute(&device, "UPDATE layers SET digest = CAST(x'ff' AS TEXT)").await;

    device.restart().await;
    device.content.retain(vec![], vec![]).await.unwrap();

    assert_eq!(store::layers(&device.database).await.unwrap(), []);
    assert!(path.exists());
}

#[tokio::test]
async fn row_that_does_not_say_where_keeps_all_but_what_was_cut_off() {
    let mut device = Device::new().await;
    let (_, path) = installed(&device, "text").await;
    execute(&device, "UPDATE layers SET path = ''").await;
    let (stray, staging) = (
        device.layers().join("other"),
        device.layers().join(".staging-1"),
    );
    let service = device.services().join("other");
    for directory in [&stray, &staging, &service] {
        fs::create_dir(directory).unwrap();
    }

    device.restart().await;
    device.content.retain(vec![], vec![]).await.unwrap();

    assert!(path.exists() && stray.exists());
    assert!(!staging.exists() && !service.exists());
}
