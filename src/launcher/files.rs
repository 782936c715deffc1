//! Files of an instance outside its image: its state, its storage, and what SM
//! writes for it. All calls block.
//!
//! State and storage paths come from CM. No such path leads out of the
//! directory that it is relative to: not by its own text, not by a link.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown};

/// A file cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It would lie elsewhere.
    #[error("{what} path {path:?} leads out of its directory")]
    Outside { what: &'static str, path: String },
    /// It is there, but as something else.
    #[error("{what} {} is not a {wanted}", path.display())]
    Kind {
        what: &'static str,
        path: PathBuf,
        wanted: &'static str,
    },
    /// The system refused.
    #[error("cannot make {what} {}", path.display())]
    Make {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Who a file belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// The state file at `path` below `base`, made if there is none.
pub(crate) fn state_file(base: &Path, path: &str, owner: Owner) -> Result<PathBuf, FileError> {
    make("state file", base, path, |directory, name| {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let new = flags | OFlag::O_CREAT | OFlag::O_EXCL;
        let (fd, is_new) = match openat(directory, name, new, Mode::from_bits_truncate(0o600)) {
            Err(Errno::EEXIST) => (openat(directory, name, flags, Mode::empty())?, false),
            other => (other?, true),
        };
        if kind(&fd)? != SFlag::S_IFREG {
            return Err(Errno::EISDIR);
        }
        give(&fd, owner, is_new.then_some(0o600))
    })
}

/// The storage directory at `path` below `base`, made if there is none.
pub(crate) fn storage_directory(
    base: &Path,
    path: &str,
    owner: Owner,
) -> Result<PathBuf, FileError> {
    make("storage directory", base, path, |directory, name| {
        let is_new = make_directory(directory, name)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(directory, name, flags, Mode::empty())?;
        give(&fd, owner, is_new.then_some(0o755))
    })
}

/// Writes a file that `mode` alone says who may read.
pub(crate) fn write_file(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    remove_file(path)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;

    file.write_all(text)
}

/// Makes an existing file have this text, if it has another. It stays the same
/// file: who has it mounted sees the change, and never an empty file.
pub(crate) fn rewrite_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    let mut present = Vec::new();
    file.read_to_end(&mut present)?;
    if present == text {
        return Ok(());
    }

    file.write_all_at(text, 0)?;
    file.set_len(text.len() as u64)
}

/// Removes a file, if there is one.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make(
    what: &'static str,
    base: &Path,
    path: &str,
    last: impl FnOnce(&OwnedFd, &Path) -> nix::Result<()>,
) -> Result<PathBuf, FileError> {
    let outside = || FileError::Outside {
        what,
        path: path.to_owned(),
    };
    let names = below(path).ok_or_else(outside)?;
    let (name, parents) = names.split_last().ok_or_else(outside)?;
    let full = base.join(names.iter().collect::<PathBuf>());
    let failed = |source: io::Error| match Errno::from_raw(source.raw_os_error().unwrap_or(0)) {
        Errno::ELOOP | Errno::ENOTDIR | Errno::EISDIR | Errno::ENXIO => FileError::Kind {
            what,
            path: full.clone(),
            wanted: if what == "state file" {
                "regular file"
            } else {
                "directory"
            },
        },
        _ => FileError::Make {
            what,
            path: full.clone(),
            source,
        },
    };

    fs::create_dir_all(base).map_err(failed)?;
    let walk = || {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = open(base, flags, Mode::empty())?;
        for parent in parents {
            make_directory(&directory, parent)?;
            directory = openat(
                &directory,
                *parent,
                flags | OFlag::O_NOFOLLOW,
                Mode::empty(),
            )?;
        }
        last(&directory, name)
    };
    walk().map_err(|errno| failed(errno.into()))?;

    Ok(full)
}

/// The names in a path that stays where it starts.
fn below(path: &str) -> Option<Vec<&Path>> {
    Path::new(path)
        .components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
        .map(|part| match part {
            Component::Normal(name) => Some(Path::new(name)),
            _ => None,
        })
        .collect()
}

/// Whether it is new.
fn make_directory(parent: &OwnedFd, name: &Path) -> nix::Result<bool> {
    match mkdirat(parent, name, Mode::from_bits_truncate(0o755)) {
        Err(Errno::EEXIST) => Ok(false),
        other => other.map(|()| true),
    }
}

fn kind(fd: &OwnedFd) -> nix::Result<SFlag> {
    Ok(SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT)
}

