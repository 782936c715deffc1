//! Control groups as the kernel and systemd have set them up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, TMPFS_MAGIC, statfs};

/// A unit's cgroup is never deeper, nor has more children, than this.
const MOST_DIRECTORIES: usize = 64;

/// Which generation of control groups is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CgroupMode {
    /// Version 2 alone.
    Unified,
    /// Controllers are of version 1, systemd uses version 2 without any.
    Hybrid,
    /// Version 1 alone.
    Legacy,
}

/// What is mounted at `root`, usually `/sys/fs/cgroup`.
pub(crate) fn cgroup_mode(root: &Path) -> io::Result<CgroupMode> {
    let top = statfs(root)?.filesystem_type();
    if top == CGROUP2_SUPER_MAGIC {
        return Ok(CgroupMode::Unified);
    }
    if top != TMPFS_MAGIC {
        return Err(io::Error::other(format!(
            "no control groups in {}",
            root.display()
        )));
    }

    match statfs(&root.join("unified")) {
        Ok(unified) if unified.filesystem_type() == CGROUP2_SUPER_MAGIC => Ok(CgroupMode::Hybrid),
        _ => Ok(CgroupMode::Legacy),
    }
}

/// Whether the kernel killed a process of the cgroup for lack of memory, as far as
/// version 1 tells: there systemd does not find out.
pub(crate) fn lacked_memory(root: &Path, cgroup: &str) -> bool {
    let control = root
        .join("memory")
        .join(cgroup.trim_start_matches('/'))
        .join("memory.oom_control");

    fs::read_to_string(control).is_ok_and(|text| {
        text.lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count.trim() != "0")
    })
}

/// Removes what a runtime left of a unit's cgroup in hierarchies that systemd
/// does not manage. A cgroup with processes cannot be removed and stays.
pub(crate) fn remove_leftovers(root: &Path, unit_cgroup: &str) {
    for hierarchy in hierarchies(root) {
        let unit = hierarchy.join(unit_cgroup.trim_start_matches('/'));
        for directory in directories(&unit).iter().rev() {
            if let Err(error) = fs::remove_dir(directory) {
                tracing::debug!(directory = %directory.display(), %error, "cgroup is left");
            }
        }
    }
}

fn hierarchies(root: &Path) -> Vec<PathBuf> {
    let mut hierarchies = children(root);
    hierarchies.push(root.to_owned());

    hierarchies
}

/// The directory and those in it, each after its parent.
fn directories(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if top.is_dir() {
        found.push(top.to_owned());
    }
    let mut next = 0;
    while next < found.len() && found.len() < MOST_DIRECTORIES {
        found.extend(children(&found[next]));
        next += 1;
    }

    found
}

/// Not through links.
fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };

    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const UNIT: &str = "/system.slice/units.slice/x.service";

    #[test]
    fn a_directory_of_another_kind_is_no_cgroup_filesystem() {
        let refused = cgroup_mode(Path::new("/proc"));

        assert!(refused.is_err());
    }

    #[test]
    fn leftovers_go_from_every_hierarchy_and_nothing_else_does() {
        let root = TempDir::new().unwrap();
        for hierarchy in ["freezer", "cpuset"] {
            let unit = root
                .path()
                .join(hierarchy)
                .join("system.slice/units.slice/x.service");
            fs::create_dir_all(unit.join("container/inner")).unwrap();
            fs::create_dir_all(unit.with_file_name("y.service")).unwrap();
        }

        remove_leftovers(root.path(), UNIT);

        for hierarchy in ["freezer", "cpuset"] {
            let slice = root.path().join(hierarchy).join("system.slice/units.slice");
            let left: Vec<_> = children(&slice);
            assert_eq!(left, [slice.join("y.service")]);
        }
    }

    #[test]
    fn what_is_in_use_stays() {
        let root = TempDir::new().unwrap();
        let unit = root
            .path()
            .join("freezer")
            .join(UNIT.trim_start_matches('/'));
        fs::create_dir_all(unit.join("container")).unwrap();
        fs::create_dir_all(unit.join("other")).unwrap();
        fs::write(unit.join("container/in-use"), "").unwrap();

        remove_leftovers(root.path(), UNIT);

        assert!(unit.join("container").exists());
        assert!(!unit.join("other").exists());
    }

    #[test]
    fn lack_of_memory_is_read_from_the_count_of_kills() {
        let root = TempDir::new().unwrap();
        let cgroup = root
            .path()
            .join("memory")
            .join(UNIT.trim_start_matches('/'));
        fs::create_dir_all(&cgroup).unwrap();
        let after = |text: &str| {
            fs::write(cgroup.join("memory.oom_control"), text).unwrap();
            lacked_memory(root.path(), UNIT)
        };

        assert!(after("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"));
        assert!(!after("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"));
        assert!(!after("oom_kill_disable 1\nunder_oom 1\n"));
        assert!(!lacked_memory(root.path(), "/another"));
    }

    #[test]
    fn no_leftovers_are_no_error() {
        remove_leftovers(Path::new("/nonexistent"), UNIT);
    }
}
