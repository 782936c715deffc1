//! Which directories share the account, and what they may take.

use std::path::{Path, PathBuf};

use super::plan::Kind;

/// Directories, and the percentage of its partition that each may take; 0 and
/// 100 are no limit.
#[derive(Clone, Debug)]
pub(in crate::layermanager) struct SpaceSettings {
    pub(in crate::layermanager) services_dir: PathBuf,
    pub(in crate::layermanager) services_part_limit: u8,
    pub(in crate::layermanager) layers_dir: PathBuf,
    pub(in crate::layermanager) layers_part_limit: u8,
    pub(in crate::layermanager) download_dir: PathBuf,
}

impl SpaceSettings {
    pub(super) fn path(&self, directory: Kind) -> &Path {
        match directory {
            Kind::Services => &self.services_dir,
            Kind::Layers => &self.layers_dir,
            Kind::Downloads => &self.download_dir,
        }
    }

    pub(super) fn percent(&self, directory: Kind) -> u8 {
        match directory {
            Kind::Services => self.services_part_limit,
            Kind::Layers => self.layers_part_limit,
            Kind::Downloads => 0,
        }
    }

    pub(super) fn has_limit(&self, directory: Kind) -> bool {
        (1..100).contains(&self.percent(directory))
    }
}
