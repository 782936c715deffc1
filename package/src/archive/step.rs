//! What an entry means for a directory that the archive is unpacked to.

use super::error::{ArchiveError, Name};
use super::{Entry, EntryPath, Kind, PathError, Timestamp};

/// All names that begin so are whiteouts, by the OCI image specification.
const WHITEOUT: &[u8] = b".wh.";
/// Hides all that lower layers have in the same directory.
const OPAQUE: &[u8] = b".wh..wh..opq";

const PERMISSIONS: u32 = 0o777;
const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;

/// Mode, owner and time of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permissions, for a directory also the sticky bit.
    pub mode: u32,
    /// Owner in the archive.
    pub uid: u64,
    /// Group in the archive.
    pub gid: u64,
    /// Last change.
    pub mtime: Timestamp,
}

/// What to do for one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a directory, or give an existing one new attributes.
    Directory {
        /// Where.
        path: EntryPath,
        /// Its attributes.
        attributes: Attributes,
    },
    /// Write the content of the entry to a new file.
    File {
        /// Where.
        path: EntryPath,
        /// Its attributes.
        attributes: Attributes,
    },
    /// Make a symbolic link. It is followed by nobody but the service.
    Symlink {
        /// Where.
        path: EntryPath,
        /// Where it leads, as it is written.
        target: Vec<u8>,
        /// Its attributes; the mode has no meaning.
        attributes: Attributes,
    },
    /// Give another name to a file that is there.
    HardLink {
        /// Where.
        path: EntryPath,
        /// The file.
        target: EntryPath,
    },
    /// Hide what lower layers have at this path.
    Whiteout {
        /// Where.
        path: EntryPath,
    },
    /// Hide all that lower layers have in a directory.
    Opaque {
        /// The directory.
        directory: EntryPath,
    },
    /// Do nothing.
    LeaveOut(LeftOut),
}

/// Entries that are never unpacked. What uses them in a container gets them from
/// the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// A character or block device.
    Device,
    /// A named pipe. Tar knows no sockets.
    Fifo,
}

/// A [`Step`], and what it loses of the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What to do.
    pub step: Step,
    /// A setuid or setgid bit was cleared.
    pub set_id_cleared: bool,
}

impl Step {
    /// Decides what to do for `entry`.
    pub fn plan(entry: &Entry) -> Result<Planned, ArchiveError> {
        let wrong = |reason| ArchiveError::Path {
            name: entry.shown(),
            reason,
        };
        let path = EntryPath::parse(&entry.name).map_err(wrong)?;
        if let Some(step) = whiteout(&path).map_err(wrong)? {
            return Ok(step.into());
        }
        if path.is_root() && entry.kind != Kind::Directory {
            return Err(wrong(PathError::Root));
        }

        let refused = |reason| ArchiveError::Entry {
            name: entry.shown(),
            reason,
        };
        match entry.kind {
            Kind::Directory => Ok(
                entry.with_attributes(STICKY, |attributes| Self::Directory { path, attributes })
            ),
            Kind::File => {
                Ok(entry.with_attributes(0, |attributes| Self::File { path, attributes }))
            }
            Kind::Symlink if entry.link.is_empty() => Err(refused("is a link to nowhere")),
            Kind::Symlink if entry.link.contains(&0) => {
                Err(refused("is a link with a zero byte in its target"))
            }
            Kind::Symlink => {
                let target = entry.link.clone();
                let planned = entry.with_attributes(0, |attributes| Self::Symlink {
                    path,
                    target,
                    attributes,
                });
                // A link's own mode has no meaning, so nothing is lost.
                Ok(planned.step.into())
            }
            Kind::HardLink => {
                let target = link_target(&entry.link).map_err(|reason| ArchiveError::Target {
                    name: entry.shown(),
                    target: Name::from(entry.link.as_slice()),
                    reason,
                })?;
                if target == path {
                    return Err(refused("is a hard link to itself"));
                }
                Ok(Self::HardLink { path, target }.into())
            }
            Kind::Device => Ok(Self::LeaveOut(LeftOut::Device).into()),
            Kind::Fifo => Ok(Self::LeaveOut(LeftOut::Fifo).into()),
            Kind::Sparse => Err(refused("is a sparse file, which is not supported")),
            Kind::Unknown(_) => Err(refused("is of a type that is not supported")),
        }
    }
}

impl From<Step> for Planned {
    fn from(step: Step) -> Self {
        Self {
            step,
            set_id_cleared: false,
        }
    }
}

impl Entry {
    fn with_attributes(&self, kept: u32, step: impl FnOnce(Attributes) -> Step) -> Planned {
        Planned {
            step: step(Attributes {
                mode: self.mode & (PERMISSIONS | kept),
                uid: self.uid,
                gid: self.gid,
                mtime: self.mtime,
            }),
            set_id_cleared: self.mode & SET_ID != 0,
        }
    }
}

/// The step of a whiteout, if `path` names one. All other uses of such names
/// are refused: a later reader could take them for whiteouts.
fn whiteout(path: &EntryPath) -> Result<Option<Step>, PathError> {
    use std::os::unix::ffi::OsStrExt;

    let Some((directory, name)) = path.split() else {
        return Ok(None);
    };
    if is_reserved(&directory) {
        return Err(PathError::Reserved);
    }
    if name.as_bytes() == OPAQUE {
        return Ok(Some(Step::Opaque { directory }));
    }
    match name.as_bytes().strip_prefix(WHITEOUT) {
        None => Ok(None),
        Some(b"" | b"." | b"..") => Err(PathError::Reserved),
        Some(hidden) if hidden.starts_with(WHITEOUT) => Err(PathError::Reserved),
        Some(hidden) => Ok(Some(Step::Whiteout {
            path: directory.join(hidden),
        })),
    }
}

