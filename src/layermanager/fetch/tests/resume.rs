//! Going on where an earlier attempt, install or process ended.

use std::fs;

use super::ground::{Ground, id_of, noise, read, read_some};
use super::server::{Reply, Server};

#[tokio::test]
async fn whole_package_comes_in_one_request_and_nothing_is_left() {
    let content = noise(3_000_000);
    let server = Server::of(&content).await;
    let ground = Ground::new();

    let bytes = ground.install(&server.url(), &id_of(&content)).await;

    assert_eq!(bytes, Ok(content));
    let [asked] = &server.asked()[..] else {
        panic!("{:?}", server.asked())
    };
    assert_eq!(asked.target, "/package");
    assert_eq!(asked.header("range"), None);
    assert_eq!(asked.header("accept-encoding"), Some("identity"));
    assert_eq!(ground.names(), [""; 0]);
}

#[tokio::test]
async fn cut_connection_is_gone_on_with_where_it_ended() {
    let content = noise(1_000_000);
    let file = content.clone();
    let mut cuts = vec![100_000, 500_000, 999_999].into_iter();
    let server = Server::start(move |asked| {
        let reply = Reply::file(asked, &file, "\"a\"");
        match cuts.next() {
            Some(cut) => reply.without_last(cut.min(file.len() - asked.offset() - 1)),
            None => reply,
        }
    })
    .await;
    let ground = Ground::new();

    let bytes = ground.install(&server.url(), &id_of(&content)).await;

    assert_eq!(bytes, Ok(content));
    assert_eq!(server.offsets(), [0, 900_000, 900_001, 900_002]);
    assert_eq!(server.asked()[1].header("if-range"), Some("\"a\""));
    assert_eq!(ground.names(), [""; 0]);
}

