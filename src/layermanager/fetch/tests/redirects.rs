use super::ground::{Ground, id_of, noise};
use super::server::{Reply, Server};

fn to(location: &str) -> Reply {
    let headers = [
        ("Location", location.to_owned()),
        ("Content-Length", "0".into()),
    ];
    Reply::new("302 Found", &headers, b"")
}

#[tokio::test]
async fn redirects_are_followed_to_the_package() {
    let content = noise(10_000);
    let file = content.clone();
    let server = Server::start(move |asked| match asked.target.as_str() {
        "/package" => to("a/b"),
        "/a/b" => to("../c?d"),
        _ => Reply::file(asked, &file, "\"a\""),
    })
    .await;

    let bytes = Ground::new().install(&server.url(), &id_of(&content)).await;

    assert_eq!(bytes, Ok(content));
    let targets: Vec<_> = server
        .asked()
        .into_iter()
        .map(|asked| asked.target)
        .collect();
    assert_eq!(targets, ["/package", "/a/b", "/c?d"]);
}

#[tokio::test]
async fn range_is_asked_for_where_the_redirect_leads() {
    let content = noise(10_000);
    let id = id_of(&content);
    let file = content.clone();
    let server = Server::start(move |asked| match asked.target.as_str() {
        "/package" => to("/there"),
        _ => Reply::file(asked, &file, "\"a\""),
    })
    .await;
    let mut ground = Ground::new();
    ground.leave(&server.url(), &id, 4000).await;

    let bytes = ground.install(&server.url(), &id).await;

    assert_eq!(bytes, Ok(content));
    assert_eq!(server.offsets(), [0, 0, 4000, 4000]);
}

#[tokio::test]
async fn circle_of_redirects_ends() {
    let server = Server::start(|_| to("/package")).await;

    let told = Ground::new()
        .install(&server.url(), &id_of(b"package"))
        .await;

    assert_eq!(told, Err("more than 5 redirects".into()));
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn redirect_to_another_scheme_is_refused() {
    for (location, expected) in [
        (
            "https://127.0.0.1/a",
            "redirect from http to https is refused",
        ),
        (
            "file:///etc/hostname",
            "redirect to \"file:///etc/hostname\" cannot be followed: \
             it is not a file://, http:// or https:// URL",
        ),
        (
            "http://user:secret@ho st/?token",
            "redirect to \"http://ho st/?…\" cannot be followed: \
             \"ho st\" is not a host with or without a port",
        ),
    ] {
        let server = Server::start(move |_| to(location)).await;

        let told = Ground::new()
            .install(&server.url(), &id_of(b"package"))
            .await;

        assert_eq!(told, Err(expected.into()));
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn credentials_go_to_their_own_server_only_and_not_to_the_disk() {
    let content = noise(10_000);
    let id = id_of(&content);
    let other = Server::of(&content).await;
    let location = other.url();
    let first = Server::start(move |asked| match asked.target.as_str() {
        "/own" => to(&location),
        _ => to("/own"),
    })
    .await;
    let url = format!(
        "http://user:secret@127.0.0.1:{}/package?token=hidden",
        first.port()
    );
    let mut ground = Ground::new();

    ground.leave(&url, &id, 5000).await;

    for asked in first.asked() {
        assert_eq!(
            asked.header("authorization"),
            Some("Basic dXNlcjpzZWNyZXQ=")
        );
    }
    assert_eq!(other.asked()[0].header("authorization"), None);
    let meta = std::fs::read_to_string(ground.meta(&id)).unwrap();
    assert!(meta.contains("/package"), "{meta}");
    assert!(
        !meta.contains("secret") && !meta.contains("hidden"),
        "{meta}"
    );
    assert_eq!(ground.install(&url, &id).await, Ok(content));
}
