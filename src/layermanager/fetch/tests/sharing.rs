//! One download for all who want the same package.

use super::super::Downloads;
use super::ground::{Ground, id_of, noise, read, read_some};
use super::server::{Reply, Server};

#[tokio::test]
async fn two_at_the_same_time_make_one_request() {
    let content = noise(3_000_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let ground = Ground::new();
    let url = server.url();

    let (first, second) = tokio::join!(ground.install(&url, &id), ground.install(&url, &id));

    assert_eq!(first.as_ref(), Ok(&content));
    assert_eq!(second.as_ref(), Ok(&content));
    assert_eq!(server.asked().len(), 1);
    assert_eq!(ground.names(), [""; 0]);
}

#[tokio::test]
async fn who_comes_later_gets_the_bytes_of_who_came_first() {
    let content = noise(100_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let ground = Ground::new();
    let (first, second) = (ground.interest(&id), ground.interest(&id));

    let bytes = ground.obtain(&server.url(), &id, &first).await;
    first.finish();
    assert_eq!(bytes.as_ref(), Ok(&content));
    assert_eq!(ground.names().len(), 2);
    let bytes = ground.obtain(&server.url(), &id, &second).await;
    second.finish();

    assert_eq!(bytes, Ok(content));
    assert_eq!(server.asked().len(), 1);
    assert_eq!(ground.names(), [""; 0]);
}

#[tokio::test]
async fn who_waits_goes_on_when_the_first_one_gives_up() {
    let content = noise(5_000_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let ground = Ground::new();
    let url = server.url();
    let (first, second) = (ground.interest(&id), ground.interest(&id));
    let fetched = ground.open(&url, &id, &first).await.unwrap();
    let (_, fetched) = read_some(fetched, 1_000_000).await.unwrap();

    let waits = ground.obtain(&url, &id, &second);
    let gives_up = async {
        drop(fetched);
        drop(first);
    };
    let (bytes, ()) = tokio::join!(waits, gives_up);
    second.finish();

    assert_eq!(bytes, Ok(content));
    let offsets = server.offsets();
    assert!(
        matches!(offsets[..], [0, later] if later >= 1_000_000),
        "{offsets:?}"
    );
    // The first may come again: for it the bytes are kept.
    assert_eq!(ground.names().len(), 2);
}

#[tokio::test]
async fn other_packages_do_not_wait() {
    let (one, two) = (noise(5_000_000), noise(1000));
    let file = one.clone();
    let hanging = Server::start(move |asked| {
        Reply::file(asked, &file, "\"a\"")
            .without_last(10)
            .hanging()
    })
    .await;
    let server = Server::of(&two).await;
    let ground = Ground::new();
    let id = id_of(&one);
    let interest = ground.interest(&id);
    let _open = ground.open(&hanging.url(), &id, &interest).await.unwrap();

    let bytes = ground.install(&server.url(), &id_of(&two)).await;

    assert_eq!(bytes, Ok(two));
}

#[tokio::test]
async fn partial_downloads_go_for_room_unless_somebody_wants_them() {
    let (one, two) = (noise(300_000), noise(200_000));
    let (first, second) = (id_of(&one), id_of(&two));
    let (server, other) = (Server::of(&one).await, Server::of(&two).await);
    let mut ground = Ground::new();
    ground.leave(&server.url(), &first, 150_000).await;
    ground.leave(&other.url(), &second, 150_000).await;
    let wanted = ground.interest(&second);
    assert_eq!(wanted.spooled(), 150_000);

    let freed = evicted(&ground);

    assert!(freed >= 150_000, "{freed}");
    assert!(!ground.part(&first).exists() && ground.part(&second).exists());
    assert_eq!(evicted(&ground), 0);
    drop(wanted);
    assert!(evicted(&ground) >= 150_000);
    assert_eq!(ground.names(), [""; 0]);
}

#[tokio::test]
async fn downloads_are_told_while_they_last() {
    let content = noise(30_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let mut ground = Ground::new();
    ground.leave(&server.url(), &id, 15_000).await;
    let told = ground.fetcher.downloads();
    let interest = ground.interest(&id);

    let fetched = ground.open(&server.url(), &id, &interest).await.unwrap();

    let text = told.borrow().to_string();
    assert_eq!(text, "downloading service web version 3: 15 of 30 kB");
    read(fetched).await.unwrap();
    assert_eq!(*told.borrow(), Downloads::default());
}

/// Removes all that may go. Returns how many bytes that gives back.
fn evicted(ground: &Ground) -> u64 {
    let partial = ground.fetcher.partial();
    let removed = partial.abandoned().into_iter();
    removed
        .filter(|each| partial.remove(&each.path).unwrap())
        .map(|each| each.size.bytes)
        .sum()
}
