//! Drop-ins on the disk.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::names::{instance_of_unit, unit_name};
use crate::model::InstanceId;

const FILE: &str = "aos.conf";

/// How often systemd has started the unit again. It takes files for drop-ins by their
/// suffix `.conf` only.
const RESTARTS: &str = "restarts";

/// What release 7.2.3 wrote in the same place. It comes after ours in the order
/// of systemd, and would win.
const FILE_OF_OLD: &str = "parameters.conf";

/// The drop-ins below one directory of units.
#[derive(Clone, Debug)]
pub(crate) struct UnitFiles {
    units: PathBuf,
}

impl UnitFiles {
    pub(crate) fn new(units: &Path) -> Self {
        Self {
            units: units.to_owned(),
        }
    }

    /// Writes the drop-in of an instance.
    ///
    /// systemd looks into its directories again only when their time of change
    /// differs, and the kernel's clock for that is coarse: two drop-ins in one
    /// tick, and systemd may miss the second. So the time is set, exactly.
    pub(crate) fn write(&self, id: InstanceId, text: &str) -> io::Result<()> {
        let directory = self.directory(id);
        match DirBuilder::new().mode(0o755).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }

        replace(&directory, FILE, text)?;
        remove_file(&directory.join(FILE_OF_OLD))?;

        File::open(&self.units)?.set_modified(SystemTime::now())
    }

    /// The drop-in of an instance, if it has one.
    pub(crate) fn read(&self, id: InstanceId) -> io::Result<Option<String>> {
        match fs::read_to_string(self.directory(id).join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            text => text.map(Some),
        }
    }

    /// How often systemd had started the unit again when it was noted last.
    pub(crate) fn restarts(&self, id: InstanceId) -> io::Result<Option<u32>> {
        match fs::read_to_string(self.directory(id).join(RESTARTS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            text => text?
                .trim_end()
                .parse()
                .map(Some)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    /// Notes that, for as long as there is a drop-in.
    pub(crate) fn note_restarts(&self, id: InstanceId, restarts: u32) -> io::Result<()> {
        let directory = self.directory(id);
        let file = directory.join(RESTARTS);
        let has_drop_in = || directory.join(FILE).exists();
        if restarts == 0 || !has_drop_in() {
            return remove_file(&file);
        }

        replace(&directory, RESTARTS, &format!("{restarts}\n"))?;
        // Who removed it meanwhile may have found the directory not empty.
        if has_drop_in() {
            Ok(())
        } else {
            self.remove(id)
        }
    }

    /// Removes the drop-in of an instance. Files that others put beside it
    /// stay.
    pub(crate) fn remove(&self, id: InstanceId) -> io::Result<()> {
        let directory = self.directory(id);
        for file in [FILE, FILE_OF_OLD, RESTARTS] {
            remove_file(&directory.join(file))?;
            remove_file(&directory.join(staged(file)))?;
        }
        match fs::remove_dir(directory) {
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// The instances that have a drop-in.
    pub(crate) fn found(&self) -> Vec<InstanceId> {
        let Ok(entries) = fs::read_dir(&self.units) else {
            return Vec::new();
        };

        entries
            .flatten()
            .filter(|entry| {
                [FILE, FILE_OF_OLD]
                    .iter()
                    .any(|file| entry.path().join(file).exists())
            })
            .filter_map(|entry| instance_of_unit(entry.file_name().to_str()?.strip_suffix(".d")?))
            .collect()
    }

    fn directory(&self, id: InstanceId) -> PathBuf {
        self.units.join(format!("{}.d", unit_name(id)))
    }
}

/// Writes a file that is there wholly or not at all.
fn replace(directory: &Path, file: &str, text: &str) -> io::Result<()> {
    let new = directory.join(staged(file));
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?
        .write_all(text.as_bytes())?;

    fs::rename(new, directory.join(file))
}

/// What a file is named while it is written.
fn staged(file: &str) -> String {
    format!(".{file}.new")
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Runs work that blocks where it holds nobody up.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;

    fn id(bits: u128) -> InstanceId {
        InstanceId::from_u128(bits)
    }

    fn path(units: &TempDir, id: InstanceId) -> PathBuf {
        units.path().join(format!("{}.d/aos.conf", unit_name(id)))
    }

    #[test]
    fn a_drop_in_is_written_found_and_removed() {
        let units = TempDir::new().unwrap();
        let files = UnitFiles::new(units.path());

        files.write(id(1), "old, and longer").unwrap();
        files.write(id(1), "text").unwrap();
        files.write(id(2), "other").unwrap();

        assert_eq!(fs::read_to_string(path(&units, id(1))).unwrap(), "text");
        assert_eq!(files.read(id(1)).unwrap().as_deref(), Some("text"));
        assert_eq!(files.read(id(3)).unwrap(), None);
        let mode = fs::metadata(path(&units, id(1)))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut found = files.found();
        found.sort();
        assert_eq!(found, [id(1), id(2)]);

        files.remove(id(1)).unwrap();
        files.remove(id(1)).unwrap();

        assert_eq!(files.found(), [id(2)]);
        assert_eq!(fs::read_dir(units.path()).unwrap().count(), 1);
    }

    #[test]
    fn drop_ins_in_quick_succession_change_the_time_each() {
        let units = TempDir::new().unwrap();
        let files = UnitFiles::new(units.path());
        let mut times = Vec::new();

        for bits in 0..20 {
            files.write(id(bits), "").unwrap();
            times.push(fs::metadata(units.path()).unwrap().modified().unwrap());
        }

        times.dedup();
        assert_eq!(times.len(), 20);
    }

    #[test]
    fn counts_go_with_the_drop_in() {
        let units = TempDir::new().unwrap();
        let files = UnitFiles::new(units.path());
        files.write(id(1), "text").unwrap();

        files.note_restarts(id(1), 3).unwrap();
        assert_eq!(files.restarts(id(1)).unwrap(), Some(3));
        // As a crash between writing and renaming leaves it.
        for file in [".restarts.new", ".aos.conf.new"] {
            fs::write(path(&units, id(1)).with_file_name(file), "4").unwrap();
        }
        files.remove(id(1)).unwrap();
        files.note_restarts(id(1), 4).unwrap();

        assert_eq!(files.restarts(id(1)).unwrap(), None);
        assert_eq!(fs::read_dir(units.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_others_put_beside_it_stays() {
        let units = TempDir::new().unwrap();
        let files = UnitFiles::new(units.path());
        files.write(id(1), "text").unwrap();
        let beside = path(&units, id(1)).with_file_name("operator.conf");
        fs::write(&beside, "").unwrap();

        files.remove(id(1)).unwrap();

        assert!(beside.exists());
        assert_eq!(files.found(), []);
    }

    #[test]
    fn the_drop_in_of_the_old_release_never_wins() {
        let units = TempDir::new().unwrap();
        let files = UnitFiles::new(units.path());
        let old = |id| path(&units, id).with_file_name("parameters.conf");
        for bits in [1, 2] {
            fs::create_dir(old(id(bits)).parent().unwrap()).unwrap();
            fs::write(old(id(bits)), "[Service]\nRestartSec=1us\n").unwrap();
        }

        let mut found = files.found();
        found.sort();
        files.write(id(1), "text").unwrap();
        files.remove(id(2)).unwrap();

        assert_eq!(found, [id(1), id(2)]);
        assert!(!old(id(1)).exists());
        assert_eq!(fs::read_dir(units.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_directory_is_no_drop_in() {
        let files = UnitFiles::new(Path::new("/nonexistent"));

        assert_eq!(files.found(), []);
        assert!(files.write(id(1), "").is_err());
        assert!(files.remove(id(1)).is_ok());
    }
}