/// The mode of what is there already is its owner's affair.
fn give(fd: &OwnedFd, owner: Owner, mode: Option<u32>) -> nix::Result<()> {
    fchown(
        fd,
        Some(Uid::from_raw(owner.uid)),
        Some(Gid::from_raw(owner.gid)),
    )?;

    mode.map_or(Ok(()), |mode| fchmod(fd, Mode::from_bits_truncate(mode)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use nix::unistd::{getegid, geteuid, mkfifo};
    use tempfile::TempDir;

    use super::*;

    /// Ourselves: no test needs to be root for that.
    fn me() -> Owner {
        Owner {
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn rewritten_file_is_the_same_file_with_the_new_text_alone() {
        let temp = TempDir::new().unwrap();
        let path = temp.path().join("hosts");
        write_file(&path, b"a long text", 0o644).unwrap();
        let before = fs::metadata(&path).unwrap().ino();

        for text in ["short", "", "a longer text than ever"] {
            rewrite_file(&path, text.as_bytes()).unwrap();

            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    }

    #[test]
    fn only_an_existing_file_is_rewritten_and_no_link_followed() {
        let temp = TempDir::new().unwrap();
        let (target, link) = (temp.path().join("target"), temp.path().join("link"));
        fs::write(&target, "kept").unwrap();
        symlink(&target, &link).unwrap();

        rewrite_file(&link, b"new").unwrap_err();
        rewrite_file(&temp.path().join("none"), b"new").unwrap_err();

        assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
        assert!(!temp.path().join("none").exists());
    }

    #[test]
    fn state_and_storage_are_made_with_their_parents() {
        let temp = TempDir::new().unwrap();
        let base = temp.path().join("base");

        let state = state_file(&base, "/a/b/state.dat", me()).unwrap();
        let storage = storage_directory(&base, "./a/c", me()).unwrap();

        assert_eq!(state, base.join("a/b/state.dat"));
        assert_eq!(storage, base.join("a/c"));
        assert_eq!((mode(&state), mode(&storage)), (0o600, 0o755));
        assert!(state.is_file() && storage.is_dir());
    }

    #[test]
    fn what_is_there_keeps_its_content_and_mode() {
        let temp = TempDir::new().unwrap();
        let state = state_file(temp.path(), "state", me()).unwrap();
        fs::write(&state, "kept").unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o640)).unwrap();

        state_file(temp.path(), "state", me()).unwrap();

        assert_eq!(fs::read_to_string(&state).unwrap(), "kept");
        assert_eq!(mode(&state), 0o640);
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let temp = TempDir::new().unwrap();
        let base = temp.path().join("base");

        for path in ["..", "../x", "a/../../x", "a/..", "", "/", "."] {
            for make in [state_file, storage_directory] {
                let refused = make(&base, path, me()).unwrap_err();
                assert!(
                    matches!(refused, FileError::Outside { .. }),
                    "{path}: {refused}"
                );
            }
        }
        assert!(!base.exists());
    }

    #[test]
    fn links_are_not_followed() {
        let temp = TempDir::new().unwrap();
        let base = temp.path().join("base");
        let outside = temp.path().join("outside");
        fs::create_dir_all(&base).unwrap();
        fs::create_dir_all(&outside).unwrap();
        symlink(&outside, base.join("link")).unwrap();
        symlink(outside.join("new"), base.join("dangling")).unwrap();

        for path in ["link", "link/x", "dangling"] {
            for make in [state_file, storage_directory] {
                let refused = make(&base, path, me()).unwrap_err();
                assert!(
                    matches!(refused, FileError::Kind { .. }),
                    "{path}: {refused}"
                );
            }
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn what_is_of_another_kind_is_refused_and_not_waited_for() {
        let temp = TempDir::new().unwrap();
        fs::create_dir(temp.path().join("directory")).unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        mkfifo(&temp.path().join("pipe"), Mode::S_IRWXU).unwrap();

        let refused = [
            state_file(temp.path(), "directory", me()),
            state_file(temp.path(), "pipe", me()),
            state_file(temp.path(), "file/x", me()),
            storage_directory(temp.path(), "file", me()),
        ];

        for refused in refused {
            assert!(
                matches!(refused, Err(FileError::Kind { .. })),
                "{refused:?}"
            );
        }
    }

    #[test]
    #[ignore = "needs root: run ci/test.sh"]
    fn they_belong_to_the_instance() {
        let temp = TempDir::new().unwrap();
        let owner = Owner {
            uid: 5001,
            gid: 3001,
        };

        let state = state_file(temp.path(), "x/state", owner).unwrap();
        let storage = storage_directory(temp.path(), "x/storage", owner).unwrap();

        for path in [state, storage] {
            let metadata = fs::metadata(path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (5001, 3001));
        }
        assert_eq!(fs::metadata(temp.path().join("x")).unwrap().uid(), 0);
    }

    #[test]
    fn a_written_file_replaces_what_was_there() {
        let temp = TempDir::new().unwrap();
        let path = temp.path().join("config.json");
        symlink("/proc/version", &path).unwrap();

        write_file(&path, b"text", 0o600).unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"text");
        assert_eq!(mode(&path), 0o600);
        remove_file(&path).unwrap();
        remove_file(&path).unwrap();
    }
}
