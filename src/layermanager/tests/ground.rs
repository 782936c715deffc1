//! A place where a bad archive could do harm.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::support::Tar;
use super::unpacking::unpack_to;
use crate::model::Chain;

/// A root beside a directory that must stay as it is.
pub(super) struct Ground {
    pub(super) directory: TempDir,
}

impl Ground {
    pub(super) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        fs::write(directory.path().join("outside/shadow"), "secret").unwrap();
        Self { directory }
    }

    pub(super) fn outside(&self) -> String {
        self.directory.path().join("outside").display().to_string()
    }

    pub(super) fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub(super) fn unpack(&self, tar: Tar) -> Result<(), String> {
        unpack_to(&self.root(), &tar.build())
            .map(drop)
            .map_err(|error| Chain(&error).to_string())
    }

    pub(super) fn assert_outside_untouched(&self) {
        let outside = self.directory.path().join("outside");
        let file = fs::metadata(outside.join("shadow")).unwrap();
        assert_eq!(
            fs::read_to_string(outside.join("shadow")).unwrap(),
            "secret"
        );
        assert_eq!((file.nlink(), file.mode() & 0o7777), (1, 0o644));
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(
            fs::read_dir(self.directory.path()).unwrap().count(),
            2,
            "something appeared beside the root"
        );
    }

    /// The archive is refused with a text that has all these parts.
    pub(super) fn refuses(&self, tar: Tar, parts: &[&str]) {
        let text = self.unpack(tar).unwrap_err();

        for part in parts {
            assert!(text.contains(part), "{text}");
        }
        self.assert_outside_untouched();
    }
}
