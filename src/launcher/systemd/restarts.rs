//! How often systemd has started the units again, as far as the launcher was told.
//!
//! Kept beside the drop-ins, for as long as systemd keeps its own counts. What systemd
//! counts above it at the next start of SM happened while nobody listened.

use std::collections::BTreeMap;

use tracing::warn;

use super::unit_files::UnitFiles;
use crate::model::{Chain, InstanceId};

/// See the module.
#[derive(Debug)]
pub(crate) struct Restarts {
    files: UnitFiles,
    /// What the files say; without one it is 0.
    noted: BTreeMap<InstanceId, u32>,
    /// What is yet to be told, and then noted.
    heard: BTreeMap<InstanceId, u32>,
}

impl Restarts {
    /// Reads what was noted of these units.
    pub(crate) fn read(files: UnitFiles, units: impl IntoIterator<Item = InstanceId>) -> Self {
        let noted = units.into_iter().filter_map(|id| {
            let restarts = files.restarts(id).unwrap_or_else(|error| {
                warn!(instance_id = %id, error = %Chain(&error),
                    "crashes from before this start may be told again: they cannot be read");
                None
            });
            Some((id, restarts?))
        });

        Self {
            noted: noted.collect(),
            heard: BTreeMap::new(),
            files,
        }
    }

    /// So many were told of this unit.
    pub(crate) fn of(&self, id: InstanceId) -> u32 {
        self.noted.get(&id).copied().unwrap_or_default()
    }

    /// systemd says so many.
    pub(crate) fn hear(&mut self, id: InstanceId, restarts: u32) {
        if restarts == self.of(id) {
            self.heard.remove(&id);
        } else {
            self.heard.insert(id, restarts);
        }
    }

    /// systemd does not have the unit any more.
    pub(crate) fn forget(&mut self, id: InstanceId) {
        self.noted.remove(&id);
        self.heard.remove(&id);
    }

    /// The launcher was told of all that was heard.
    pub(crate) fn note(&mut self) {
        for (id, restarts) in std::mem::take(&mut self.heard) {
            if let Err(error) = self.files.note_restarts(id, restarts) {
                warn!(instance_id = %id, error = %Chain(&error),
                    "a crash may be told again after the next start: it cannot be noted");
            }
            self.noted.insert(id, restarts);
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn id(bits: u128) -> InstanceId {
        InstanceId::from_u128(bits)
    }

    fn read(directory: &TempDir) -> Restarts {
        Restarts::read(UnitFiles::new(directory.path()), (1..=3).map(id))
    }

    #[test]
    fn what_was_told_is_known_by_the_next_one() {
        let directory = TempDir::new().unwrap();
        UnitFiles::new(directory.path()).write(id(1), "").unwrap();
        let mut restarts = read(&directory);

        restarts.hear(id(1), 4);
        let untold = read(&directory).of(id(1));
        restarts.note();

        assert_eq!((untold, restarts.of(id(1))), (0, 4));
        assert_eq!(read(&directory).of(id(1)), 4);
        assert_eq!(read(&directory).of(id(2)), 0);
    }

    #[test]
    fn counting_begins_anew_with_the_unit() {
        let directory = TempDir::new().unwrap();
        let files = UnitFiles::new(directory.path());
        files.write(id(1), "").unwrap();
        files.write(id(2), "").unwrap();
        let mut restarts = read(&directory);
        restarts.hear(id(1), 4);
        restarts.hear(id(2), 4);
        restarts.note();

        restarts.hear(id(1), 0);
        files.remove(id(2)).unwrap();
        restarts.forget(id(2));
        restarts.note();

        assert_eq!((restarts.of(id(1)), restarts.of(id(2))), (0, 0));
        assert_eq!(
            (read(&directory).of(id(1)), read(&directory).of(id(2))),
            (0, 0)
        );
        files.remove(id(1)).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_noted_stops_nothing() {
        let directory = TempDir::new().unwrap();
        let mut restarts = read(&directory);

        restarts.hear(id(1), 4);
        restarts.note();
        assert_eq!(restarts.of(id(1)), 4);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

        UnitFiles::new(directory.path()).write(id(2), "").unwrap();
        let path = directory
            .path()
            .join(format!("{}.d", super::super::names::unit_name(id(2))));
        for text in ["", "many\n", "-1\n", "99999999999\n"] {
            std::fs::write(path.join("restarts"), text).unwrap();
            assert_eq!(read(&directory).of(id(2)), 0, "{text:?}");
        }
    }
}
