//! Sums of a whole package file.

use sha3::Digest as _;

/// SHA3-256 and SHA3-512 of a package file. On the wire they are called sha256
/// and sha512.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackageSums {
    /// SHA3-256.
    pub sha3_256: [u8; 32],
    /// SHA3-512.
    pub sha3_512: [u8; 64],
}

/// Computes SHA3-256 piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Sha3Short(sha3::Sha3_256);

impl Sha3Short {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum of all bytes taken.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// Computes SHA3-512 piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Sha3Long(sha3::Sha3_512);

impl Sha3Long {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum of all bytes taken.
    #[must_use]
    pub fn finish(self) -> [u8; 64] {
        self.0.finalize().into()
    }
}

impl PackageSums {
    /// Sums of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let (mut short, mut long) = (Sha3Short::default(), Sha3Long::default());
        short.update(bytes);
        long.update(bytes);

        Self {
            sha3_256: short.finish(),
            sha3_512: long.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn sums_are_sha3_and_not_sha2() {
        let sums = PackageSums::of(b"abc");

        assert_eq!(
            hex(&sums.sha3_256),
            "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"
        );
        assert_eq!(
            hex(&sums.sha3_512),
            "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e\
             10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0"
        );
    }
}
