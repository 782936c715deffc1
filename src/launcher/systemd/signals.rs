//! Stop signals: what an image calls them, and who would hear them.

use std::str::FromStr as _;

use nix::sys::signal::Signal;

/// Real-time signals as images name them. The first two are the C library's.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// A stop signal that is not known.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown stop signal {0:?} in image config")]
pub(crate) struct SignalError(pub String);

/// Reads the stop signal of an image: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`.
/// An empty one is SIGTERM.
pub(crate) fn stop_signal(text: &str) -> Result<i32, SignalError> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name {
        "" if upper.is_empty() => Some(Signal::SIGTERM as i32),
        "RTMIN" => Some(RTMIN),
        "RTMAX" => Some(RTMAX),
        _ => offset(name, "RTMIN+")
            .map(|offset| RTMIN + offset)
            .or_else(|| offset(name, "RTMAX-").map(|offset| RTMAX - offset))
            .filter(|number| (RTMIN..=RTMAX).contains(number))
            .or_else(|| {
                name.parse()
                    .ok()
                    .filter(|number| (1..=RTMAX).contains(number))
            })
            .or_else(|| {
                Signal::from_str(&format!("SIG{name}"))
                    .ok()
                    .map(|signal| signal as i32)
            }),
    };

    number.ok_or_else(|| SignalError(text.to_owned()))
}

fn offset(name: &str, prefix: &str) -> Option<i32> {
    name.strip_prefix(prefix)?
        .parse()
        .ok()
        .filter(|offset| (0..=RTMAX).contains(offset))
}

/// Whether a process would notice a signal, from its `/proc/<pid>/status`.
///
/// The first process of a container gets no signal that it has no handler for,
/// unless it has blocked it to fetch it by itself.
pub(crate) fn hears(status: &str, signal: i32) -> bool {
    let bit = u32::try_from(signal - 1)
        .ok()
        .and_then(|shift| 1_u64.checked_shl(shift));
    let Some(bit) = bit else {
        return false;
    };

    ["SigCgt:", "SigBlk:"].iter().any(|field| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & bit != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        for (text, number) in [
            ("", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("TERM", 15),
            ("9", 9),
            ("SIGINT", 2),
            ("SIGRTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("64", 64),
        ] {
            assert_eq!(stop_signal(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "SIG",
            "SIGNONE",
            "0",
            "-1",
            "65",
            "RTMIN+31",
            "RTMAX-31",
            "SIGRTMIN+x",
            "1 5",
        ] {
            assert_eq!(
                stop_signal(text),
                Err(SignalError(text.to_owned())),
                "{text}"
            );
        }
    }

    fn status(caught: u64, blocked: u64) -> String {
        format!(
            "Name:\tx\nSigBlk:\t{blocked:016x}\nSigIgn:\tffffffffffffffff\nSigCgt:\t{caught:016x}\n"
        )
    }

    #[test]
    fn a_caught_signal_is_heard() {
        assert!(hears(&status(1 << 14, 0), 15));
        assert!(hears(&status(1 << 63, 0), 64));
    }

    #[test]
    fn a_blocked_signal_is_heard() {
        assert!(hears(&status(0, 1 << 14), 15));
    }

    #[test]
    fn an_unhandled_signal_is_not_heard() {
        assert!(!hears(&status(!(1 << 14), !(1 << 14)), 15));
        assert!(!hears(&status(u64::MAX, 0), 0));
        assert!(!hears("", 15));
    }
}
