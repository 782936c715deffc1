//! What release 7.2.3 ran becomes the desired list.
//!
//! It kept no list: only its instances, and which services and layers are not
//! cached. So the list that is made of them names no URL, and its instances
//! start as long as their content is there; CM's next list replaces it. The ids
//! of the instances stay.

mod list;
mod network;
mod rows;

#[cfg(test)]
mod tests;

use tracing::info;

use super::store;
use crate::storage::{OldRelease, StorageError, TakeOver};

/// Takes over the instances of release 7.2.3, and what they need.
#[must_use]
pub fn take_over() -> TakeOver {
    TakeOver::new("instances", run)
}

fn run(old: &OldRelease<'_>) -> Result<(), StorageError> {
    let (list, ids) = list::desired(rows::read(old)?);
    info!(
        services = list.services.len(),
        layers = list.layers.len(),
        instances = list.instances.len(),
        "instances of release 7.2.3 are taken over"
    );

    store::write(old.transaction(), list, &ids)
}
