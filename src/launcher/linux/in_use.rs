//! Which directories of content instances are made of.
//!
//! The kernel does not tell: a root is mounted from file descriptors, and its
//! list of mounts names those. So each instance has a record from before its
//! root is mounted until after it is unmounted. It lies where nothing outlives a
//! boot, as mounts do not, and depends on no database.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::launcher::files::{remove_file, write_file};
use crate::launcher::mounted::mounts_below;
use crate::model::InstanceId;

/// Name of the directory of the records, in the host's own.
pub(super) const RECORDS: &str = "content";
/// Name of the directory of the runtime directories.
pub(super) const BUNDLES: &str = "runtime";

/// The directories that the instances on this machine are made of. `run_dir` is
/// that of [`LinuxSettings`](super::LinuxSettings).
///
/// # Errors
///
/// It is not known of all of them.
pub fn content_in_use(run_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let records = run_dir.join(RECORDS);
    let mut used = Vec::new();
    for name in names(&records)? {
        // Text cannot have a zero byte in it, and neither can a path.
        let record = match fs::read(records.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            record => record?,
        };
        let paths = record.split(|byte| *byte == 0);
        let paths = paths.filter(|path| !path.is_empty());
        used.extend(paths.map(|path| PathBuf::from(OsString::from_vec(path.to_vec()))));
    }

    let bundles = run_dir.join(BUNDLES);
    for name in names(&bundles)? {
        let bundle = bundles.join(&name).canonicalize();
        if let Ok(bundle) = bundle
            && !records.join(&name).exists()
            && !mounts_below(&bundle)?.is_empty()
        {
            let text = format!("nobody noted what {} is made of", bundle.display());
            return Err(io::Error::other(text));
        }
    }
    Ok(used)
}

/// Notes what an instance is made of, before it is.
pub(super) fn note(records: &Path, id: InstanceId, paths: &[&Path]) -> io::Result<()> {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.as_os_str().as_bytes())
        .collect();
    let record = records.join(id.to_string());
    let staged = records.join(format!(".{id}.new"));

    write_file(&staged, &paths.join(&0), 0o600)?;
    fs::rename(staged, record)
}

/// The instance is made of nothing any more.
pub(super) fn forget(records: &Path, id: InstanceId) -> io::Result<()> {
    remove_file(&records.join(id.to_string()))
}

/// Names of what lies in a directory, without what is being written. A directory
/// that is not there is empty.
fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name()));
    let names = names.collect::<io::Result<Vec<OsString>>>()?;
    let is_record = |name: &OsString| OsStr::as_bytes(name).first() != Some(&b'.');

    Ok(names.into_iter().filter(is_record).collect())
}

#[cfg(test)]
mod tests {
    use nix::mount::{MsFlags, mount, umount};
    use tempfile::TempDir;

    use super::*;

    struct Machine(TempDir);

    impl Machine {
        fn new() -> Self {
            let directory = TempDir::new().unwrap();
            fs::create_dir(directory.path().join(RECORDS)).unwrap();
            fs::create_dir(directory.path().join(BUNDLES)).unwrap();
            Self(directory)
        }

        fn note(&self, id: u128, paths: &[&str]) {
            let paths: Vec<_> = paths.iter().map(Path::new).collect();
            let records = self.0.path().join(RECORDS);
            note(&records, InstanceId::from_u128(id), &paths).unwrap();
        }

        fn used(&self) -> Vec<PathBuf> {
            let mut used = content_in_use(self.0.path()).unwrap();
            used.sort();
            used
        }
    }

    #[test]
    fn all_that_instances_are_made_of_is_in_use_until_they_are_gone() {
        let machine = Machine::new();
        machine.note(1, &["/services/a/rootfs", "/layers/with\nline end"]);
        machine.note(1, &["/services/b/rootfs", "/layers/with\nline end"]);
        machine.note(2, &["/services/c/rootfs"]);

        let used = machine.used();
        let records = machine.0.path().join(RECORDS);
        forget(&records, InstanceId::from_u128(1)).unwrap();
        forget(&records, InstanceId::from_u128(1)).unwrap();

        let paths = [
            "/layers/with\nline end",
            "/services/b/rootfs",
            "/services/c/rootfs",
        ];
        assert_eq!(used, paths.map(PathBuf::from));
        assert_eq!(machine.used(), [PathBuf::from("/services/c/rootfs")]);
    }

    #[test]
    fn machine_that_has_just_booted_has_nothing_in_use() {
        let directory = TempDir::new().unwrap();

        let used = content_in_use(&directory.path().join("missing")).unwrap();

        assert_eq!(used, [] as [PathBuf; 0]);
    }

    #[test]
    fn bundle_without_mounts_needs_no_record() {
        let machine = Machine::new();
        fs::create_dir(machine.0.path().join(BUNDLES).join("x")).unwrap();

        assert_eq!(machine.used(), [] as [PathBuf; 0]);
    }

    #[test]
    fn record_that_cannot_be_read_makes_all_of_it_unknown() {
        let machine = Machine::new();
        machine.note(1, &["/services/a/rootfs"]);
        fs::create_dir(machine.0.path().join(RECORDS).join("x")).unwrap();

        assert!(content_in_use(machine.0.path()).is_err());
    }

    #[test]
    #[ignore = "needs root: run ci/test.sh"]
    fn mounted_root_without_a_record_makes_all_of_it_unknown() {
        let machine = Machine::new();
        let root = machine.0.path().join(BUNDLES).join("x/rootfs");
        fs::create_dir_all(&root).unwrap();
        let none = None::<&str>;
        mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), none).unwrap();

        let outcome = content_in_use(machine.0.path());
        umount(&root).unwrap();

        let text = outcome.unwrap_err().to_string();
        assert!(text.starts_with("nobody noted what /"), "{text}");
        assert!(content_in_use(machine.0.path()).is_ok());
    }
}
