//! Not enough space.

use std::fmt;
use std::path::PathBuf;

use super::plan::{Scarce, Shortage};

/// There is not enough space, and it cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSpace {
    /// Bytes, or inodes, that would have to be freed by somebody else.
    pub missing: u64,
    /// The directory.
    pub path: PathBuf,
    shortage: Shortage,
}

impl NoSpace {
    /// So many bytes are missing, and nothing is free.
    pub(in crate::layermanager) fn new(path: PathBuf, missing: u64) -> Self {
        let shortage = Shortage {
            scarce: Scarce::Bytes,
            missing,
            needed: missing,
            free: 0,
            evictable: 0,
        };
        Self::of(path, shortage)
    }

    /// The same, with so much more that is needed and missing.
    pub(in crate::layermanager) fn and(mut self, more: u64) -> Self {
        self.missing = self.missing.saturating_add(more);
        self.shortage.missing = self.missing;
        self.shortage.needed = self.shortage.needed.saturating_add(more);
        self
    }

    pub(super) fn of(path: PathBuf, shortage: Shortage) -> Self {
        Self {
            missing: shortage.missing,
            path,
            shortage,
        }
    }
}

impl fmt::Display for NoSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shortage {
            scarce,
            missing,
            needed,
            free,
            evictable,
        } = self.shortage;
        let path = self.path.display();
        let what = match scarce {
            Scarce::Bytes | Scarce::Limit(_) => "bytes",
            Scarce::Inodes => "inodes",
        };
        write!(
            f,
            "not enough space on {path}: {missing} {what} missing (needs {needed}, {free} free"
        )?;
        if let Scarce::Limit(percent) = scarce {
            write!(f, " of the {percent} % of the partition that it may take")?;
        }
        write!(f, ", {evictable} could be made free)")
    }
}

impl std::error::Error for NoSpace {}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(scarce: Scarce) -> String {
        let shortage = Shortage {
            scarce,
            missing: 12,
            needed: 40,
            free: 20,
            evictable: 8,
        };
        NoSpace::of("/var/aos/services".into(), shortage).to_string()
    }

    #[test]
    fn text_says_where_and_how_much_of_what() {
        assert_eq!(
            told(Scarce::Bytes),
            "not enough space on /var/aos/services: 12 bytes missing \
             (needs 40, 20 free, 8 could be made free)"
        );
        assert_eq!(
            told(Scarce::Inodes),
            "not enough space on /var/aos/services: 12 inodes missing \
             (needs 40, 20 free, 8 could be made free)"
        );
        assert_eq!(
            told(Scarce::Limit(30)),
            "not enough space on /var/aos/services: 12 bytes missing \
             (needs 40, 20 free of the 30 % of the partition that it may take, \
             8 could be made free)"
        );
        let plain = NoSpace::new("/a".into(), 5).to_string();
        assert!(plain.starts_with("not enough space on /a: 5 bytes missing"));
    }
}
