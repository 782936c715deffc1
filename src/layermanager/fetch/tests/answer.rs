use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::super::answer::{Asked, Validators, Verdict, judge};
use crate::model::Chain;

const SIZE: u64 = 100;

fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
    given
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            (HeaderName::from_static(name), value)
        })
        .collect()
}

fn validators(etag: &str) -> Validators {
    Validators {
        etag: (!etag.is_empty()).then(|| etag.to_owned()),
        last_modified: None,
    }
}

fn judged(offset: u64, status: u16, given: &[(&'static str, &str)]) -> String {
    let validators = validators("\"a\"");
    let asked = Asked {
        offset,
        size: SIZE,
        validators: &validators,
    };
    let status = StatusCode::from_u16(status).unwrap();
    match judge(asked, status, &headers(given), SystemTime::UNIX_EPOCH) {
        Verdict::Body(body) => format!("body{}", if body.framed { " framed" } else { "" }),
        Verdict::Whole(_) => "whole".into(),
        Verdict::StartOver(why) => format!("start over: {why}"),
        Verdict::Redirect(location) => format!("redirect {location}"),
        Verdict::Later(status, after) => format!("later {} {after:?}", status.as_u16()),
        Verdict::Refused(error) => format!("refused: {}", Chain(&error)),
    }
}

#[test]
fn whole_file_of_the_right_size_is_taken() {
    for given in [
        &[][..],
        &[("content-length", "100")],
        &[("content-encoding", "identity"), ("etag", "\"b\"")],
    ] {
        assert_eq!(judged(0, 200, given), "body", "{given:?}");
        assert_eq!(judged(40, 200, given), "whole", "{given:?}");
    }
    let chunked = [("transfer-encoding", "chunked")];
    assert_eq!(judged(0, 200, &chunked), "body framed");
}

#[test]
fn other_size_is_refused_before_a_byte() {
    for offset in [0, 40] {
        assert_eq!(
            judged(offset, 200, &[("content-length", "101")]),
            "refused: file is 101 bytes, expected 100"
        );
    }
}

#[test]
fn encoded_body_is_refused() {
    for (status, offset) in [(200, 0), (200, 40), (206, 40)] {
        let given = [
            ("content-encoding", "gzip"),
            ("content-range", "bytes 40-99/100"),
        ];
        assert_eq!(
            judged(offset, status, &given),
            "refused: the server encodes the package: Content-Encoding \"gzip\""
        );
    }
}

#[test]
fn the_part_that_was_asked_for_is_taken() {
    for range in ["bytes 40-99/100", "Bytes 40-50/100", " bytes  40-99/100"] {
        assert_eq!(
            judged(40, 206, &[("content-range", range)]),
            "body",
            "{range}"
        );
    }
    let same = [("content-range", "bytes 40-99/100"), ("etag", "\"a\"")];
    assert_eq!(judged(40, 206, &same), "body");
}

#[test]
fn any_other_part_makes_it_start_over() {
    for (range, why) in [
        ("bytes 40-99/101", "another size"),
        ("bytes 41-99/100", "another part"),
        ("bytes 0-99/100", "another part"),
        ("bytes 40-99/*", "which part"),
        ("bytes */100", "which part"),
        ("bytes 40-100/100", "which part"),
        ("bytes 50-40/100", "which part"),
        ("bytes +40-99/100", "which part"),
        ("bytes 40-99", "which part"),
        ("items 40-99/100", "which part"),
        ("", "which part"),
    ] {
        let verdict = judged(40, 206, &[("content-range", range)]);
        assert!(
            verdict.starts_with("start over") && verdict.contains(why),
            "{range}: {verdict}"
        );
    }
    assert!(judged(40, 206, &[]).starts_with("start over"));
    let changed = [("content-range", "bytes 40-99/100"), ("etag", "\"b\"")];
    assert_eq!(
        judged(40, 206, &changed),
        "start over: the file on the server has changed"
    );
    assert!(judged(40, 416, &[]).starts_with("start over"));
}

#[test]
fn part_that_nobody_asked_for_is_refused() {
    let given = [("content-range", "bytes 0-99/100")];

    assert!(judged(0, 206, &given).starts_with("refused"));
    assert!(judged(0, 416, &[]).starts_with("refused: the server answers: 416"));
}

#[test]
fn redirects_are_followed_if_they_say_where() {
    for status in [301, 302, 303, 307, 308] {
        let verdict = judged(0, status, &[("location", "/é")]);
        assert_eq!(verdict, "redirect /é");
        assert!(judged(0, status, &[]).starts_with("refused"));
    }
}

#[test]
fn trouble_that_may_pass_is_waited_for() {
    for status in [408, 429, 500, 502, 503, 504, 599] {
        assert_eq!(judged(0, status, &[]), format!("later {status} None"));
    }
    for (text, after) in [
        ("7", Some(Duration::from_secs(7))),
        (
            "Thu, 01 Jan 1970 00:01:00 GMT",
            Some(Duration::from_secs(60)),
        ),
        ("Wed, 31 Dec 1969 00:00:00 GMT", None),
        ("-7", None),
        ("soon", None),
        ("99999999999999999999", None),
    ] {
        let verdict = judged(0, 503, &[("retry-after", text)]);
        assert_eq!(verdict, format!("later 503 {after:?}"), "{text}");
    }
}

#[test]
fn all_else_is_refused() {
    for status in [201, 204, 304, 305, 400, 401, 403, 404, 410, 451] {
        let verdict = judged(0, status, &[]);
        assert!(
            verdict.starts_with(&format!("refused: the server answers: {status}")),
            "{verdict}"
        );
    }
}

#[test]
fn only_strong_validators_go_into_if_range() {
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (etag, last_modified, if_range) in [
        (Some("\"a\""), Some(date), Some("\"a\"")),
        (Some("W/\"a\""), Some(date), Some(date)),
        (Some("W/\"a\""), None, None),
        (None, Some(date), Some(date)),
        (Some("\"a\nb\""), None, None),
        (None, None, None),
    ] {
        let validators = Validators {
            etag: etag.map(Into::into),
            last_modified: last_modified.map(Into::into),
        };

        let value = validators.if_range();

        assert_eq!(
            value.as_ref().map(HeaderValue::as_bytes),
            if_range.map(str::as_bytes)
        );
    }
}
