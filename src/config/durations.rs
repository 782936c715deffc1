//! Durations as Go, ISO 8601 and plain numbers write them.
//!
//! A year is 365 days and 6 hours, a month a twelfth of it. As in Go, a
//! duration is at most 2^63 - 1 nanoseconds; a negative one is refused.

use std::time::Duration;

use serde_json::Value;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const WEEK: u64 = 7 * DAY;
const YEAR: u64 = 365 * DAY + 6 * HOUR;
const MONTH: u64 = YEAR / 12;

const GO_UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5
    ("μs", 1_000), // U+03BC
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", MINUTE),
    ("h", HOUR),
];
/// In the order in which they have to appear.
const DATE_UNITS: [(char, u64); 4] = [('Y', YEAR), ('M', MONTH), ('W', WEEK), ('D', DAY)];
const TIME_UNITS: [(char, u64); 3] = [('H', HOUR), ('M', MINUTE), ('S', SECOND)];

/// Digits of a fraction that count; the rest is below a nanosecond.
const FRACTION_DIGITS: u32 = 18;

/// Why a value is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// In none of the forms.
    #[error("{0:?} is not a duration")]
    Syntax(String),
    /// Below zero.
    #[error("duration {0} is negative")]
    Negative(String),
    /// More than 292 years.
    #[error("duration {0} is too long")]
    TooLong(String),
    /// Neither text nor number.
    #[error("{0} is neither text nor number")]
    Type(String),
}

/// What failed, before the text it failed for is known.
enum Fault {
    Syntax,
    TooLong,
}

/// Reads a duration of JSON: a text as [`parse_duration`] takes it, or a number
/// of nanoseconds.
///
/// # Errors
///
/// When the value is no duration, or a negative or too long one.
pub fn duration_from_json(value: &Value) -> Result<Duration, DurationError> {
    match value {
        Value::String(text) => parse_duration(text),
        Value::Number(number) => {
            if let Some(nanos) = number.as_u64() {
                return from_nanos(nanos.into()).ok_or_else(|| too_long(value));
            }
            // Go reads every number as a float, so `1e9` is a second.
            let nanos = number.as_f64().ok_or_else(|| too_long(value))?;
            if nanos < 0.0 {
                return Err(DurationError::Negative(value.to_string()));
            }
            Duration::try_from_secs_f64(nanos / 1e9)
                .ok()
                .and_then(|duration| from_nanos(duration.as_nanos()))
                .ok_or_else(|| too_long(value))
        }
        other => Err(DurationError::Type(other.to_string())),
    }
}

/// Reads `1m30s` and `1.5h` as Go does, ISO 8601 as in `PT1M30S`, `P1DT2H` and
/// `P2W`, and its alternative form as in `PT00:01:30` and
/// `P0000-00-01T02:00:00`.
///
/// # Errors
///
/// When the text is no duration, or a negative or too long one.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let nanos = match unsigned.strip_prefix('P') {
        Some(period) => parse_iso(period),
        None => parse_go(unsigned),
    };

    let nanos = nanos.map_err(|fault| match fault {
        Fault::Syntax => DurationError::Syntax(text.to_owned()),
        Fault::TooLong => DurationError::TooLong(text.to_owned()),
    })?;
    if text.starts_with('-') && nanos > 0 {
        return Err(DurationError::Negative(text.to_owned()));
    }

    from_nanos(nanos).ok_or_else(|| DurationError::TooLong(text.to_owned()))
}

fn parse_go(text: &str) -> Result<u128, Fault> {
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err(Fault::Syntax);
    }

    let mut total = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_number(rest, &['.'])?;
        let end = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (name, tail) = after.split_at(end);
        let (_, unit) = GO_UNITS
            .into_iter()
            .find(|(known, _)| *known == name)
            .ok_or(Fault::Syntax)?;
        total += number.times(unit)?;
        rest = tail;
    }

    Ok(total)
}

/// `period` is what follows the `P`.
fn parse_iso(period: &str) -> Result<u128, Fault> {
    let (date, time) = match period.split_once('T') {
        Some((_, "")) => return Err(Fault::Syntax),
        Some((date, time)) => (date, time),
        None => (period, ""),
    };
    if date.is_empty() && time.is_empty() {
        return Err(Fault::Syntax);
    }

    let date = match fields(date, '-') {
        Some([years, months, days]) => {
            at_most(months, 12)?;
            at_most(days, 30)?;
            sum([(years, YEAR), (months, MONTH), (days, DAY)])
        }
        None => parse_designated(date, &DATE_UNITS)?,
    };
    let time = match fields(time, ':') {
        Some([hours, minutes, seconds]) => {
            at_most(hours, 24)?;
            at_most(minutes, 59)?;
            at_most(seconds, 59)?;
            sum([(hours, HOUR), (minutes, MINUTE), (seconds, SECOND)])
        }
        None => parse_designated(time, &TIME_UNITS)?,
    };

    Ok(date + time)
}

/// Reads `1H30M`. Each unit at most once, in the order of `units`.
fn parse_designated(text: &str, units: &[(char, u64)]) -> Result<u128, Fault> {
    let mut total = 0;
    let mut rest = text;
    let mut units = units.iter();
    while !rest.is_empty() {
        let (number, after) = split_number(rest, &['.', ','])?;
        let mut tail = after.chars();
        let name = tail.next().ok_or(Fault::Syntax)?;
        let (_, unit) = units
            .find(|(known, _)| *known == name)
            .ok_or(Fault::Syntax)?;
        total += number.times(*unit)?;
        rest = tail.as_str();
    }

    Ok(total)
}

/// The three numbers of `0000-00-01` or `00:01:30`.
fn fields(text: &str, separator: char) -> Option<[u64; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    });
    let fields = [parts.next()??, parts.next()??, parts.next()??];

    parts.next().is_none().then_some(fields)
}

fn at_most(value: u64, limit: u64) -> Result<(), Fault> {
    if value > limit {
        return Err(Fault::Syntax);
    }

    Ok(())
}

fn sum(parts: [(u64, u64); 3]) -> u128 {
    parts
        .into_iter()
        .map(|(count, unit)| u128::from(count) * u128::from(unit))
        .sum()
}

/// A decimal number: `whole + fraction / 10^digits`.
struct Decimal {
    whole: u64,
    fraction: u128,
    digits: u32,
}

impl Decimal {
    /// Nanoseconds of so many units, cut off below one.
    fn times(&self, unit: u64) -> Result<u128, Fault> {
        let unit = u128::from(unit);
        let nanos = u128::from(self.whole) * unit + self.fraction * unit / 10_u128.pow(self.digits);
        // Refused here already, so that no sum of parts can overflow.
        from_nanos(nanos).ok_or(Fault::TooLong)?;

        Ok(nanos)
    }
}

fn split_number<'a>(text: &'a str, points: &[char]) -> Result<(Decimal, &'a str), Fault> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix(points) {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(Fault::Syntax);
    }

    let mut number = Decimal {
        whole: 0,
        fraction: 0,
        digits: 0,
    };
    if !whole.is_empty() {
        number.whole = whole.parse().map_err(|_| Fault::TooLong)?;
    }
    for digit in fraction.bytes().take(FRACTION_DIGITS as usize) {
        number.fraction = number.fraction * 10 + u128::from(digit - b'0');
        number.digits += 1;
    }

    Ok((number, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn from_nanos(nanos: u128) -> Option<Duration> {
    let nanos = i64::try_from(nanos).ok()?;
    Some(Duration::from_nanos(nanos.unsigned_abs()))
}

fn too_long(value: &Value) -> DurationError {
    DurationError::TooLong(value.to_string())
}
