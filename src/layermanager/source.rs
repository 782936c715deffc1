//! Where a package is, as its URL says.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use aos_package::Short;

use super::fetch::Address;

/// A URL that no package can be read from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Some other scheme, or none.
    #[error("it is not a file://, http:// or https:// URL")]
    Scheme,
    /// A character that is none.
    #[error("it has a control character")]
    Control,
    /// The server's name or port.
    #[error("{:?} is not a host with or without a port", Short(.0))]
    Authority(String),
    /// Something else that is no URL.
    #[error("it is malformed")]
    Syntax,
    /// A file of another machine.
    #[error("the file is on another host, {:?}", Short(.0))]
    Host(String),
    /// A `%` without two hex digits, or a coded zero byte.
    #[error("it has a malformed % code")]
    Code,
}

/// Where a package is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// On this machine.
    File(PathBuf),
    /// On a server.
    Web(Address),
}

impl Source {
    /// Reads a URL.
    pub(super) fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "file" => file_path(rest).map(Self::File),
            "http" | "https" => Address::parse(url).map(Self::Web),
            _ => Err(UrlError::Scheme),
        }
    }
}

/// A URL for people, whether it can be used or not: without what gives access.
pub(super) fn shown_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    if scheme.eq_ignore_ascii_case("file") {
        return url.to_owned();
    }

    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    match rest.split_once('?') {
        Some((path, _)) => format!("{scheme}://{host}{path}?…"),
        None => format!("{scheme}://{host}{rest}"),
    }
}

/// The local file that is named after `file://`.
fn file_path(rest: &str) -> Result<PathBuf, UrlError> {
    let slash = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(slash);
    if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
        return Err(UrlError::Host(host.to_owned()));
    }
    let path = decode(path).ok_or(UrlError::Code)?;
    Ok(PathBuf::from(OsString::from_vec(path)))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
            u8::try_from(16 * high + low).ok()?
        } else {
            byte
        };
        if byte == 0 {
            return None;
        }
        decoded.push(byte);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_urls_name_local_files() {
        for (url, path) in [
            ("file:///a/b.tar", "/a/b.tar"),
            ("FILE:///a", "/a"),
            ("file://localhost/a", "/a"),
            ("file:///a%20b%2fc", "/a b/c"),
            ("file:///a?b#c", "/a?b#c"),
        ] {
            let source = Source::File(PathBuf::from(path));
            assert_eq!(Source::parse(url), Ok(source), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused_with_the_reason() {
        for (url, error) in [
            ("ftp://host/a", UrlError::Scheme),
            ("/a", UrlError::Scheme),
            ("", UrlError::Scheme),
            ("file:/a", UrlError::Scheme),
            ("file://host/a", UrlError::Host("host".into())),
            ("file:///a%2", UrlError::Code),
            ("file:///a%zz", UrlError::Code),
            ("file:///a%00b", UrlError::Code),
        ] {
            assert_eq!(Source::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn web_urls_name_servers() {
        for url in ["http://host/a", "HTTPS://host/a"] {
            assert!(matches!(Source::parse(url), Ok(Source::Web(_))), "{url}");
        }
    }

    #[test]
    fn shown_url_has_nothing_that_gives_access() {
        for (url, shown) in [
            ("https://user:secret@host:1/a?token=x", "https://host:1/a?…"),
            ("http://user@host", "http://host"),
            ("http://host/a@b", "http://host/a@b"),
            ("http://us@er@ho st?x", "http://ho st?…"),
            ("file:///a?b@c", "file:///a?b@c"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(shown_url(url), shown);
        }
    }
}
