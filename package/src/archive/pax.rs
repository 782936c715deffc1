//! PAX records: `LENGTH KEY=VALUE\n`, where the value may hold anything.

use super::Timestamp;

/// What records say of the next entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    /// Extended attributes that the entry has.
    pub(super) attributes: u64,
    /// The entry is a sparse file in one of GNU's ways.
    pub(super) sparse: bool,
}

impl Records {
    /// Reads the records of one header. `None`: they are damaged.
    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut records = Self::default();
        // Some writers fill up with zeros.
        while bytes.first().is_some_and(|byte| *byte != 0) {
            let (record, rest) = split_record(bytes)?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let (key, value) = record.split_at(equals);
            records.take(key, value.strip_prefix(b"=")?)?;
            bytes = rest;
        }

        Some(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            // An empty value takes back what an earlier header said.
            b"path" => self.path = (!value.is_empty()).then(|| value.to_vec()),
            b"linkpath" => self.link = (!value.is_empty()).then(|| value.to_vec()),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(number(value)?),
            b"gid" => self.gid = Some(number(value)?),
            b"mtime" => self.mtime = Some(timestamp(value)?),
            _ if key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.xattr.") => {
                self.attributes += 1;
            }
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {}
        }
        Some(())
    }
}

/// The first record without its length and newline, and what follows it.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let (digits, _) = bytes.split_at(space);
    let length = usize::try_from(number(digits)?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;

    Some((record, rest))
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Seconds with an optional fraction, before 1970 with a minus sign.
fn timestamp(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let seconds = i64::try_from(number(seconds.as_bytes())?).ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |value, digit| 10 * value + u32::from(digit - b'0'));

    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp {
            seconds,
            nanoseconds,
        },
        (true, 0) => Timestamp {
            seconds: -seconds,
            nanoseconds,
        },
        // Nanoseconds count upwards from the second before.
        (true, _) => Timestamp {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn value_may_hold_newlines_and_equal_signs() {
        let records = Records::parse(b"14 path=a\nb=c\n12 uid=1000\n").unwrap();

        assert_eq!(records.path.as_deref(), Some(&b"a\nb=c"[..]));
        assert_eq!(records.uid, Some(1000));
    }

    #[test]
    fn attributes_are_counted() {
        let records = Records::parse(b"26 SCHILY.xattr.user.a=\n\n\n").unwrap();

        assert_eq!(records.attributes, 1);
    }

    #[test]
    fn sparse_files_are_recognised() {
        assert!(Records::parse(b"22 GNU.sparse.major=1\n").unwrap().sparse);
    }

    #[test]
    fn damaged_records_are_refused() {
        for bytes in [
            &b"path=a\n"[..],
            b"11 path=a\n",
            b"99 path=a\n",
            b"9 path=a\n1",
            b"0 \n",
            b"3 \n",
            b"9 path+a\n",
            b"-9 path=a\n",
            b"99999999999999999999999 path=a\n",
            b"11 size=-1\n",
            b"12 size=0x1\n",
            b"30 size=99999999999999999999\n",
            b"12 mtime=.\n",
            b"15 mtime=1.2x\n",
        ] {
            assert_eq!(
                Records::parse(bytes),
                None,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn times_have_fractions_and_may_be_before_1970() {
        for (text, seconds, nanoseconds) in [
            ("12", 12, 0),
            ("12.5", 12, 500_000_000),
            ("1.0000000019", 1, 1),
            ("-1", -1, 0),
            ("-0.25", -1, 750_000_000),
        ] {
            assert_eq!(
                timestamp(text.as_bytes()),
                Some(Timestamp {
                    seconds,
                    nanoseconds
                }),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_read_without_a_panic(bytes in "[0-9]{1,2} (path|size|mtime)=[-0-9.\n]{0,9}\n?") {
            drop(Records::parse(bytes.as_bytes()));
        }
    }
}