#[tokio::test]
async fn new_process_goes_on_with_what_the_last_one_left() {
    let content = noise(1_000_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let mut ground = Ground::new();

    ground.leave(&server.url(), &id, 700_000).await;
    let bytes = ground.install(&server.url(), &id).await;

    assert_eq!(bytes, Ok(content));
    assert_eq!(server.offsets(), [0, 700_000]);
    assert_eq!(server.asked()[1].header("if-range"), Some("\"a\""));
    assert_eq!(ground.names(), [""; 0]);
}

#[tokio::test]
async fn install_that_is_cancelled_leaves_what_the_next_one_goes_on_with() {
    let content = noise(5_000_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let ground = Ground::new();

    let interest = ground.interest(&id);
    let fetched = ground.open(&server.url(), &id, &interest).await.unwrap();
    let (_, fetched) = read_some(fetched, 1_000_000).await.unwrap();
    drop((fetched, interest));
    let there = usize::try_from(fs::metadata(ground.part(&id)).unwrap().len()).unwrap();
    let bytes = ground.install(&server.url(), &id).await;

    assert_eq!(bytes, Ok(content));
    assert!((1_000_000..1_100_000).contains(&there), "{there}");
    assert_eq!(server.offsets(), [0, there]);
}

#[tokio::test]
async fn complete_download_of_another_process_needs_no_server() {
    let content = noise(100_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let mut ground = Ground::new();
    ground.leave(&server.url(), &id, content.len()).await;
    let url = server.url();
    drop(server);

    let bytes = ground.install(&url, &id).await;

    assert_eq!(bytes, Ok(content));
    assert_eq!(ground.names(), [""; 0]);
}

#[tokio::test]
async fn changed_etag_makes_it_start_from_zero_unseen() {
    let content = noise(200_000);
    let id = id_of(&content);
    let old = Server::of(&content).await;
    let mut ground = Ground::new();
    ground.leave(&old.url(), &id, 50_000).await;
    // The same file under the same URL, but as far as the server knows a new one.
    let meta = fs::read_to_string(ground.meta(&id)).unwrap();
    fs::write(ground.meta(&id), meta.replace("\\\"a\\\"", "\\\"b\\\"")).unwrap();

    let bytes = ground.install(&old.url(), &id).await;

    assert_eq!(bytes, Ok(content));
    // If-Range has the server send all in the same answer.
    assert_eq!(old.offsets(), [0, 50_000]);
    assert_eq!(old.asked()[1].header("if-range"), Some("\"b\""));
}

#[tokio::test]
async fn etag_of_another_url_is_not_used() {
    let content = noise(200_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let mut ground = Ground::new();
    ground.leave(&server.url(), &id, 50_000).await;

    let bytes = ground.install(&format!("{}2", server.url()), &id).await;

    assert_eq!(bytes, Ok(content));
    assert_eq!(server.offsets(), [0, 50_000]);
    assert_eq!(server.asked()[1].header("if-range"), None);
}

#[tokio::test]
async fn server_without_ranges_sends_all_again() {
    let content = noise(200_000);
    let id = id_of(&content);
    let file = content.clone();
    let mut answers = 0;
    let server = Server::start(move |_| {
        answers += 1;
        let length = ("Content-Length", file.len().to_string());
        let reply = Reply::new("200 OK", &[length], &file);
        // The first install is left, the second one's connection is cut.
        if answers == 2 {
            reply.without_last(10)
        } else {
            reply
        }
    })
    .await;
    let mut ground = Ground::new();
    ground.leave(&server.url(), &id, 50_000).await;

    let bytes = ground.install(&server.url(), &id).await;

    assert_eq!(bytes, Ok(content));
    // The restart is told to the install, which begins with an empty spool.
    assert_eq!(server.offsets(), [0, 50_000, 199_990, 0]);
}

#[tokio::test]
async fn install_is_told_to_begin_again_three_times_at_most() {
    let content = noise(200_000);
    let id = id_of(&content);
    let file = content.clone();
    let server = Server::start(move |_| {
        let length = ("Content-Length", file.len().to_string());
        Reply::new("200 OK", &[length], &file).without_last(10)
    })
    .await;
    let ground = Ground::new();

    let told = ground.install(&server.url(), &id).await.unwrap_err();

    assert_eq!(
        told,
        "the download began again 3 times: the server sends the whole file again"
    );
    assert_eq!(server.asked().len(), 8);
    assert_eq!(ground.names(), [""; 0]);
}

#[tokio::test]
async fn wrong_parts_are_not_used() {
    let content = noise(200_000);
    let id = id_of(&content);
    for range in [
        "bytes 50001-199999/200000",
        "bytes 50000-199999/200001",
        "none",
    ] {
        let file = content.clone();
        let server = Server::start(move |asked| {
            let good = Reply::file(asked, &file, "\"a\"");
            if asked.offset() == 0 {
                return good;
            }
            let range = ("Content-Range", range.to_owned());
            Reply::new("206 Partial Content", &[range], &file[1..])
        })
        .await;
        let mut ground = Ground::new();
        ground.leave(&server.url(), &id, 50_000).await;

        let bytes = ground.install(&server.url(), &id).await;

        assert_eq!(bytes.as_ref(), Ok(&content), "{range}");
        assert_eq!(server.offsets(), [0, 50_000, 0], "{range}");
    }
}

#[tokio::test]
async fn shorter_part_than_asked_for_is_followed_by_the_next() {
    let content = noise(100_000);
    let file = content.clone();
    let server = Server::start(move |asked| {
        let (start, total) = (asked.offset(), file.len());
        if start == 0 {
            return Reply::file(asked, &file, "\"a\"").without_last(90_000);
        }
        let end = (start + 40_000).min(total);
        let range = format!("bytes {start}-{}/{total}", end - 1);
        let length = (end - start).to_string();
        let headers = [("Content-Range", range), ("Content-Length", length)];
        Reply::new("206 Partial Content", &headers, &file[start..end])
    })
    .await;
    let ground = Ground::new();

    let bytes = ground.install(&server.url(), &id_of(&content)).await;

    assert_eq!(bytes, Ok(content));
    assert_eq!(server.offsets(), [0, 10_000, 50_000, 90_000]);
}

#[tokio::test]
async fn all_that_is_on_disk_is_in_the_file_while_it_is_read() {
    let content = noise(300_000);
    let id = id_of(&content);
    let server = Server::of(&content).await;
    let mut ground = Ground::new();
    ground.leave(&server.url(), &id, 100_000).await;

    let interest = ground.interest(&id);
    let fetched = ground.open(&server.url(), &id, &interest).await.unwrap();
    let (start, fetched) = read_some(fetched, 150_000).await.unwrap();

    assert_eq!(start, content[..150_000]);
    let there = fs::read(ground.part(&id)).unwrap();
    assert!(there.len() >= 150_000 && content.starts_with(&there));
    let rest = read(fetched).await.unwrap();
    assert_eq!(rest.len(), 150_000);
}