fn link_target(link: &[u8]) -> Result<EntryPath, PathError> {
    let target = EntryPath::parse(link)?;
    if target.is_root() {
        return Err(PathError::Root);
    }
    if is_reserved(&target) {
        return Err(PathError::Reserved);
    }
    Ok(target)
}

fn is_reserved(path: &EntryPath) -> bool {
    use std::os::unix::ffi::OsStrExt;

    path.parts()
        .any(|part| part.as_bytes().starts_with(WHITEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: Kind) -> Entry {
        Entry {
            name: name.into(),
            kind,
            link: Vec::new(),
            size: 0,
            offset: 0,
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime: Timestamp::default(),
            attributes: 0,
        }
    }

    fn path(name: &str) -> EntryPath {
        EntryPath::parse(name.as_bytes()).unwrap()
    }

    fn refusal(entry: &Entry) -> String {
        Step::plan(entry).unwrap_err().to_string()
    }

    #[test]
    fn whiteout_hides_the_name_after_its_mark() {
        let planned = Step::plan(&entry("etc/.wh.passwd", Kind::File)).unwrap();

        let path = path("etc/passwd");
        assert_eq!(planned.step, Step::Whiteout { path });
    }

    #[test]
    fn opaque_mark_is_for_its_directory() {
        let planned = Step::plan(&entry("./etc/.wh..wh..opq", Kind::File)).unwrap();

        let directory = path("etc");
        assert_eq!(planned.step, Step::Opaque { directory });
    }

    #[test]
    fn other_names_of_whiteouts_are_refused() {
        for name in [
            ".wh.",
            ".wh..",
            ".wh...",
            "a/.wh.",
            ".wh..wh.aufs",
            ".wh.a/b",
            ".wh..wh..opq/b",
        ] {
            assert!(
                refusal(&entry(name, Kind::File)).contains("reserved"),
                "{name}"
            );
        }
    }

    #[test]
    fn name_that_leads_upwards_is_refused_by_its_name() {
        assert_eq!(
            refusal(&entry("../../etc/passwd", Kind::File)),
            "entry ../../etc/passwd leaves the root"
        );
    }

    #[test]
    fn hard_link_may_not_lead_upwards_or_nowhere_or_to_itself() {
        let link = |target: &str| Entry {
            link: target.into(),
            ..entry("a", Kind::HardLink)
        };

        assert_eq!(
            refusal(&link("../etc/shadow")),
            "entry a: its target ../etc/shadow leaves the root"
        );
        assert!(refusal(&link("")).contains("has no name"));
        assert!(refusal(&link("./a")).contains("itself"));
        assert!(refusal(&link("b/.wh.c")).contains("reserved"));
    }

    #[test]
    fn absolute_hard_link_target_is_below_the_root() {
        let link = Entry {
            link: b"/etc/shadow".to_vec(),
            ..entry("a", Kind::HardLink)
        };

        let (path, target) = (path("a"), path("etc/shadow"));
        assert_eq!(
            Step::plan(&link).unwrap().step,
            Step::HardLink { path, target }
        );
    }

    #[test]
    fn set_id_bits_are_cleared_and_told() {
        let file = Entry {
            mode: 0o7755,
            ..entry("a", Kind::File)
        };

        let planned = Step::plan(&file).unwrap();

        assert!(planned.set_id_cleared);
        assert!(matches!(planned.step, Step::File { attributes, .. } if attributes.mode == 0o755));
    }

    #[test]
    fn directory_keeps_its_sticky_bit() {
        let directory = Entry {
            mode: 0o41777,
            ..entry("tmp/", Kind::Directory)
        };

        let planned = Step::plan(&directory).unwrap();

        assert!(
            matches!(planned.step, Step::Directory { attributes, .. } if attributes.mode == 0o1777)
        );
    }

    #[test]
    fn root_can_only_be_a_directory() {
        assert!(Step::plan(&entry("./", Kind::Directory)).is_ok());
        for kind in [Kind::File, Kind::Symlink, Kind::HardLink, Kind::Fifo] {
            assert!(refusal(&entry("./", kind)).contains("has no name"));
        }
    }

    #[test]
    fn devices_and_fifos_are_left_out() {
        for (kind, left_out) in [(Kind::Device, LeftOut::Device), (Kind::Fifo, LeftOut::Fifo)] {
            let planned = Step::plan(&entry("dev/null", kind)).unwrap();

            assert_eq!(planned.step, Step::LeaveOut(left_out));
        }
    }

    #[test]
    fn types_that_cannot_be_unpacked_are_refused() {
        assert!(refusal(&entry("a", Kind::Sparse)).contains("sparse"));
        assert!(refusal(&entry("a", Kind::Unknown(b'V'))).contains("not supported"));
    }

    #[test]
    fn symlink_needs_a_target() {
        let zero = Entry {
            link: b"a\0b".to_vec(),
            ..entry("a", Kind::Symlink)
        };

        assert!(refusal(&entry("a", Kind::Symlink)).contains("nowhere"));
        assert!(refusal(&zero).contains("zero byte"));
    }
}
