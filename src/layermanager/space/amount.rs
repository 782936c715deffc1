//! Room on a filesystem.

/// Bytes and inodes. Sums and differences end at the largest number and at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::layermanager) struct Amount {
    /// In whole blocks.
    pub(in crate::layermanager) bytes: u64,
    /// Files, directories and links.
    pub(in crate::layermanager) inodes: u64,
}

impl Amount {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            inodes: self.inodes.saturating_sub(other.inodes),
        }
    }

    pub(super) fn at_most(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.min(other.bytes),
            inodes: self.inodes.min(other.inodes),
        }
    }
}
