//! A directory that an archive could be unpacked to, in mind only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Short;

use super::{Attributes, EntryPath, MisfitError, Step};

/// A step cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RehearsalError {
    /// It does not fit what is there.
    #[error(transparent)]
    Misfit(#[from] MisfitError),
    /// A hard link takes the place of a directory with its own target.
    #[error("cannot write {:?}", Short(path))]
    TargetRemoved {
        /// The link.
        path: PathBuf,
    },
}

/// Whose the unpacked files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// One for all: a service's own files.
    Given,
    /// As the archive says: a layer.
    Archive,
}

/// What the steps so far would have made of an empty directory.
#[derive(Debug)]
pub struct Rehearsal {
    owners: Owners,
    nodes: BTreeMap<EntryPath, Node>,
    files: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    /// With a number that its other names share.
    File(u64),
    Symlink,
    Whiteout,
}

/// What becomes of something else where a directory has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    Refuse,
    Remove,
}

impl Rehearsal {
    /// An empty directory.
    #[must_use]
    pub fn new(owners: Owners) -> Self {
        Self {
            owners,
            nodes: BTreeMap::from([(EntryPath::default(), Node::Directory)]),
            files: 0,
        }
    }

    /// Takes one step more.
    pub fn take(&mut self, step: &Step) -> Result<(), RehearsalError> {
        match step {
            Step::Directory { path, attributes } => {
                self.check_owner(path, *attributes)?;
                self.directory(path, Obstacle::Remove)
            }
            Step::File { path, attributes } => {
                self.check_owner(path, *attributes)?;
                self.files += 1;
                self.put(path, Node::File(self.files))
            }
            Step::Symlink {
                path, attributes, ..
            } => {
                self.check_owner(path, *attributes)?;
                self.put(path, Node::Symlink)
            }
            Step::HardLink { path, target } => self.hard_link(path, target),
            Step::Whiteout { path } => {
                self.parent(path)?;
                self.nodes.entry(path.clone()).or_insert(Node::Whiteout);
                Ok(())
            }
            Step::Opaque { directory } => self.directory(directory, Obstacle::Refuse),
            Step::LeaveOut(_) => Ok(()),
        }
    }

    fn hard_link(&mut self, path: &EntryPath, target: &EntryPath) -> Result<(), RehearsalError> {
        let Some(file @ Node::File(_)) = self.nodes.get(target).copied() else {
            return Err(MisfitError::LinkTarget {
                path: path.as_path().to_owned(),
                target: target.as_path().to_owned(),
            }
            .into());
        };
        if self.nodes.get(path) == Some(&file) {
            return Ok(());
        }
        self.put(path, file)?;
        if self.nodes.contains_key(target) {
            Ok(())
        } else {
            Err(RehearsalError::TargetRemoved {
                path: path.as_path().to_owned(),
            })
        }
    }

    /// Puts something in the place of whatever is there.
    fn put(&mut self, path: &EntryPath, node: Node) -> Result<(), RehearsalError> {
        self.parent(path)?;
        self.remove(path);
        self.nodes.insert(path.clone(), node);
        Ok(())
    }

    fn parent(&mut self, path: &EntryPath) -> Result<(), RehearsalError> {
        path.split().map_or(Ok(()), |(parent, _)| {
            self.directory(&parent, Obstacle::Refuse)
        })
    }

    fn directory(&mut self, path: &EntryPath, obstacle: Obstacle) -> Result<(), RehearsalError> {
        match self.nodes.get(path) {
            Some(Node::Directory) => return Ok(()),
            Some(Node::Whiteout) | None => {}
            Some(Node::File(_) | Node::Symlink) if obstacle == Obstacle::Remove => {}
            Some(Node::File(_) | Node::Symlink) => {
                return Err(MisfitError::NotDirectory {
                    path: path.as_path().to_owned(),
                }
                .into());
            }
        }
        self.put(path, Node::Directory)
    }

    fn remove(&mut self, path: &EntryPath) {
        if self.nodes.remove(path) != Some(Node::Directory) {
            return;
        }
        let inside = self
            .nodes
            .range(path.clone()..)
            .take_while(|(inner, _)| inner.as_bytes().starts_with(path.as_bytes()))
            .filter(|(inner, _)| inner.as_path().starts_with(path.as_path()))
            .map(|(inner, _)| inner.clone())
            .collect::<Vec<_>>();
        for inner in inside {
            self.nodes.remove(&inner);
        }
    }

