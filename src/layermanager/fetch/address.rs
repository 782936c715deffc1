//! Where a package is on the web.

use std::fmt;
use std::net::Ipv6Addr;

use aos_package::Short;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::UrlError;

/// What people write in URLs and servers do not take.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// An `http://` or `https://` URL. Prints without credentials and without the
/// query, which often is one.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::layermanager) struct Address {
    secure: bool,
    host: String,
    port: u16,
    path: String,
    query: Option<String>,
    /// `user:password`, decoded.
    credentials: Option<Vec<u8>>,
}

impl Address {
    /// Reads an absolute URL.
    pub(in crate::layermanager) fn parse(url: &str) -> Result<Self, UrlError> {
        if url.chars().any(char::is_control) {
            return Err(UrlError::Control);
        }
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme),
        };

        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (credentials, authority) = match authority.rsplit_once('@') {
            Some((credentials, authority)) => (Some(credentials), authority),
            None => (None, authority),
        };
        let (host, port) = host_and_port(authority)?;
        let (path, query) = path_and_query(rest);
        let path = if path.is_empty() { "/" } else { path };

        Ok(Self {
            secure,
            host,
            port: port.unwrap_or(if secure { 443 } else { 80 }),
            path: encoded(path),
            query: query.map(encoded),
            credentials: credentials
                .map(|text| with_colon(percent_decode_str(text).collect(), text)),
        })
    }

    /// Where a redirect from here leads. Credentials go nowhere else.
    pub(super) fn resolve(&self, location: &str) -> Result<Self, UrlError> {
        if location.chars().any(char::is_control) {
            return Err(UrlError::Control);
        }
        let location = location.trim();
        if has_scheme(location) {
            return Self::parse(location).map(|target| self.lend_credentials(target));
        }
        if location.starts_with("//") {
            let url = format!("{}:{location}", self.scheme());
            return Self::parse(&url).map(|target| self.lend_credentials(target));
        }

        let (path, query) = path_and_query(location);
        let joined = if path.is_empty() {
            self.path.clone()
        } else if path.starts_with('/') {
            path.to_owned()
        } else {
            let (directory, _) = self.path.rsplit_once('/').unwrap_or_default();
            format!("{directory}/{path}")
        };
        let query = match query {
            None if path.is_empty() => self.query.clone(),
            query => query.map(encoded),
        };

        Ok(Self {
            path: encoded(&without_dots(&joined)),
            query,
            ..self.clone()
        })
    }

    /// Whether the connection is TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }

    /// `http` or `https`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// A name or an address, IPv6 without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// For the connector.
    pub(super) fn uri(&self) -> Result<Uri, UrlError> {
        Uri::builder()
            .scheme(self.scheme())
            .authority(format!("{}:{}", self.shown_host(), self.port))
            .path_and_query(self.target())
            .build()
            .map_err(|_| UrlError::Syntax)
    }

    /// What the request asks for.
    pub(super) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The `Host` header.
    pub(super) fn authority(&self) -> String {
        match (self.secure, self.port) {
            (false, 80) | (true, 443) => self.shown_host(),
            (_, port) => format!("{}:{port}", self.shown_host()),
        }
    }

    /// The `Authorization` header, if the URL has credentials.
    pub(super) fn authorization(&self) -> Option<HeaderValue> {
        let credentials = self.credentials.as_ref()?;
        let text = format!("Basic {}", STANDARD.encode(credentials));
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn shown_host(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }

    fn lend_credentials(&self, mut target: Self) -> Self {
        let same =
            (self.secure, &self.host, self.port) == (target.secure, &target.host, target.port);
        if same && target.credentials.is_none() {
            target.credentials.clone_from(&self.credentials);
        }
        target
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.scheme(), self.authority());
        let query = if self.query.is_some() { "?…" } else { "" };
        write!(f, "{scheme}://{authority}{}{query}", Short(&self.path))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// A name is as the DNS has it, in lower case.
fn host_and_port(authority: &str) -> Result<(String, Option<u16>), UrlError> {
    let wrong = || UrlError::Authority(authority.to_owned());
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
            let address: Ipv6Addr = address.parse().map_err(|_| wrong())?;
            let port = match port.strip_prefix(':') {
                None if !port.is_empty() => return Err(wrong()),
                port => port,
            };
            (address.to_string(), port)
        }
        None => {
            let (host, port) = match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            };
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if host.is_empty() || !host.bytes().all(good) {
                return Err(wrong());
            }
            (host.to_ascii_lowercase(), port)
        }
    };

    let port = match port.filter(|port| !port.is_empty()) {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port: u16 = port.parse().map_err(|_| wrong())?;
            if port == 0 {
                return Err(wrong());
            }
            Some(port)
        }
        Some(_) => return Err(wrong()),
        None => None,
    };
    Ok((host, port))
}

/// Without the fragment.
fn path_and_query(text: &str) -> (&str, Option<&str>) {
    let (text, _) = text.split_once('#').unwrap_or((text, ""));
    match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A user alone has an empty password.
fn with_colon(mut decoded: Vec<u8>, written: &str) -> Vec<u8> {
    if !written.contains(':') {
        decoded.push(b':');
    }
    decoded
}

fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// RFC 3986, 5.2.4, for a path that starts with `/`.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}
