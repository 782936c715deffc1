//! Texts of unknown origin, cut for errors.

use std::fmt::{self, Write};

/// Characters of a text that are shown, the mark of the cut included.
const SHOWN: usize = 200;

/// Prints no more than 200 characters of what a package or a peer wrote, the
/// last one `…` if there are more. An error must not grow with what it is about.
#[derive(Clone, Copy)]
pub struct Short<T>(pub T);

impl<T: fmt::Display> fmt::Display for Short<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        cut(f, format_args!("{}", self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Short<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        cut(f, format_args!("{:?}", self.0))
    }
}

/// A JSON error that repeats no more than [`Short`] of the document.
#[derive(Debug, thiserror::Error)]
#[error("{}", Short(.0))]
pub struct JsonError(serde_json::Error);

impl From<serde_json::Error> for JsonError {
    /// The error is not the new one's source: that would be printed as a whole.
    fn from(error: serde_json::Error) -> Self {
        Self(error)
    }
}

fn cut(f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>) -> fmt::Result {
    let mut start = Start::default();
    // An error is the end of what is wanted.
    let ended = start.write_fmt(text).is_err();
    if ended || start.count > SHOWN {
        start.text.pop();
        start.text.pop();
        start.text.push('…');
    }
    f.write_str(&start.text)
}

/// One character more than is shown.
#[derive(Default)]
struct Start {
    text: String,
    count: usize,
}

impl Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.count > SHOWN {
                return Err(fmt::Error);
            }
            self.text.push(character);
            self.count += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_fits_is_whole() {
        for length in [0, 1, 199, 200] {
            let text = "ä".repeat(length);

            assert_eq!(Short(&text).to_string(), text);
        }
    }

    #[test]
    fn longer_text_is_cut_with_a_mark() {
        for length in [201, 202, 100_000] {
            let text = Short("ä".repeat(length)).to_string();

            assert_eq!(text, "ä".repeat(199) + "…");
        }
    }

    #[test]
    fn escapes_count() {
        let text = format!("{:?}", Short("\u{1}".repeat(200)));

        assert_eq!(text.chars().count(), 200);
        assert!(
            text.starts_with("\"\\u{1}") && text.ends_with('…'),
            "{text}"
        );
    }

    #[test]
    fn json_error_repeats_only_the_start_of_a_value() {
        let json = format!("\"{}\"", "x".repeat(5000));
        let error = JsonError::from(serde_json::from_str::<u64>(&json).unwrap_err());

        let text = error.to_string();
        assert!(text.starts_with("invalid type: string \"xxx"), "{text}");
        assert_eq!(text.chars().count(), 200);
    }
}
