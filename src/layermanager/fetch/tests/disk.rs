//! Partial downloads that are not what they should be, and files of the machine.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

use aos_package::hex;
use serde_json::{Value, json};

use super::super::{FetchError, PackageId};
use super::ground::{Ground, id_of, noise, read};
use super::server::{Reply, Server};

#[tokio::test]
async fn damage_that_the_sums_find_is_downloaded_again() {
    let content = noise(200_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    for complete in [false, true] {
        let mut ground = Ground::new();
        let length = if complete { content.len() } else { 100_000 };
        ground.leave(&server.url(), &id, length).await;
        // As a power cut may leave a block.
        let part = OpenOptions::new()
            .write(true)
            .open(ground.part(&id))
            .unwrap();
        part.write_all_at(&[0; 4096], 8192).unwrap();

        let bytes = ground.install(&server.url(), &id).await;

        assert_eq!(bytes.as_ref(), Ok(&content));
        assert_eq!(*server.offsets().last().unwrap(), 0);
        assert_eq!(ground.names(), [""; 0]);
    }
}

#[tokio::test]
async fn wrong_bytes_of_the_server_are_not_asked_for_again_nor_kept() {
    let content = noise(200_000);
    let mut wrong = content.clone();
    wrong[1000] ^= 1;
    let server = Server::of(&wrong).await;
    let ground = Ground::new();

    let told = ground.install(&server.url(), &id_of(&content)).await;

    assert_eq!(told, Err("SHA3-256 is wrong".into()));
    assert_eq!(server.asked().len(), 1);
    assert_eq!(ground.names(), [""; 0]);
}

#[tokio::test]
async fn server_that_gives_wrong_bytes_in_parts_is_given_up() {
    let content = noise(200_000);
    let mut wrong = content.clone();
    wrong[150_000] ^= 1;
    let server = Server::start(move |asked| {
        let reply = Reply::file(asked, &wrong, "\"a\"");
        if asked.offset() == 0 {
            reply.without_last(100_000)
        } else {
            reply
        }
    })
    .await;
    let ground = Ground::new();

    let told = ground.install(&server.url(), &id_of(&content)).await;

    assert_eq!(told, Err("SHA3-256 is wrong".into()));
    // Once, and three times again.
    assert_eq!(server.offsets(), [0, 100_000].repeat(4));
    assert_eq!(ground.names(), [""; 0]);
}

#[tokio::test]
async fn rejected_bytes_are_not_those_that_somebody_else_put_there_since() {
    let content = noise(100_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let ground = Ground::new();
    let (first, second) = (ground.interest(&id), ground.interest(&id));
    for interest in [&first, &second] {
        let fetched = ground.open(&server.url(), &id, interest).await.unwrap();
        read(fetched).await.unwrap();
    }

    first.reject();
    assert_eq!(ground.names(), [""; 0]);
    ground.obtain(&server.url(), &id, &first).await.unwrap();
    let again = second.reject();

    assert!(again);
    assert_eq!(ground.names().len(), 2);
}

#[tokio::test]
async fn description_is_there_and_says_whose_bytes_they_are() {
    let content = noise(100_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let mut ground = Ground::new();

    ground.leave(&server.url(), &id, 50_000).await;

    let meta: Value = serde_json::from_slice(&fs::read(ground.meta(&id)).unwrap()).unwrap();
    assert_eq!(
        meta,
        json!({
            "format": 1,
            "url": server.url(),
            "etag": "\"a\"",
            "lastModified": null,
            "size": 100_000,
            "sha3_256": hex(&id.sha3_256),
            "sha3_512": hex(&id.sha3_512),
        })
    );
    for path in [ground.part(&id), ground.meta(&id)] {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

#[tokio::test]
async fn partial_download_that_makes_no_sense_is_not_gone_on_with() {
    let content = noise(100_000);
    let id = id_of(&content);
    let changes: [fn(&Ground, &PackageId); 7] = [
        |ground, id| fs::remove_file(ground.meta(id)).unwrap(),
        |ground, id| fs::write(ground.meta(id), "{").unwrap(),
        |ground, id| replace(ground, id, "\"format\":1", "\"format\":2"),
        |ground, id| replace(ground, id, "\"size\":100000", "\"size\":100001"),
        |ground, id| replace(ground, id, &hex(&id.sha3_512), &hex(&[0; 64])),
        |ground, id| fs::write(ground.part(id), noise(100_001)).unwrap(),
        |ground, id| {
            fs::rename(ground.part(id), ground.downloads().join("other")).unwrap();
            symlink("other", ground.part(id)).unwrap();
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let server = Server::of(&content).await;
        let mut ground = Ground::new();
        ground.leave(&server.url(), &id, 50_000).await;
        change(&ground, &id);

        let bytes = ground.install(&server.url(), &id).await;

        assert_eq!(bytes.as_ref(), Ok(&content), "{index}");
        assert_eq!(server.offsets(), [0, 0], "{index}");
    }
}

fn replace(ground: &Ground, id: &PackageId, from: &str, to: &str) {
    let meta = fs::read_to_string(ground.meta(id)).unwrap();
    assert!(meta.contains(from), "{meta}");
    fs::write(ground.meta(id), meta.replace(from, to)).unwrap();
}

#[tokio::test]
async fn directory_that_cannot_be_written_is_named() {
    let content = noise(1000);
    let server = Server::of(&content).await;
    let ground = Ground::new();
    fs::write(ground.downloads(), "a file").unwrap();

    let told = ground
        .install(&server.url(), &id_of(&content))
        .await
        .unwrap_err();

    let path = ground.downloads().display().to_string();
    assert!(
        told.starts_with("cannot use ") && told.contains(&path),
        "{told}"
    );
}

#[tokio::test]
async fn file_is_read_where_it_is() {
    let content = noise(100_000);
    let ground = Ground::new();
    let path = ground.directory.path().join("package");
    fs::write(&path, &content).unwrap();
    let url = format!("file://{}", path.display());

    let bytes = ground.install(&url, &id_of(&content)).await;

    assert_eq!(bytes, Ok(content.clone()));
    assert_eq!(ground.names(), [""; 0]);
    let longer = PackageId {
        size: 100_001,
        ..id_of(&content)
    };
    let told = ground.install(&url, &longer).await;
    assert_eq!(told, Err("file is 100000 bytes, expected 100001".into()));
    let told = ground
        .install(&format!("{url}2"), &longer)
        .await
        .unwrap_err();
    assert!(told.starts_with("cannot open the file: "), "{told}");
    let told = ground.install("file:///", &longer).await;
    assert_eq!(told, Err("it is not a file".into()));
}

#[tokio::test]
async fn sums_that_are_none_are_refused() {
    let ground = Ground::new();
    let good = id_of(b"package");
    for id in [
        PackageId {
            sha3_256: vec![],
            ..good.clone()
        },
        PackageId {
            sha3_512: vec![0; 32],
            ..good.clone()
        },
    ] {
        let interest = ground.interest(&id);
        let error = ground
            .open("http://127.0.0.1/a", &id, &interest)
            .await
            .err();
        assert!(matches!(error, Some(FetchError::Sums)), "{error:?}");
    }
}
