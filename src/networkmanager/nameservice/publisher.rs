//! Publishing from jobs that run beside the loop.

use std::sync::{Arc, Mutex, PoisonError};

use aos_names::NetworkNames;

use super::{NameDirectory, NameFiles};
use crate::networkmanager::error::NetworkError;

/// Hands out what is to be published, so that what is older never comes after
/// what is newer.
#[derive(Debug)]
pub(in crate::networkmanager) struct Publisher {
    files: Arc<Mutex<Published>>,
    version: u64,
}

#[derive(Debug)]
struct Published {
    files: NameFiles,
    version: u64,
}

/// The files as they were when it was made.
#[derive(Debug)]
pub(in crate::networkmanager) struct Publication {
    files: Arc<Mutex<Published>>,
    version: u64,
    names: Vec<NetworkNames>,
}

impl Publisher {
    pub(in crate::networkmanager) fn new(files: NameFiles) -> Self {
        Self {
            files: Arc::new(Mutex::new(Published { files, version: 0 })),
            version: 0,
        }
    }

    /// What is to be published of `directory` as it is now.
    pub(in crate::networkmanager) fn publication(
        &mut self,
        directory: &NameDirectory,
    ) -> Publication {
        self.version += 1;
        Publication {
            files: Arc::clone(&self.files),
            version: self.version,
            names: directory.files(),
        }
    }
}

impl Publication {
    /// Writes the files, unless newer ones are written already. Blocks.
    pub(in crate::networkmanager) fn publish(self) -> Result<(), NetworkError> {
        let mut published = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if self.version < published.version {
            return Ok(());
        }
        published.version = self.version;
        published.files.publish(&self.names)
    }
}
