//! The OCI runtime: which program it is.
//!
//! It is looked for at each start, so that a runtime that comes later, or goes,
//! needs no restart of SM.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::systemd::CgroupMode;

/// In order of preference within a place.
const NAMES: [&str; 2] = ["crun", "runc"];

/// There is no runtime that can be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuntimeError {
    /// There is none at all.
    #[error("neither crun nor runc found in {} or PATH", .0.display())]
    Missing(PathBuf),
    /// There is one that refuses this machine.
    #[error("{} cannot use hybrid cgroups, and there is no runc in {} or PATH", found.display(), working_dir.display())]
    Hybrid {
        found: PathBuf,
        working_dir: PathBuf,
    },
}

/// A runtime that was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Runtime {
    /// Absolute.
    pub path: PathBuf,
    /// One that would have been preferred, but refuses this machine.
    pub passed_over: Option<PathBuf>,
}

/// Looks for a runtime in the working directory, then in the directories of
/// `path`.
pub(crate) fn find_runtime(
    working_dir: &Path,
    path: &OsStr,
    mode: CgroupMode,
) -> Result<Runtime, RuntimeError> {
    let mut passed_over = None;
    let in_path: Vec<_> = std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .collect();
    let places = [vec![working_dir.to_owned()], in_path];
    let candidates = places.iter().flat_map(|place| {
        NAMES
            .iter()
            .flat_map(move |name| place.iter().map(move |directory| directory.join(name)))
    });

    for candidate in candidates {
        if !is_program(&candidate) {
            continue;
        }
        // crun says so itself: "cgroups in hybrid mode not supported".
        if mode == CgroupMode::Hybrid && candidate.ends_with("crun") {
            passed_over.get_or_insert(candidate);
            continue;
        }
        return Ok(Runtime {
            path: candidate,
            passed_over,
        });
    }

    Err(match passed_over {
        Some(found) => RuntimeError::Hybrid {
            found,
            working_dir: working_dir.to_owned(),
        },
        None => RuntimeError::Missing(working_dir.to_owned()),
    })
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::env::join_paths;
    use std::ffi::OsString;
    use std::fs::{self, Permissions};

    use tempfile::TempDir;

    use super::*;

    struct Bench {
        temp: TempDir,
        path: OsString,
    }

    impl Bench {
        fn new(programs: &[&str]) -> Self {
            let temp = TempDir::new().unwrap();
            let place = temp.path();
            for directory in ["work", "bin", "sbin"] {
                fs::create_dir(place.join(directory)).unwrap();
            }
            for program in programs {
                fs::write(place.join(program), "").unwrap();
                fs::set_permissions(place.join(program), Permissions::from_mode(0o755)).unwrap();
            }
            let path =
                join_paths([place.join("sbin"), place.join("bin"), "relative".into()]).unwrap();

            Self { temp, path }
        }

        fn find(&self, mode: CgroupMode) -> Result<Runtime, RuntimeError> {
            find_runtime(&self.temp.path().join("work"), &self.path, mode)
        }

        fn found(&self, mode: CgroupMode) -> PathBuf {
            let path = self.find(mode).unwrap().path;
            path.strip_prefix(self.temp.path()).unwrap().to_owned()
        }
    }

    #[test]
    fn working_directory_comes_before_path_and_crun_before_runc() {
        for (programs, expected) in [
            (&["work/runc", "bin/crun"][..], "work/runc"),
            (&["work/runc", "work/crun"], "work/crun"),
            (&["bin/crun", "bin/runc"], "bin/crun"),
            (&["bin/crun", "sbin/runc"], "bin/crun"),
            (&["bin/runc", "sbin/runc"], "sbin/runc"),
            (&["bin/runc"], "bin/runc"),
        ] {
            let bench = Bench::new(programs);

            assert_eq!(bench.found(CgroupMode::Unified), Path::new(expected));
        }
    }

    #[test]
    fn crun_is_passed_over_on_hybrid_cgroups() {
        let bench = Bench::new(&["work/crun", "bin/crun", "bin/runc"]);

        let found = bench.find(CgroupMode::Hybrid).unwrap();

        assert!(found.path.ends_with("bin/runc"));
        assert!(found.passed_over.unwrap().ends_with("work/crun"));
        assert_eq!(bench.found(CgroupMode::Legacy), Path::new("work/crun"));
    }

    #[test]
    fn no_runtime_is_an_error_that_says_where_it_was_looked_for() {
        let none = Bench::new(&[]);
        let unusable = Bench::new(&["bin/crun"]);

        let missing = none.find(CgroupMode::Unified).unwrap_err().to_string();
        let hybrid = unusable.find(CgroupMode::Hybrid).unwrap_err().to_string();

        let work = none.temp.path().join("work");
        assert_eq!(
            missing,
            format!("neither crun nor runc found in {} or PATH", work.display())
        );
        assert!(hybrid.contains("cannot use hybrid cgroups"), "{hybrid}");
    }

    #[test]
    fn what_cannot_be_run_is_no_runtime() {
        let bench = Bench::new(&["bin/runc"]);
        fs::create_dir(bench.temp.path().join("work/crun")).unwrap();
        fs::write(bench.temp.path().join("sbin/runc"), "").unwrap();

        assert_eq!(bench.found(CgroupMode::Unified), Path::new("bin/runc"));
    }
}
