use proptest::prelude::*;

use super::super::UrlError;
use super::super::address::Address;

fn parse(url: &str) -> Address {
    Address::parse(url).unwrap()
}

#[test]
fn parts_of_an_url_are_found() {
    for (url, authority, target, shown) in [
        ("http://host/a", "host", "/a", "http://host/a"),
        ("HTTP://Host:80", "host", "/", "http://host/"),
        ("https://host:443/a", "host", "/a", "https://host/a"),
        ("https://host:80/a#b", "host:80", "/a", "https://host:80/a"),
        ("http://host:/a", "host", "/a", "http://host/a"),
        (
            "http://[::1]:8000/a",
            "[::1]:8000",
            "/a",
            "http://[::1]:8000/a",
        ),
        (
            "http://1.2.3.4?b=c",
            "1.2.3.4",
            "/?b=c",
            "http://1.2.3.4/?…",
        ),
        (
            "http://h/a b/ü",
            "h",
            "/a%20b/%C3%BC",
            "http://h/a%20b/%C3%BC",
        ),
        ("http://h/%41?@:/?", "h", "/%41?@:/?", "http://h/%41?…"),
    ] {
        let address = parse(url);

        assert_eq!(address.authority(), authority, "{url}");
        assert_eq!(address.target(), target, "{url}");
        assert_eq!(address.to_string(), shown, "{url}");
        assert_eq!(address.authorization(), None, "{url}");
        assert!(address.uri().is_ok(), "{url}");
    }
}

#[test]
fn ipv6_host_is_an_address_for_tls() {
    assert_eq!(parse("https://[2001:db8::1]/a").host(), "2001:db8::1");
}

#[test]
fn urls_that_cannot_be_used_are_refused_with_the_reason() {
    let authority = |text: &str| UrlError::Authority(text.into());
    for (url, error) in [
        ("", UrlError::Scheme),
        ("host/a", UrlError::Scheme),
        ("ftp://host/a", UrlError::Scheme),
        ("http:/host/a", UrlError::Scheme),
        ("http://", authority("")),
        ("http:///a", authority("")),
        ("http://:80/a", authority(":80")),
        ("http://host:0/a", authority("host:0")),
        ("http://host:65536/a", authority("host:65536")),
        ("http://host:+1/a", authority("host:+1")),
        ("http://ho st/a", authority("ho st")),
        ("http://hö/a", authority("hö")),
        ("http://::1/a", authority("::1")),
        ("http://[::1/a", authority("[::1")),
        ("http://[::1]80/a", authority("[::1]80")),
        ("http://[host]/a", authority("[host]")),
        ("http://host/a\r\nX: y", UrlError::Control),
    ] {
        assert_eq!(Address::parse(url), Err(error), "{url}");
    }
}

#[test]
fn credentials_are_sent_and_never_shown() {
    let address = parse("http://us%40er:se:cret@host/a?token=hidden");

    let header = address.authorization().unwrap();
    assert_eq!(header, "Basic dXNAZXI6c2U6Y3JldA==");
    assert!(header.is_sensitive());
    for shown in [address.to_string(), format!("{address:?}")] {
        assert!(
            !shown.contains("er:se") && !shown.contains("hidden"),
            "{shown}"
        );
    }
    let uri = address.uri().unwrap().to_string();
    assert!(!uri.contains('@'), "{uri}");
}

#[test]
fn user_without_password_has_an_empty_one() {
    assert_eq!(
        parse("http://user@host/").authorization().unwrap(),
        "Basic dXNlcjo="
    );
}

#[test]
fn error_about_the_host_does_not_tell_credentials() {
    let error = Address::parse("http://user:secret@ho st/").unwrap_err();

    assert_eq!(error, UrlError::Authority("ho st".into()));
}

#[test]
fn redirects_are_relative_to_where_they_come_from() {
    let base = parse("http://host:8000/a/b/c?d");
    for (location, url) in [
        ("http://other/x", "http://other/x"),
        ("https://other/x", "https://other/x"),
        ("//other/x", "http://other/x"),
        ("/x", "http://host:8000/x"),
        ("x", "http://host:8000/a/b/x"),
        ("./x/", "http://host:8000/a/b/x/"),
        ("../x?y", "http://host:8000/a/x?y"),
        ("../../../../x", "http://host:8000/x"),
        ("..", "http://host:8000/a/"),
        ("?y", "http://host:8000/a/b/c?y"),
        ("", "http://host:8000/a/b/c?d"),
        ("x#y", "http://host:8000/a/b/x"),
        (" /x ", "http://host:8000/x"),
        ("1:2", "http://host:8000/a/b/1:2"),
    ] {
        assert_eq!(base.resolve(location), Ok(parse(url)), "{location}");
    }
}

#[test]
fn redirect_to_another_scheme_or_nonsense_is_refused() {
    let base = parse("http://host/a");
    for (location, error) in [
        ("file:///etc/hostname", UrlError::Scheme),
        ("javascript:x", UrlError::Scheme),
        ("//", UrlError::Authority(String::new())),
        ("/a\nb", UrlError::Control),
    ] {
        assert_eq!(base.resolve(location), Err(error), "{location}");
    }
}

#[test]
fn credentials_do_not_follow_to_another_host_port_or_scheme() {
    let base = parse("http://user:secret@host/a");

    for location in ["/b", "c", "http://host/d", "//HOST:80/e"] {
        let target = base.resolve(location).unwrap();
        assert!(target.authorization().is_some(), "{location}");
    }
    for location in [
        "//other/b",
        "http://host:81/b",
        "https://host/b",
        "//host.other/",
    ] {
        let target = base.resolve(location).unwrap();
        assert_eq!(target.authorization(), None, "{location}");
    }
    let own = base.resolve("http://me:mine@other/").unwrap();
    assert_eq!(own.authorization().unwrap(), "Basic bWU6bWluZQ==");
}

proptest! {
    #[test]
    fn whatever_is_taken_can_be_asked_for(url in "(http|https)://[ -~ü]{0,40}", then in "[ -~ü]{0,30}") {
        if let Ok(address) = Address::parse(&url) {
            prop_assert!(address.uri().is_ok(), "{address}");
            if let Ok(target) = address.resolve(&then) {
                prop_assert!(target.uri().is_ok(), "{target}");
                prop_assert!(target.target().starts_with('/'));
            }
        }
    }
}
