//! Directories of which one must not hold another.

use std::path::{Component, Path, PathBuf};

use super::error::Problem;
use super::settings::Config;

/// Finds directories that are swept, now or at a start, and hold one with other
/// content: sweeping would delete that.
pub(super) fn shared_directories(config: &Config) -> Vec<Problem> {
    let swept = [
        ("servicesDir", &config.services_dir),
        ("layersDir", &config.layers_dir),
        ("downloadDir", &config.download_dir),
        ("extractDir", &config.extract_dir),
    ];
    let kept = [
        ("workingDir", &config.working_dir),
        ("storageDir", &config.storage_dir),
        ("stateDir", &config.state_dir),
    ];

    let mut problems = Vec::new();
    for (index, (key, path)) in swept.into_iter().enumerate() {
        let path = plain(path);
        for (other_index, (other_key, other)) in swept.into_iter().chain(kept).enumerate() {
            let other = plain(other);
            // Two that are equal are one problem.
            let told = other == path && other_index < index;
            // What outlives a start in these two is known by its name.
            let both_scratch = is_scratch(key) && is_scratch(other_key);
            if other_index != index && !told && !both_scratch && other.starts_with(&path) {
                problems.push(Problem {
                    key: key.into(),
                    value: Some(format!("{path:?}")),
                    allowed: format!("a directory that does not hold {other_key}, {other:?}"),
                });
            }
        }
    }
    problems
}

fn is_scratch(key: &str) -> bool {
    matches!(key, "downloadDir" | "extractDir")
}

/// The path without `.` and `..`, as far as its text tells.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            component => plain.push(component),
        }
    }
    plain
}