    fn check_owner(&self, path: &EntryPath, attributes: Attributes) -> Result<(), RehearsalError> {
        // The kernel takes the largest one for "leave it as it is".
        let exists = |id: u64| id < u64::from(u32::MAX);
        let exist = exists(attributes.uid) && exists(attributes.gid);
        if self.owners == Owners::Given || exist {
            return Ok(());
        }
        Err(MisfitError::Owner {
            path: path.as_path().to_owned(),
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Timestamp;
    use super::*;

    fn path(name: &str) -> EntryPath {
        EntryPath::parse(name.as_bytes()).unwrap()
    }

    fn attributes(uid: u64) -> Attributes {
        Attributes {
            mode: 0o644,
            uid,
            gid: 0,
            mtime: Timestamp::default(),
        }
    }

    /// A step by its sign: `d` directory, `f` file, `l` link, `h` hard link to
    /// `f`, `w` whiteout, `o` opaque.
    fn step(sign: char, name: &str) -> Step {
        let (path, attributes) = (path(name), attributes(0));
        match sign {
            'd' => Step::Directory { path, attributes },
            'f' => Step::File { path, attributes },
            'l' => Step::Symlink {
                path,
                attributes,
                target: b"..".to_vec(),
            },
            'h' => Step::HardLink {
                path,
                target: self::path("f"),
            },
            'w' => Step::Whiteout { path },
            'o' => Step::Opaque { directory: path },
            _ => unreachable!(),
        }
    }

    fn take(steps: &[(char, &str)]) -> Result<(), String> {
        let mut rehearsal = Rehearsal::new(Owners::Archive);
        let mut steps = steps.iter();
        steps
            .try_for_each(|(sign, name)| rehearsal.take(&step(*sign, name)))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_fits_is_taken() {
        for steps in [
            &[('d', ""), ('f', "a/b/c"), ('d', "a"), ('f', "a/b/c")][..],
            &[('f', "f"), ('h', "a"), ('h', "a"), ('h', "d/x")],
            &[('l', "a"), ('d', "a"), ('f', "a/b")],
            &[('f', "a/b"), ('l', "a"), ('f', "a")],
            &[('w', "a"), ('f', "a/b"), ('w', "a"), ('o', "a")],
            &[('o', ""), ('o', "x/y")],
        ] {
            assert_eq!(take(steps), Ok(()), "{steps:?}");
        }
    }

    #[test]
    fn name_through_something_else_is_refused() {
        for sign in ['d', 'f', 'l', 'w', 'o'] {
            for below in ["a/b", "a/b/c"] {
                for steps in [
                    &[('l', "a"), (sign, below)][..],
                    &[('f', "a"), (sign, below)],
                    &[('f', "a/b/c/d"), ('l', "a"), (sign, below)],
                ] {
                    let refusal = take(steps).unwrap_err();
                    let expected = "entry below \"a\", which is not a directory but maybe a link";
                    assert_eq!(refusal, expected, "{steps:?}");
                }
            }
        }
        assert!(take(&[('f', "a"), ('o', "a")]).is_err());
    }

    #[test]
    fn hard_link_leads_to_an_earlier_file() {
        for steps in [
            &[('h', "a")][..],
            &[('d', "f"), ('h', "a")],
            &[('l', "f"), ('h', "a")],
            &[('w', "f"), ('h', "a")],
            &[('f', "f"), ('d', "f"), ('h', "a")],
        ] {
            let expected =
                "entry \"a\" is a hard link to \"f\", which is not a file of this archive";
            assert_eq!(take(steps).unwrap_err(), expected, "{steps:?}");
        }
    }

    #[test]
    fn hard_link_cannot_remove_its_target() {
        let mut rehearsal = Rehearsal::new(Owners::Archive);
        rehearsal.take(&step('f', "a/b")).unwrap();
        let link = Step::HardLink {
            path: path("a"),
            target: path("a/b"),
        };

        let error = rehearsal.take(&link).unwrap_err();

        assert_eq!(error.to_string(), "cannot write \"a\"");
    }

    #[test]
    fn removing_takes_only_what_is_inside() {
        let steps = [('f', "a/b"), ('f', "a-b"), ('f', "f"), ('f', "a")];

        assert_eq!(take(&steps), Ok(()));
        assert_eq!(
            take(&[&steps[..], &[('h', "a-b/c")]].concat()).unwrap_err(),
            "entry below \"a-b\", which is not a directory but maybe a link"
        );
    }

    #[test]
    fn owners_that_cannot_be_matter_only_where_they_are_kept() {
        let file = |uid| Step::File {
            path: path("a"),
            attributes: attributes(uid),
        };

        for uid in [u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let kept = Rehearsal::new(Owners::Archive)
                .take(&file(uid))
                .unwrap_err();
            assert_eq!(
                kept.to_string(),
                "entry \"a\" has an owner that cannot exist"
            );
            assert!(Rehearsal::new(Owners::Given).take(&file(uid)).is_ok());
        }
        let largest = file(u64::from(u32::MAX) - 1);
        assert!(Rehearsal::new(Owners::Archive).take(&largest).is_ok());
    }
}
