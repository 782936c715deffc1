//! What an answer's status and headers mean (pure).

use std::time::{Duration, SystemTime};

use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED,
    LOCATION, RETRY_AFTER, TRANSFER_ENCODING,
};
use hyper::{StatusCode, header::HeaderValue};
use serde::{Deserialize, Serialize};

use super::error::FetchError;

/// Bytes of a validator that are worth keeping.
const VALIDATOR_MAX: usize = 1024;

/// Tells one file of a server from the next under the same URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Validators {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            let text = text(headers, name)?;
            (!text.is_empty() && text.len() <= VALIDATOR_MAX).then(|| text.to_owned())
        };
        Self {
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
        }
    }

    /// Makes the server send all if its file is another by now. A weak ETag may
    /// not be used for that.
    pub(super) fn if_range(&self) -> Option<HeaderValue> {
        let strong = self.etag.as_ref().filter(|etag| etag.starts_with('"'));
        let validator = strong.or(self.last_modified.as_ref())?;
        HeaderValue::from_str(validator).ok()
    }

    fn differ(&self, other: &Self) -> bool {
        match (&self.etag, &other.etag) {
            (Some(one), Some(other)) => one != other,
            _ => match (&self.last_modified, &other.last_modified) {
                (Some(one), Some(other)) => one != other,
                _ => false,
            },
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The first byte. 0: there was no `Range` in the request.
    pub(super) offset: u64,
    /// Of the whole package, as CM says.
    pub(super) size: u64,
    /// Of the bytes before `offset`.
    pub(super) validators: &'a Validators,
}

/// What to do with an answer.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The bytes from where was asked for follow.
    Body(Body),
    /// All bytes follow, although some are there already.
    Whole(Body),
    /// What is there already is of no use, nor is this answer.
    StartOver(&'static str),
    /// Ask there.
    Redirect(String),
    /// Ask later, perhaps after this time.
    Later(StatusCode, Option<Duration>),
    /// Do not ask again.
    Refused(FetchError),
}

/// The bytes that follow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) validators: Validators,
    /// An end before the last byte is the file's, and not the connection's.
    pub(super) framed: bool,
}

/// Judges an answer.
pub(super) fn judge(
    asked: Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    now: SystemTime,
) -> Verdict {
    match status {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => body(asked, status, headers),
        StatusCode::RANGE_NOT_SATISFIABLE if asked.offset > 0 => {
            Verdict::StartOver("the server has no such part any more")
        }
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            match headers.get(LOCATION).map(HeaderValue::as_bytes) {
                Some(location) => Verdict::Redirect(String::from_utf8_lossy(location).into_owned()),
                None => Verdict::Refused(FetchError::Answer("a redirect without a location")),
            }
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Verdict::Later(status, retry_after(headers, now))
        }
        status if status.is_server_error() => Verdict::Later(status, retry_after(headers, now)),
        status => Verdict::Refused(FetchError::Status(status)),
    }
}

fn body(asked: Asked<'_>, status: StatusCode, headers: &HeaderMap) -> Verdict {
    for encoding in headers.get_all(CONTENT_ENCODING) {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
            return Verdict::Refused(FetchError::Encoded(encoding));
        }
    }
    let body = Body {
        validators: Validators::of(headers),
        framed: headers.contains_key(TRANSFER_ENCODING),
    };
    if status == StatusCode::PARTIAL_CONTENT {
        return part(asked, headers, body);
    }

    let length = text(headers, CONTENT_LENGTH).and_then(|text| text.parse().ok());
    match length {
        Some(actual) if actual != asked.size => Verdict::Refused(FetchError::Size {
            actual,
            expected: asked.size,
        }),
        _ if asked.offset > 0 => Verdict::Whole(body),
        _ => Verdict::Body(body),
    }
}

fn part(asked: Asked<'_>, headers: &HeaderMap, body: Body) -> Verdict {
    if asked.offset == 0 {
        return Verdict::Refused(FetchError::Answer(
            "a part of what was asked for as a whole",
        ));
    }
    let range = text(headers, CONTENT_RANGE).and_then(content_range);
    match range {
        None => Verdict::StartOver("the server does not say which part it sends"),
        Some(range) if range.total != asked.size => {
            Verdict::StartOver("the file on the server has another size")
        }
        Some(range) if range.start != asked.offset => {
            Verdict::StartOver("the server sends another part than was asked for")
        }
        Some(_) if asked.validators.differ(&body.validators) => {
            Verdict::StartOver("the file on the server has changed")
        }
        // The end of a part is no end of the file.
        Some(_) => Verdict::Body(Body {
            framed: false,
            ..body
        }),
    }
}

struct ContentRange {
    start: u64,
    total: u64,
}

/// Of `bytes START-END/TOTAL`; a total that is not told is none.
fn content_range(text: &str) -> Option<ContentRange> {
    let (unit, range) = text.trim().split_once(' ')?;
    let (part, total) = range.trim().split_once('/')?;
    let (start, end) = part.split_once('-')?;
    let (start, end): (u64, u64) = (number(start)?, number(end)?);
    let total = number(total)?;
    let makes_sense = unit.eq_ignore_ascii_case("bytes") && start <= end && end < total;

    makes_sense.then_some(ContentRange { start, total })
}

/// Seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = text(headers, RETRY_AFTER)?.trim();
    match number(text) {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .ok(),
    }
}

/// Digits only: no sign.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
