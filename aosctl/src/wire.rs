//! The generated wire types, and how their values look in JSON.
//!
//! Messages keep the field names of the wire; bytes are base64, digests hex,
//! timestamps RFC 3339, numbers numbers.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost_types::Timestamp;
use serde::Serializer;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `servicemanager.v3`: CM and SM.
#[expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::enum_variant_names,
    reason = "generated"
)]
pub(crate) mod sm {
    tonic::include_proto!("servicemanager.v3");
}

/// `iamanager.v4`: IAM and its clients.
#[expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::too_many_lines,
    reason = "generated"
)]
pub(crate) mod iam {
    tonic::include_proto!("iamanager.v4");
}

/// Hexadecimal digits of `bytes`, lower case.
pub(crate) fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from hexadecimal digits, or `None` when `text` is anything else.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let digits = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(digits, 16).ok()
        })
        .collect()
}

/// RFC 3339 text of a timestamp; empty when it cannot be expressed.
pub(crate) fn time_text(timestamp: &Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp(timestamp.seconds)
        .ok()
        .and_then(|time| {
            time.replace_nanosecond(timestamp.nanos.try_into().ok()?)
                .ok()
        })
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Timestamp from RFC 3339 text.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, time::error::Parse> {
    let time = OffsetDateTime::parse(text, &Rfc3339)?;
    Ok(Timestamp {
        seconds: time.unix_timestamp(),
        nanos: i32::try_from(time.nanosecond()).expect("less than a second"),
    })
}

/// Serializes bytes as base64.
pub(crate) fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

/// Serializes a digest.
pub(crate) fn hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex_text(bytes))
}

/// Serializes an optional timestamp.
#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
pub(crate) fn timestamp<S: Serializer>(
    timestamp: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match timestamp {
        Some(timestamp) => serializer.serialize_str(&time_text(timestamp)),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_text_gives_its_bytes_back() {
        let text = hex_text(&[0, 0x7f, 0xff]);

        assert_eq!(text, "007fff");
        assert_eq!(from_hex(&text), Some(vec![0, 0x7f, 0xff]));
    }

    #[test]
    fn text_that_is_not_hexadecimal_is_refused() {
        assert_eq!(from_hex("abc"), None);
        assert_eq!(from_hex("zz"), None);
        assert_eq!(from_hex("é"), None);
    }

    #[test]
    fn time_survives_text() {
        let timestamp = parse_time("2026-11-21T13:47:04.123456Z").unwrap();

        assert_eq!(time_text(&timestamp), "2026-11-21T13:47:04.123456Z");
    }

    #[test]
    fn time_beyond_the_calendar_is_empty_text() {
        let timestamp = Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        };

        assert_eq!(time_text(&timestamp), "");
    }
}
