//! OCI digests: `algorithm:hex`, and what computes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::Short;

/// How a blob is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The name in a digest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

/// The digest of a blob. Its two parts are safe as file names: the first is one
/// of three words, the second only lower case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// A text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{:?} is not a digest: expected sha256, sha384 or sha512, a colon and lower case hex \
     digits of that length",
    Short(text)
)]
pub struct DigestError {
    text: String,
}

/// Characters that are kept of a wrong digest, enough for [`Short`].
const KEPT: usize = 256;

impl Digest {
    /// Hashes `bytes`.
    #[must_use]
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = BlobHasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// How the blob is hashed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The part after the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Whether `bytes` have this digest.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        *self == Self::of(self.algorithm, bytes)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Algorithm::ALL
            .into_iter()
            .find_map(|algorithm| {
                let hex = text.strip_prefix(algorithm.name())?.strip_prefix(':')?;
                let lower_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                (hex.len() == algorithm.hex_len() && hex.bytes().all(lower_hex)).then(|| Self {
                    algorithm,
                    hex: hex.to_owned(),
                })
            })
            .ok_or_else(|| DigestError {
                text: text.chars().take(KEPT).collect(),
            })
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

/// Computes a [`Digest`] piece by piece.
#[derive(Clone, Debug)]
pub struct BlobHasher(State);

#[derive(Clone, Debug)]
enum State {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl BlobHasher {
    /// A hasher that has seen nothing.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => State::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of all bytes taken.
    #[must_use]
    pub fn finish(self) -> Digest {
        let (algorithm, hex) = match self.0 {
            State::Sha256(state) => (Algorithm::Sha256, hex(&state.finalize())),
            State::Sha384(state) => (Algorithm::Sha384, hex(&state.finalize())),
            State::Sha512(state) => (Algorithm::Sha512, hex(&state.finalize())),
        };
        Digest { algorithm, hex }
    }
}

/// Lower case hex digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;

    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digest_of_nothing_is_the_known_one() {
        let digest = Digest::of(Algorithm::Sha256, b"");

        assert_eq!(digest.to_string(), EMPTY);
    }

    #[test]
    fn every_algorithm_reads_its_own_text() {
        for algorithm in Algorithm::ALL {
            let digest = Digest::of(algorithm, b"blob");

            assert_eq!(digest.to_string().parse(), Ok(digest));
        }
    }

    #[test]
    fn texts_that_are_no_digest_are_refused() {
        let upper = EMPTY.to_uppercase().replace("SHA", "sha");
        let long = format!("{EMPTY}0");
        let short = EMPTY.strip_suffix('5').unwrap();
        let path = format!("sha256:../{}", "a".repeat(61));
        let other = EMPTY.replace("sha256", "sha384");
        let md5 = format!("md5:{}", "a".repeat(32));
        let colon = EMPTY.replace(':', "");
        let wide = format!("sha256:{}", "é".repeat(32));

        for text in [
            "", ":", "sha256", "sha256:", &upper, &long, short, &path, &other, &md5, &colon, &wide,
        ] {
            assert!(Digest::from_str(text).is_err(), "{text}");
        }
    }

    #[test]
    fn error_of_a_huge_text_is_short() {
        let error = Digest::from_str(&"x".repeat(1 << 20)).unwrap_err();

        assert!(error.to_string().len() < 400);
    }

    proptest! {
        #[test]
        fn whatever_parses_is_printed_as_it_was(text in "(sha(256|384|512):)?[0-9a-fA-F/.]{0,130}") {
            if let Ok(digest) = Digest::from_str(&text) {
                prop_assert_eq!(digest.to_string(), text);
                prop_assert!(digest.hex().bytes().all(|byte| byte.is_ascii_hexdigit()));
            }
        }

        #[test]
        fn pieces_hash_as_the_whole(bytes: Vec<u8>, cut: prop::sample::Index) {
            let cut = cut.index(bytes.len() + 1);
            let mut hasher = BlobHasher::new(Algorithm::Sha512);

            hasher.update(&bytes[..cut]);
            hasher.update(&bytes[cut..]);

            prop_assert_eq!(hasher.finish(), Digest::of(Algorithm::Sha512, &bytes));
        }
    }
}
