//! Names of entries, as paths that cannot leave their root by name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of a path: Linux' PATH_MAX with its final zero.
const PATH_MAX: usize = 4095;
/// Bytes of a name.
const NAME_MAX: usize = 255;
/// Directories inside each other. A tree can still be removed with the file
/// descriptors that a process has by default.
const DEPTH_MAX: usize = 128;

/// A name that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It has a `..`.
    #[error("leaves the root")]
    LeavesRoot,
    /// There is a zero byte in it.
    #[error("has a zero byte in its name")]
    ZeroByte,
    /// It, or one of its parts, is too long.
    #[error("has a name that is too long")]
    TooLong,
    /// It has too many parts.
    #[error("has too many directories in its name")]
    TooDeep,
    /// It stands for the root itself and is no directory.
    #[error("has no name")]
    Root,
    /// It uses a name of whiteouts for something else.
    #[error("has a reserved name: .wh. is for whiteouts")]
    Reserved,
}

/// A path below the root of an archive: parts divided by single slashes, none of
/// them empty, `.` or `..`. The root itself is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(Vec<u8>);

impl EntryPath {
    /// Reads a name as archives have it. A slash at its start is dropped, as
    /// every tar does; a `..` is refused, wherever it leads.
    pub fn parse(name: &[u8]) -> Result<Self, PathError> {
        if name.contains(&0) {
            return Err(PathError::ZeroByte);
        }

        let mut path = Vec::with_capacity(name.len());
        let mut depth = 0;
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err(PathError::LeavesRoot),
                _ if part.len() > NAME_MAX => return Err(PathError::TooLong),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
            depth += 1;
        }

        if path.len() > PATH_MAX {
            return Err(PathError::TooLong);
        }
        if depth > DEPTH_MAX {
            return Err(PathError::TooDeep);
        }
        Ok(Self(path))
    }

    /// Whether it is the root itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a relative path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The directory that it is in, and its name there. The root has none.
    #[must_use]
    pub fn split(&self) -> Option<(Self, &OsStr)> {
        if self.is_root() {
            return None;
        }
        let (parent, name) = match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => {
                let (parent, rest) = self.0.split_at(slash);
                (parent, rest.split_first().map_or(rest, |(_, name)| name))
            }
            None => (&[][..], self.0.as_slice()),
        };
        Some((Self(parent.to_vec()), OsStr::from_bytes(name)))
    }

    /// Its parts, the outermost first.
    pub fn parts(&self) -> impl Iterator<Item = &OsStr> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
            .map(OsStr::from_bytes)
    }

    /// Appends a name that is a part of a parsed path.
    #[must_use]
    pub(super) fn join(&self, name: &[u8]) -> Self {
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn parsed(name: &str) -> Result<String, PathError> {
        EntryPath::parse(name.as_bytes()).map(|path| path.as_path().to_str().unwrap().to_owned())
    }

    #[test]
    fn harmless_forms_of_a_name_are_the_same_path() {
        for name in ["a/b", "./a/b", "/a/b", "//a//b/", "a/./b/.", "./././/a/b"] {
            assert_eq!(parsed(name).as_deref(), Ok("a/b"), "{name}");
        }
    }

    #[test]
    fn names_of_the_root_are_the_root() {
        for name in ["", ".", "./", "/", "//."] {
            assert!(EntryPath::parse(name.as_bytes()).unwrap().is_root());
        }
    }

    #[test]
    fn every_step_upwards_is_refused() {
        for name in [
            "..",
            "../a",
            "a/..",
            "a/../b",
            "/../etc",
            "./..",
            "a/b/../../..",
        ] {
            assert_eq!(parsed(name), Err(PathError::LeavesRoot), "{name}");
        }
    }

    #[test]
    fn dots_in_other_names_are_names() {
        for name in ["...", "..a", "a..", ".a", "a/.../b"] {
            assert_eq!(parsed(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn name_with_a_zero_byte_is_refused() {
        assert_eq!(EntryPath::parse(b"a\0b"), Err(PathError::ZeroByte));
    }

    #[test]
    fn lengths_are_bounded() {
        assert!(parsed(&"a".repeat(255)).is_ok());
        assert_eq!(parsed(&"a".repeat(256)), Err(PathError::TooLong));
        assert_eq!(
            parsed(&format!("{}/", "a".repeat(200)).repeat(21)),
            Err(PathError::TooLong)
        );
        assert!(parsed(&"a/".repeat(128)).is_ok());
        assert_eq!(parsed(&"a/".repeat(129)), Err(PathError::TooDeep));
    }

    #[test]
    fn path_is_split_at_its_last_slash() {
        let path = EntryPath::parse(b"a/b/c").unwrap();

        let (parent, name) = path.split().unwrap();

        assert_eq!((parent.as_bytes(), name), (&b"a/b"[..], OsStr::new("c")));
    }

    proptest! {
        #[test]
        fn no_name_becomes_a_path_that_leaves_the_root(
            name in prop::collection::vec(prop::sample::select(b"./a\\\n\0".to_vec()), 0..40)
        ) {
            if let Ok(path) = EntryPath::parse(&name) {
                prop_assert!(path
                    .as_path()
                    .components()
                    .all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(&EntryPath::parse(path.as_bytes()), &Ok(path.clone()));
                prop_assert_eq!(path.parts().count(), path.as_path().components().count());
            }
        }
    }
}
