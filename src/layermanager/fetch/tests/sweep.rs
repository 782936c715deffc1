use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::super::limits::STALE;
use super::ground::{Ground, id_of, noise};
use super::server::Server;

async fn with_partial_download() -> (Ground, super::super::PackageId) {
    let content = noise(100_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let mut ground = Ground::new();
    ground.leave(&server.url(), &id, 50_000).await;
    (ground, id)
}

fn aged(ground: &Ground, id: &super::super::PackageId, now: SystemTime, age: Duration) {
    let part = File::options().write(true).open(ground.part(id)).unwrap();
    part.set_modified(now - age).unwrap();
}

#[tokio::test]
async fn partial_download_is_kept_for_a_week() {
    let (ground, id) = with_partial_download().await;
    let now = SystemTime::now();

    aged(&ground, &id, now, STALE);
    ground.fetcher.sweep(now).unwrap();
    assert_eq!(ground.names().len(), 2);

    aged(&ground, &id, now, STALE + Duration::from_secs(1));
    ground.fetcher.sweep(now).unwrap();
    assert_eq!(ground.names(), [""; 0]);
}

#[tokio::test]
async fn clock_that_was_set_back_removes_nothing() {
    let (ground, _) = with_partial_download().await;

    ground.fetcher.sweep(SystemTime::UNIX_EPOCH).unwrap();

    assert_eq!(ground.names().len(), 2);
}

#[tokio::test]
async fn what_is_no_partial_download_goes() {
    let (ground, id) = with_partial_download().await;
    let at = |name: &str| ground.downloads().join(name);
    let other = "0".repeat(64);
    fs::create_dir(at("lost+found")).unwrap();
    fs::create_dir_all(at("directory/of/another/release")).unwrap();
    fs::write(at("package.tar"), "of another release").unwrap();
    fs::write(at(&format!("{other}.part")), "bytes of nobody knows what").unwrap();
    fs::write(at(&format!("{other}1.json")), "{}").unwrap();
    fs::write(ground.meta(&id).with_extension("tmp"), "{").unwrap();
    fs::copy(ground.meta(&id), at(&format!("{other}.json"))).unwrap();

    ground.fetcher.sweep(SystemTime::now()).unwrap();

    let mut names = ground.names();
    names.sort();
    let file = |path: std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut kept = [
        file(ground.meta(&id)),
        file(ground.part(&id)),
        "lost+found".into(),
    ];
    kept.sort();
    assert_eq!(names, kept);
}

#[tokio::test]
async fn description_without_bytes_goes() {
    let (ground, id) = with_partial_download().await;
    fs::remove_file(ground.part(&id)).unwrap();

    ground.fetcher.sweep(SystemTime::now()).unwrap();

    assert_eq!(ground.names(), [""; 0]);
}

#[test]
fn directory_is_made_if_it_is_missing() {
    let ground = Ground::new();

    ground.fetcher.sweep(SystemTime::now()).unwrap();

    assert!(ground.downloads().is_dir());
}
