use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::durations::{DurationError, duration_from_json, parse_duration};

const YEAR: u64 = 31_557_600;

#[test]
fn go_texts_are_read() {
    let cases = [
        ("0", Duration::ZERO),
        ("0s", Duration::ZERO),
        ("10s", Duration::from_secs(10)),
        ("+5s", Duration::from_secs(5)),
        ("-0s", Duration::ZERO),
        ("1m30s", Duration::from_secs(90)),
        ("1h5m", Duration::from_secs(3900)),
        ("1.5h", Duration::from_secs(5400)),
        (".5s", Duration::from_millis(500)),
        ("1.s", Duration::from_secs(1)),
        ("100ms", Duration::from_millis(100)),
        ("1.5ms", Duration::from_micros(1500)),
        ("1us", Duration::from_micros(1)),
        ("1µs", Duration::from_micros(1)),
        ("1μs", Duration::from_micros(1)),
        ("7ns", Duration::from_nanos(7)),
        ("1s1h", Duration::from_secs(3601)),
        (
            "0.3333333333333333333h",
            Duration::from_nanos(1_199_999_999_999),
        ),
        (
            "9223372036854775807ns",
            Duration::from_nanos(i64::MAX as u64),
        ),
    ];

    for (text, expected) in cases {
        assert_eq!(parse_duration(text), Ok(expected), "{text}");
    }
}

#[test]
fn iso_texts_are_read() {
    let cases = [
        ("PT0S", 0),
        ("PT10S", 10),
        ("PT1M30S", 90),
        ("P1DT2H", 26 * 3600),
        ("P2W", 14 * 24 * 3600),
        ("P1Y", YEAR),
        ("P1M", YEAR / 12),
        ("P12M", YEAR),
        (
            "P1Y2M3W4DT5H6M7S",
            YEAR + YEAR / 6 + 25 * 86_400 + 5 * 3600 + 367,
        ),
        ("PT0.5M", 30),
        ("PT0,5M", 30),
        ("PT00:01:30", 90),
        ("P0000-00-01T02:00:00", 26 * 3600),
        ("P0001-06-00T00:00:00", YEAR + YEAR / 2),
    ];

    for (text, seconds) in cases {
        assert_eq!(
            parse_duration(text),
            Ok(Duration::from_secs(seconds)),
            "{text}"
        );
    }
}

#[test]
fn texts_that_are_no_duration_are_refused() {
    let texts = [
        "",
        " ",
        "s",
        "10",
        "1.5",
        ".",
        ".s",
        "+",
        "-",
        "1 s",
        "1s ",
        "10x",
        "1S",
        "ten",
        "1e3s",
        "--1s",
        "1-s",
        "1s-1s",
        "P",
        "PT",
        "P1",
        "PT1",
        "P1H",
        "PT1D",
        "PT1S1M",
        "PT1H1H",
        "P1W1Y",
        "p1d",
        "P1DT",
        "PT00:01",
        "PT00:01:30:00",
        "PT00:60:00",
        "PT00:00:60",
        "PT25:00:00",
        "P0000-13-00T00:00:00",
        "PT1.S1",
        "PT:::",
        "ПТ1С",
        "1s\0",
        "٣s",
    ];

    for text in texts {
        assert_eq!(
            parse_duration(text),
            Err(DurationError::Syntax(text.into())),
            "{text}"
        );
    }
}

#[test]
fn negative_durations_are_refused() {
    for text in ["-1s", "-PT1S", "-1ns"] {
        assert_eq!(
            parse_duration(text),
            Err(DurationError::Negative(text.into()))
        );
    }
    assert_eq!(
        duration_from_json(&json!(-1)),
        Err(DurationError::Negative("-1".into()))
    );
}

#[test]
fn durations_beyond_the_range_of_go_are_refused() {
    let texts = [
        "9223372036854775808ns",
        "9999999999h",
        "99999999999999999999999999s",
        "P293Y",
        "P300Y",
        "PT99999999999999999999S",
        "2562047h2562047h",
        "P99999-00-00T00:00:00",
    ];

    for text in texts {
        assert_eq!(
            parse_duration(text),
            Err(DurationError::TooLong(text.into()))
        );
    }
    for number in [json!(u64::MAX), json!(1e300), json!(9.3e18)] {
        assert!(
            matches!(duration_from_json(&number), Err(DurationError::TooLong(_))),
            "{number}"
        );
    }
}

#[test]
fn json_numbers_are_nanoseconds() {
    let cases = [
        (json!(0), Duration::ZERO),
        (json!(1_500_000), Duration::from_micros(1500)),
        (json!(1e9), Duration::from_secs(1)),
        (json!("10s"), Duration::from_secs(10)),
    ];

    for (value, expected) in cases {
        assert_eq!(duration_from_json(&value), Ok(expected), "{value}");
    }
}

#[test]
fn json_of_another_type_is_refused() {
    for value in [
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!(["1s"]),
    ] {
        assert_eq!(
            duration_from_json(&value),
            Err(DurationError::Type(value.to_string()))
        );
    }
}

proptest! {
    #[test]
    fn what_go_prints_is_read_back(nanos in 0..=i64::MAX as u64) {
        let (hours, rest) = (nanos / 3_600_000_000_000, nanos % 3_600_000_000_000);
        let (minutes, rest) = (rest / 60_000_000_000, rest % 60_000_000_000);
        let text = format!(
            "{hours}h{minutes}m{}.{:09}s",
            rest / 1_000_000_000,
            rest % 1_000_000_000
        );

        prop_assert_eq!(parse_duration(&text), Ok(Duration::from_nanos(nanos)));
    }

    #[test]
    fn each_unit_of_go_is_read_back(count in 0..2_000_000_u64, unit in 0..6_usize) {
        let (name, nanos) = [
            ("ns", 1),
            ("us", 1_000),
            ("ms", 1_000_000),
            ("s", 1_000_000_000),
            ("m", 60_000_000_000),
            ("h", 3_600_000_000_000),
        ][unit];

        prop_assert_eq!(
            parse_duration(&format!("{count}{name}")),
            Ok(Duration::from_nanos(count * nanos))
        );
    }

    #[test]
    fn both_forms_of_iso_agree(days in 0..=30_u64, h in 0..24_u64, m in 0..60_u64, s in 0..60_u64) {
        let designated = parse_duration(&format!("P{days}DT{h}H{m}M{s}S"));
        let alternative = parse_duration(&format!("P0000-00-{days:02}T{h:02}:{m:02}:{s:02}"));

        let seconds = days * 86_400 + h * 3600 + m * 60 + s;
        prop_assert_eq!(&designated, &Ok(Duration::from_secs(seconds)));
        prop_assert_eq!(designated, alternative);
    }

    #[test]
    fn numbers_are_read_back(nanos in 0..=i64::MAX as u64) {
        prop_assert_eq!(duration_from_json(&json!(nanos)), Ok(Duration::from_nanos(nanos)));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-+PT0-9YMWDHSnsumh.,:]{0,24}") {
        if let Ok(duration) = parse_duration(&text) {
            prop_assert!(duration.as_nanos() <= i64::MAX as u128);
        }
    }
}
