//! Where a package is: the path of a `file://` URL.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use aos_package::Short;

/// A URL that no package can be read from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Downloads do not exist yet.
    #[error("http URLs are not supported yet")]
    Http,
    /// Some other scheme, or none.
    #[error("it is not a file:// URL")]
    Scheme,
    /// A file of another machine.
    #[error("the file is on another host, {:?}", Short(.0))]
    Host(String),
    /// A `%` without two hex digits, or a coded zero byte.
    #[error("it has a malformed % code")]
    Code,
}

/// The local file that `url` names.
pub(super) fn file_path(url: &str) -> Result<PathBuf, UrlError> {
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "file" => {}
        "http" | "https" => return Err(UrlError::Http),
        _ => return Err(UrlError::Scheme),
    }

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
            assert_eq!(file_path(url), Ok(PathBuf::from(path)), "{url}");
        }
    }

    #[test]
    fn other_urls_are_refused_with_the_reason() {
        for (url, error) in [
            ("http://host/a", UrlError::Http),
            ("https://host/a", UrlError::Http),
            ("ftp://host/a", UrlError::Scheme),
            ("/a", UrlError::Scheme),
            ("", UrlError::Scheme),
            ("file:/a", UrlError::Scheme),
            ("file://host/a", UrlError::Host("host".into())),
            ("file:///a%2", UrlError::Code),
            ("file:///a%zz", UrlError::Code),
            ("file:///a%00b", UrlError::Code),
        ] {
            assert_eq!(file_path(url), Err(error), "{url}");
        }
    }
}
