//! Servers that do not do what they should.

use std::time::Duration;

use tokio::sync::watch;

use super::super::{FetchError, Patience, Waiting};
use super::ground::{Ground, id_of, noise, patience, read, read_some};
use super::server::{Reply, Server};
use crate::model::Chain;

/// What an install of `content` is told by a server that always answers so.
async fn told(content: &[u8], reply: Reply) -> (String, usize) {
    let server = Server::start(move |_| reply.clone()).await;
    let ground = Ground::new();

    let told = ground.install(&server.url(), &id_of(content)).await;

    assert_eq!(ground.names(), [""; 0]);
    (told.unwrap_err(), server.asked().len())
}

#[tokio::test]
async fn refusals_are_told_at_once() {
    for status in [
        "404 Not Found",
        "403 Forbidden",
        "410 Gone",
        "400 Bad Request",
    ] {
        let (told, asked) = told(b"package", Reply::status(status)).await;

        assert_eq!(told, format!("the server answers: {status}"));
        assert_eq!(asked, 1);
    }
}

#[tokio::test]
async fn trouble_that_passes_is_waited_for() {
    let content = noise(10_000);
    let file = content.clone();
    let mut troubles = [
        "503 Service Unavailable",
        "429 Too Many Requests",
        "500 Oops",
    ]
    .iter();
    let server = Server::start(move |asked| match troubles.next() {
        Some(status) => Reply::new(status, &[("Retry-After", "3600".into())], b""),
        None => Reply::file(asked, &file, "\"a\""),
    })
    .await;

    let bytes = Ground::new().install(&server.url(), &id_of(&content)).await;

    assert_eq!(bytes, Ok(content));
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn trouble_that_stays_is_told_after_the_last_attempt() {
    let (told, asked) = told(b"package", Reply::status("503 Service Unavailable")).await;

    assert!(told.starts_with("no progress in 4 attempts"), "{told}");
    assert!(
        told.ends_with(" s: the server answers: 503 Service Unavailable"),
        "{told}"
    );
    assert_eq!(asked, 4);
}

#[tokio::test]
async fn nobody_there_is_told_after_the_last_attempt() {
    let server = Server::of(b"").await;
    let url = server.url();
    drop(server);

    let told = Ground::new()
        .install(&url, &id_of(b"package"))
        .await
        .unwrap_err();

    assert!(
        told.starts_with("no progress in 4 attempts") && told.contains(" s: cannot connect: "),
        "{told}"
    );
    assert!(told.contains("refused"), "{told}");
}

#[tokio::test]
async fn other_size_is_told_before_a_byte_is_stored() {
    let length = [("Content-Length", "8".to_owned())];

    let (told, asked) = told(b"package", Reply::new("200 OK", &length, b"packages")).await;

    assert_eq!(told, "file is 8 bytes, expected 7");
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn too_many_bytes_are_not_taken() {
    // Without a length the server ends by closing.
    let (closed, asked) = told(b"package", Reply::new("200 OK", &[], b"packages")).await;
    assert_eq!(
        (closed.as_str(), asked),
        ("file is longer than the expected 7 bytes", 1)
    );

    let chunked = [("Transfer-Encoding", "chunked".to_owned())];
    let body = b"7\r\npackage\r\n1\r\ns\r\n0\r\n\r\n";
    let (chunks, asked) = told(b"package", Reply::new("200 OK", &chunked, body)).await;
    assert_eq!(
        (chunks.as_str(), asked),
        ("file is longer than the expected 7 bytes", 1)
    );
}

#[tokio::test]
async fn too_few_bytes_are_told_if_the_server_says_that_they_are_all() {
    let chunked = [("Transfer-Encoding", "chunked".to_owned())];

    let (told, asked) = told(
        b"package",
        Reply::new("200 OK", &chunked, b"4\r\npack\r\n0\r\n\r\n"),
    )
    .await;

    assert_eq!((told.as_str(), asked), ("file is 4 bytes, expected 7", 1));
}

#[tokio::test]
async fn chunks_and_closed_connections_are_good_enough() {
    for (headers, body) in [
        (
            &[("Transfer-Encoding", "chunked".to_owned())][..],
            &b"4;x=y\r\npack\r\n3\r\nage\r\n0\r\nX: y\r\n\r\n"[..],
        ),
        (&[], b"package"),
    ] {
        let reply = Reply::new("200 OK", headers, body);
        let server = Server::start(move |_| reply.clone()).await;

        let bytes = Ground::new()
            .install(&server.url(), &id_of(b"package"))
            .await;

        assert_eq!(bytes.as_deref(), Ok(&b"package"[..]));
    }
}

#[tokio::test]
async fn encoded_package_is_refused() {
    let encoded = [("Content-Encoding", "gzip".to_owned())];

    let (told, asked) = told(b"package", Reply::new("200 OK", &encoded, b"package")).await;

    assert_eq!(
        told,
        "the server encodes the package: Content-Encoding \"gzip\""
    );
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn what_is_no_http_is_told_at_once() {
    let reply = Reply {
        bytes: b"SSH-2.0-server\r\n\r\n".to_vec(),
        hangs: true,
    };

    let (told, asked) = told(b"package", reply).await;

    assert!(
        told.starts_with("no answer from the server: invalid HTTP"),
        "{told}"
    );
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let long = [("X-Long", "x".repeat(300_000))];
    let (told_long, asked) = told(b"package", Reply::new("200 OK", &long, b"package")).await;
    assert!(
        told_long.starts_with("no answer from the server: "),
        "{told_long}"
    );
    assert_eq!(asked, 1);

    let many: Vec<_> = (0..100).map(|_| ("X-Many", String::new())).collect();
    let (told_many, asked) = told(b"package", Reply::new("200 OK", &many, b"package")).await;
    assert!(
        told_many.starts_with("no answer from the server: "),
        "{told_many}"
    );
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn stalled_server_is_asked_again() {
    let content = noise(100_000);
    let file = content.clone();
    let mut asked_before = false;
    let server = Server::start(move |asked| {
        let reply = Reply::file(asked, &file, "\"a\"");
        let first = !std::mem::replace(&mut asked_before, true);
        if first {
            reply.without_last(40_000).hanging()
        } else {
            reply
        }
    })
    .await;
    let short = Patience {
        stall: Duration::from_millis(100),
        ..patience()
    };

    let bytes = Ground::with(short, None)
        .install(&server.url(), &id_of(&content))
        .await;

    assert_eq!(bytes, Ok(content));
    assert_eq!(server.offsets()[..2], [0, 60_000]);
}

#[tokio::test]
async fn silent_server_is_given_up() {
    let server = Server::start(|_| Reply::default().hanging()).await;
    let short = Patience {
        answer: Duration::from_millis(20),
        attempts: 2,
        ..patience()
    };

    let told = Ground::with(short, None)
        .install(&server.url(), &id_of(b"package"))
        .await;

    let told = told.unwrap_err();
    assert!(told.starts_with("no progress in 2 attempts"), "{told}");
    assert!(told.contains("no answer from the server within"), "{told}");
}

#[tokio::test]
async fn caller_that_goes_ends_the_wait_for_an_answer_or_an_attempt() {
    let hanging = Server::start(|_| Reply::default().hanging()).await;
    let busy = Server::start(|_| Reply::status("503 Service Unavailable")).await;
    let long = Duration::from_secs(3600);
    let ground = Ground::with(
        Patience {
            answer: long,
            backoff_min: long,
            backoff_max: long,
            progress: 10 * long,
            ..patience()
        },
        None,
    );
    let id = id_of(b"package");
    for server in [&hanging, &busy] {
        let (ends, caller) = watch::channel(());
        let waiting = Waiting {
            caller,
            ..ground.waiting.clone()
        };
        let interest = ground.interest(&id);
        let url = server.url();
        let open = ground.fetcher.open(&url, &id, &interest, &waiting);

        // The caller goes once the server has been asked.
        let gone = async {
            while server.asked().is_empty() {
                tokio::task::yield_now().await;
            }
            drop(ends);
        };
        let (opened, ()) = tokio::join!(open, gone);

        let error = opened.err().unwrap();
        assert!(matches!(error, FetchError::Abandoned), "{error:?}");
    }
}

#[tokio::test]
async fn stop_of_the_service_manager_ends_a_read_at_once() {
    let content = noise(100_000);
    let id = id_of(&content);
    let file = content.clone();
    let server = Server::start(move |asked| {
        Reply::file(asked, &file, "\"a\"")
            .without_last(40_000)
            .hanging()
    })
    .await;
    let ground = Ground::new();
    let (stops, alive) = watch::channel(());
    let waiting = Waiting {
        alive,
        ..ground.waiting.clone()
    };
    let interest = ground.interest(&id);
    let opened = ground
        .fetcher
        .open(&server.url(), &id, &interest, &waiting)
        .await;
    let (_, fetched) = read_some(opened.unwrap(), 60_000).await.unwrap();

    drop(stops);
    let error = read(fetched).await.unwrap_err();

    let found = FetchError::within(&error);
    assert!(matches!(found, Some(FetchError::Stopped)), "{error:?}");
    assert_eq!(Chain(&error).to_string(), "the service manager is stopping");
    assert_eq!(ground.names().len(), 2);
}

#[tokio::test]
async fn reader_fails_again_after_it_failed() {
    let content = noise(1000);
    let file = content.clone();
    let server = Server::start(move |asked| {
        if asked.offset() > 0 {
            return Reply::status("404 Not Found");
        }
        Reply::file(asked, &file, "\"a\"").without_last(500)
    })
    .await;
    let ground = Ground::new();
    let id = id_of(&content);
    let interest = ground.interest(&id);
    let mut fetched = ground.open(&server.url(), &id, &interest).await.unwrap();

    let told = tokio::task::spawn_blocking(move || {
        [(); 2].map(|()| {
            let error = fetched.reader.read_to_end(&mut Vec::new()).unwrap_err();
            Chain(&error).to_string()
        })
    })
    .await
    .unwrap();

    assert_eq!(told, ["the server answers: 404 Not Found"; 2]);
}
